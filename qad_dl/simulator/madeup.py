"""Made-up CRIC records: sites of a dozen clouds with one to six queues each, under CRIC's field names and odd types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

Record = dict[str, Any]

CLOUDS: dict[str, tuple[str, str, str, tuple[str, ...]]] = {
    "CA": ("Canada", "Canada", "CA-{}", ("HARBOUR", "PRAIRIE", "CEDAR", "FUNDY", "YUKON")),
    "CERN": ("Switzerland", "CERN", "CERN-{}", ("PROD", "EXTENSION", "LAKESIDE", "JURA", "T0")),
    "DE": (
        "Germany",
        "Germany",
        "{}",
        ("ELBE-HH", "NECKAR-KA", "ISAR-MU", "WUPPER", "HAVEL-ZN", "DREISAM-FR", "LEINE-GOE"),
    ),
    "ES": ("Spain", "Spain", "{}-LCG2", ("TURIA", "PICO", "MANZANARES", "TEIDE", "DOURO")),
    "FR": ("France", "France", "IN2P3-{}", ("RHONE", "LOIRE", "SAVOIE", "VIEUX-PORT", "ARTOIS", "SEINE")),
    "IT": ("Italy", "Italy", "INFN-{}", ("VESUVIO", "RENO", "LAGUNA", "ARNO", "MOLE", "ETNA")),
    "ND": ("Nordic", "Nordugrid", "{}", ("FJORD", "TUNDRA", "AURORA", "SKERRY", "BALTIC")),
    "NL": ("Netherlands", "Holland", "{}-LCG2", ("POLDER", "AMSTEL", "DUNE", "SCHELDE")),
    "RU": ("Russian Federation", "Russia", "RU-{}", ("TAIGA", "NEVA", "VOLGA", "KAMA")),
    "TW": ("Taiwan", "Taiwan", "{}-LCG2", ("TAMSUI", "YUSHAN", "ALISHAN")),
    "UK": (
        "UK",
        "UK",
        "UKI-{}-HEP",
        ("NORTH-MOOR", "LONDON-THAMES", "SCOT-CLYDE", "SOUTH-DOWNS", "NORTH-MERSEY", "RAL-T1"),
    ),
    "US": ("USA", "US", "{}", ("LAKES", "PRAIRIE2", "BAYOU", "SIERRA", "HUDSON", "GULF", "MESA", "OZARK", "CASCADE")),
}
"""cloud -> country, region, style of its site names, places. None of them is a real site."""

CLOUD_SHARE = {"US": 0.2, "UK": 0.13, "DE": 0.12, "FR": 0.11, "IT": 0.09, "CERN": 0.08, "ES": 0.06, "ND": 0.06}
"""Share of the sites; the clouds not named share the rest."""

HARVESTERS = ("Central_A", "Central_B", "Central_ACT", "Central_HPC")
QUEUES_PER_SITE = (0.22, 0.3, 0.22, 0.14, 0.08, 0.04)
FLAVOURS = (
    # suffix, share, type, capability, corecount
    ("MCORE", 0.22, "production", "mcore", 8),
    ("SCORE", 0.17, "production", "score", 1),
    ("UCORE", 0.20, "production", "ucore", 8),
    ("ANALY", 0.26, "analysis", "score", None),
    ("UNIFIED", 0.10, "unified", "ucore", 8),
    ("HIMEM", 0.05, "production", "mcorehimem", 8),
)


@dataclass(frozen=True)
class Site:
    """What the queues of a site share."""

    name: str
    cloud: str
    country: str
    region: str
    tier_level: int
    frontier: str
    nucleus: str
    storage: str
    harvester: str
    manager: str
    pilot: str
    container: str
    corepower: float


def made_up_records(queues: int, rng: np.random.Generator) -> dict[str, Record]:
    """Records of `queues` made-up queues, keyed by queue name."""
    records: dict[str, Record] = {}
    number = 0
    while len(records) < queues:
        site = _site(number, rng)
        wanted = 1 + int(rng.choice(len(QUEUES_PER_SITE), p=QUEUES_PER_SITE))
        for _ in range(min(wanted, queues - len(records))):
            _add_queue(records, site, rng)
        number += 1
    return dict(sorted(records.items()))


def _site(number: int, rng: np.random.Generator) -> Site:
    """The site of that number; the first site of each cloud is its tier 1, and sites repeat names with a number."""
    cloud = _cloud(number, rng)
    country, region, style, places = CLOUDS[cloud]
    turn = number // len(CLOUDS) if number < 3 * len(CLOUDS) else int(rng.integers(0, 50))
    place = places[turn % len(places)] + (f"{number}" if number >= 2 * len(CLOUDS) else "")
    tier = (0 if cloud == "CERN" else 1) if number < len(CLOUDS) else int(rng.choice([2, 2, 2, 2, 3]))
    nucleus = places[0] if tier <= 1 else CLOUDS[_cloud(len(CLOUDS), rng)][3][0]
    harvester = "Central_ACT" if cloud == "ND" else str(rng.choice(HARVESTERS[:3], p=[0.45, 0.40, 0.15]))
    name = style.format(place)
    return Site(
        name=name,
        cloud=cloud,
        country=country,
        region=region,
        tier_level=tier,
        frontier=f"frontier-{region.lower()}" if rng.random() < 0.6 else f"frontier-{cloud.lower()}-2",
        nucleus=nucleus,
        storage=f"{name}_DATADISK" if tier < 3 or rng.random() < 0.5 else f"{style.format(places[0])}_DATADISK",
        harvester=harvester,
        manager="aCT" if harvester == "Central_ACT" else "Harvester",
        pilot=str(rng.choice(["3.9.2.41", "3.9.1.12", "3.10.0.7", "3.8.2.8"], p=[0.62, 0.20, 0.10, 0.08])),
        container=str(rng.choice(["apptainer:pilot", "apptainer:wrapper", ""], p=[0.55, 0.2, 0.25])),
        corepower=round(float(rng.normal(13.0, 2.5)), 2),
    )


def _cloud(number: int, rng: np.random.Generator) -> str:
    """The first sites go round all clouds, the later ones by share."""
    names = sorted(CLOUDS)
    if number < len(names):
        return names[number]
    rest = (1.0 - sum(CLOUD_SHARE.values())) / (len(names) - len(CLOUD_SHARE))
    return str(rng.choice(names, p=[CLOUD_SHARE.get(name, rest) for name in names]))


def _add_queue(records: dict[str, Record], site: Site, rng: np.random.Generator) -> None:
    """Add one queue of `site` under a name that is not taken."""
    kind = int(rng.choice(len(FLAVOURS), p=[flavour[1] for flavour in FLAVOURS]))
    suffix, _, queue_type, capability, cores = FLAVOURS[kind]
    resource = str(rng.choice(["GRID", "hpc", "cloud"], p=[0.86, 0.07, 0.07]))
    special = {"hpc": "_HPC", "cloud": "_CLOUD", "GRID": ""}[resource]
    stem = f"ANALY_{site.name}{special}" if suffix == "ANALY" else f"{site.name}{special}_{suffix}"
    name = next(n for n in (stem, *(f"{stem}_{i}" for i in range(2, 1000))) if n not in records)
    records[name] = _record(name, site, queue_type, capability, cores, resource, rng)


def _record(
    name: str, site: Site, queue_type: str, capability: str, cores: int | None, resource: str, rng: np.random.Generator
) -> Record:
    """One record; numbers are numbers or text and unset is null, '' or 'None', as in the real dumps."""
    harvester = "Central_HPC" if resource == "hpc" else site.harvester
    push = site.manager == "aCT" or rng.random() < 0.2
    limit = int(rng.choice([2000, 3000, 5000])) if rng.random() < 0.3 else None
    tier = f"T{site.tier_level}" + ("D" if site.tier_level == 2 and rng.random() < 0.7 else "")
    unset = [None, "", "None"][int(rng.integers(0, 3))]
    return {
        "panda_resource": name,
        "nickname": name,
        "siteid": name,
        "atlas_site": site.name,
        "panda_site": site.name,
        "cloud": site.cloud,
        "country": site.country,
        "region": site.region,
        "rc": f"{site.cloud}-{'CERN' if site.cloud == 'CERN' else 'T1' if site.tier_level == 1 else 'FED'}",
        "tier": tier,
        "tier_level": site.tier_level,
        "type": queue_type,
        "resource_type": resource,
        "capability": capability,
        "corecount": cores,
        "corepower": site.corepower if rng.random() < 0.8 else str(site.corepower),
        "harvester": harvester,
        "harvester_template": "production.push" if push else unset,
        "pilot_manager": site.manager,
        "pilot_version": site.pilot if rng.random() < 0.92 else "3.10.1.2",
        "workflow": "push" if push else str(rng.choice(["pull", "pull_ups"])),
        "container_type": site.container,
        "frontier": site.frontier,
        "nucleus": site.nucleus,
        "hc_param": str(rng.choice(["AutoExclusion", "OnlyTest", "False"], p=[0.8, 0.15, 0.05])),
        "is_virtual": False,
        "transferringlimit": limit,
        "status": str(
            rng.choice(["online", "brokeroff", "test", "offline", "paused"], p=[0.94, 0.02, 0.02, 0.015, 0.005])
        ),
        "state": "ACTIVE",
        "vo_name": "atlas",
        "astorages": {
            "pr": [site.storage],
            "pw": [site.storage],
            "read_lan": [site.storage],
            "write_lan": [site.storage],
        },
    }
