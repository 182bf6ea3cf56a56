"""Learn what incidents look like, from simulated worlds: `qad_dl/signatures.json`, which every bundle copies.

python -m training.signatures [out=FILE] [work=DIR]

Each world is simulated, a network is trained on its first half, and the errors of the exported network on the rest
become evidence. It is kept under `work` by the hash of what it was made from: a run that was cut off goes on.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from training.start import start

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from omegaconf import DictConfig

    from qad_dl.metrics.truth import Window
    from qad_dl.nn.signatures import Examples
    from qad_dl.signatures import Healthy, Signatures

LEFT_OUT: Final = ("central", "brokerage_stop")
"""Kinds that hit everyone at once: a queue alone cannot tell them from work that dries up, which is normal life."""

LEAST_JOBS: Final = 15.0
"""Hit queues with fewer running jobs than this before the incident teach nothing."""

LONGEST_TICKS: Final = 144
RAMP_TICKS: Final = 3
FADE_TICKS: Final = 36
"""Ticks of an incident count more from its `RAMP_TICKS`th on, and less as it grows old."""

PER_INCIDENT: Final = 120
HEALTHY: Final = 80_000
AFTER_TICKS: Final = 144


def main(config: DictConfig) -> None:
    """Worlds to evidence to signatures."""
    from omegaconf import OmegaConf

    from qad_dl.atomic import replace_file
    from qad_dl.nn.signatures import fit_signatures
    from qad_dl.progress import progress

    plain: Any = OmegaConf.to_container(config, resolve=True)
    work, worlds = Path(plain["work"]), progress(plain["worlds"], "worlds", unit="world")
    made = [_evidence(work, {**plain["world"], **world}, plain["networks"], plain["scored_days"]) for world in worlds]
    kinds = tuple(sorted({str(k) for one in made for k in one["kinds"]} - set(LEFT_OUT)))
    learned = fit_signatures(
        _examples(made, kinds, plain["seed"]),
        [str(s) for s in made[0]["states"]],
        [(int(h), float(w)) for h, w in made[0]["channels"]],
        kinds,
        plain["hidden"],
        plain["epochs"],
        plain["learning_rate"],
        plain["weight_decay"],
        plain["seed"],
    )
    signatures = replace(learned, healthy=_healthy(learned, made))
    replace_file(Path(plain["out"]), (json.dumps(_rounded(signatures.to_json())) + "\n").encode())
    sys.stderr.write(f"signatures of {len(kinds)} kinds from {len(made)} worlds written to {plain['out']}\n")


def _healthy(signatures: Signatures, made: Sequence[Mapping[str, NDArray[Any]]]) -> Healthy:
    """How the statistic behaves in the normal life of the worlds: known to be normal, since incidents are known."""
    from qad_dl.metrics.episodes import count_episodes
    from qad_dl.progress import progress
    from qad_dl.schema import Tick
    from qad_dl.signatures import EPISODE_RATES, SURVIVAL_SCORES, Healthy, any_kind

    values, thresholds = [], []
    for one in progress(made, "normal life", unit="world"):
        scaled = one["scaled"].astype(np.float32)
        statistic = any_kind(signatures.log_ratios(scaled, [str(s) for s in one["states"]]))
        normal = one["normal"]
        values.append(np.quantile(statistic[normal], 1 - 10.0**-SURVIVAL_SCORES))
        # Episodes are counted of positive scores; the statistic is moved there and back.
        lowest = float(statistic.min()) - 1
        counts = count_episodes(np.where(one["scored"], statistic - lowest, 0), normal, Tick().per_day)
        days = normal.sum() / Tick().per_day
        at = [counts.lowest(rate * days) for rate in EPISODE_RATES]
        thresholds.append([float("nan") if k is None else counts.threshold[k] + lowest for k in at])
    return Healthy(np.median(values, axis=0), np.nanmedian(thresholds, axis=0))


def _rounded(data: dict[str, Any]) -> dict[str, Any]:
    """Five digits are more than the fit is good for, and keep the file readable."""
    healthy = {k: np.round(v, 4).tolist() for k, v in data["healthy"].items()}
    rounded = {k: np.round(v, 5).tolist() if k.startswith(("enter", "leave")) else v for k, v in data.items()}
    return rounded | {"healthy": healthy}


def _evidence(
    work: Path, world: Mapping[str, Any], overrides: Sequence[str], scored_days: int
) -> dict[str, NDArray[Any]]:
    """Evidence of the ticks to learn from of one world; kept in `work`."""
    key = hashlib.sha256(json.dumps([dict(world), list(overrides), scored_days], sort_keys=True).encode()).hexdigest()[
        :12
    ]
    kept = work / f"{key}.npz"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        arrays = _made(work / key, world, overrides, scored_days)
        part = kept.with_suffix(".part.npz")
        np.savez(part, **arrays)
        part.replace(kept)
    with np.load(kept) as file:
        return {name: file[name] for name in file.files}


def _made(place: Path, world: Mapping[str, Any], overrides: Sequence[str], scored_days: int) -> dict[str, Any]:
    """Simulate, train, read the evidence, and choose the ticks to learn from."""
    import tempfile

    import hydra
    from hydra.core.global_hydra import GlobalHydra

    from qad_dl.calibration import PRIOR_DAYS, SCALED_CLIP, healthy_spread
    from qad_dl.nn.export import export_network
    from qad_dl.scorer import Model
    from qad_dl.scoring import Channel, Evidence, accumulate
    from training.fit import fit_network
    from training.freeze import example_windows, exported_errors
    from training.period import load_period
    from training.settings import read_settings
    from training.start import CONFIGS

    truth = _world(place, world)
    given = [f"store={place / 'store'}", f"bundle={place / 'bundle'}", "calibration.signatures=false", *overrides]
    GlobalHydra.instance().clear()  # this program's own configuration has been read by now
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        settings = read_settings(hydra.compose("train", given))
    period = load_period(settings)
    network = fit_network(settings, period)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export_network(network, example_windows(period), path)
        data, use = exported_errors(period, Model(path.read_bytes()))
    preprocess, horizons = period.preprocess, [int(h) for h in settings.model["horizons"]]
    how = Evidence(tuple(Channel(horizons.index(h), w) for h, w in settings.channels), preprocess.plan.evidence)
    kept = accumulate(data.z, how)
    day = preprocess.plan.day
    calibrating = use.copy()  # as a bundle would: calibrated on some days, in use on the days after
    calibrating[:, -scored_days * day :] = False
    spread = healthy_spread(kept, calibrating, data.ids, len(preprocess.vocabularies[0]), PRIOR_DAYS * day)
    scaled = np.clip(kept / spread[data.ids][:, None], -SCALED_CLIP, SCALED_CLIP)
    prepared = period.prepared
    first = len(prepared.grid.times) - data.z.shape[1]
    running = prepared.grid.counts[:, :, prepared.grid.states.index("running")]
    windows = truth(prepared.grid.series, prepared.grid.times)
    normal = use & ~_touched(windows, prepared.grid.times, first, use.shape)
    later = slice(-scored_days * day, None)
    chosen = _choose(windows, prepared.grid.times, first, running, use, normal, int(world["seed"]))
    return {
        "scaled": scaled[:, later].astype(np.float16),
        "scored": use[:, later],
        "normal": normal[:, later],
        "states": np.array(preprocess.states),
        "channels": np.array(settings.channels),
        "kinds": np.array(sorted({w.kind for w in windows})),
        "evidence": scaled[chosen["row"], chosen["tick"]].astype(np.float32),
        "kind": chosen["kind"],
        "weight": chosen["weight"],
    }


def _world(place: Path, world: Mapping[str, Any]) -> Any:
    """Simulate and import; returns a function from (series, times) to the incidents' windows."""
    from qad_dl.downtimes import read_downtimes
    from qad_dl.history import load_jobs
    from qad_dl.incidents_file import read_incidents
    from qad_dl.metadata import read_cric
    from qad_dl.metrics.hits import incident_windows
    from qad_dl.rows import split_days
    from qad_dl.schema import Tick
    from qad_dl.simulator import WorldParams, simulate
    from qad_dl.store import Store

    params = WorldParams(**world)
    simulate(params, place)
    store = Store.create(place / "store", None)
    store.add_metadata(read_cric(place / "cric.json"), params.start)
    store.add_downtimes(read_downtimes(place / "downtimes.csv"))
    for _, part in split_days(load_jobs(place / "jobs.parquet", Tick())):
        store.put(part)

    def windows(series: tuple[tuple[str, ...], ...], times: NDArray[np.datetime64]) -> list[Window]:
        metadata = store.metadata()
        queues = {key[0] for key in series} | {name for dump in metadata.dumps for name in dump}
        span = (times[0], times[-1] + store.tick.delta)
        return incident_windows(
            read_incidents(place / "incidents.csv"), ("panda_queue",), series, metadata, queues, span
        )

    return windows


def _touched(
    windows: Sequence[Window], times: NDArray[np.datetime64], first: int, shape: tuple[int, ...]
) -> NDArray[np.bool_]:
    """Ticks of incidents and of the day after them, [N, T] from `first` on."""
    touched = np.zeros(shape, np.bool_)
    for window in windows:
        begin, end = (int(np.searchsorted(times, t)) - first for t in (window.start, window.end))
        touched[list(window.rows), max(begin, 0) : max(end + AFTER_TICKS, 0)] = True
    return touched


def _choose(
    windows: Sequence[Window],
    times: NDArray[np.datetime64],
    first: int,
    running: NDArray[np.float32],
    use: NDArray[np.bool_],
    normal: NDArray[np.bool_],
    seed: int,
) -> dict[str, NDArray[Any]]:
    """Ticks of incidents and of normal life: row, tick (from `first` on), kind ('' for normal life), weight."""
    rng = np.random.default_rng(seed)
    rows: list[tuple[int, int, str, float]] = []
    for window in windows:
        begin, end = (int(np.searchsorted(times, t)) - first for t in (window.start, window.end))
        if begin < 0:
            continue
        before = np.nan_to_num(running[:, max(begin + first - 6, 0) : begin + first + 1]).mean(axis=1)
        last = min(end, begin + LONGEST_TICKS, use.shape[1])
        large = [i for i in window.rows if before[i] >= LEAST_JOBS]
        ticks = [(i, t) for i in large for t in range(begin, last) if use[i, t]]
        some = [ticks[j] for j in rng.permutation(len(ticks))[:PER_INCIDENT]]
        weight = np.array([min(1, (t - begin + 1) / RAMP_TICKS) / (1 + (t - begin) / FADE_TICKS) for _, t in some])
        rows += [(i, t, window.kind, w) for (i, t), w in zip(some, weight / weight.sum(), strict=True)] if some else []
    healthy = np.argwhere(normal)
    healthy = healthy[rng.permutation(len(healthy))[:HEALTHY]]
    rows += [(int(i), int(t), "", 1.0) for i, t in healthy]
    return {name: np.array([row[k] for row in rows]) for k, name in enumerate(("row", "tick", "kind", "weight"))}


def _examples(made: Sequence[Mapping[str, NDArray[Any]]], kinds: Sequence[str], seed: int) -> Examples:
    """All worlds together; ticks of kinds that are left out are in neither class."""
    from qad_dl.nn.signatures import Examples

    evidence, names, weight = (np.concatenate([one[k] for one in made]) for k in ("evidence", "kind", "weight"))
    place = {"": len(kinds), **{kind: i for i, kind in enumerate(kinds)}}
    kept = np.isin(names, list(place))
    evidence, names, weight = evidence[kept].reshape(kept.sum(), -1), names[kept], weight[kept].astype(np.float64)
    kind = np.array([place[str(name)] for name in names], np.int64)
    healthy = kind == len(kinds)
    weight = np.where(healthy, weight / weight[healthy].sum(), weight / weight[~healthy].sum())
    order = np.random.default_rng(seed).permutation(len(kind))
    return Examples(evidence[order], kind[order], weight[order])


if __name__ == "__main__":
    start(main, "signatures", "training.signatures")
