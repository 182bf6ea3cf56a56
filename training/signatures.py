"""Learn what incidents look like, from simulated worlds: `qad_dl/signatures.json`, which every bundle copies.

python -m training.signatures [out=FILE] [linear=FILE] [work=DIR]

Each world is simulated, a network is trained on its first half, and the errors of the exported network on the rest
become evidence. It is kept under `work` by the hash of what it was made from: a run that was cut off goes on.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from training.start import start

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from omegaconf import DictConfig

    from qad_dl.healthy import Healthy
    from qad_dl.metrics.truth import Window
    from qad_dl.nn.modules import MaskedAutoencoder
    from qad_dl.nn.signatures import Course
    from qad_dl.signatures import ChannelName, Signatures
    from training.period import Period
    from training.settings import Settings

LEFT_OUT: Final = ("central", "brokerage_stop")
"""Kinds that hit everyone at once: a queue alone cannot tell them from work that dries up, which is normal life."""

LEAST_JOBS: Final = 15.0
"""Hit queues with fewer running jobs than this before the incident teach nothing."""

LONGEST_TICKS: Final = 144
BEFORE_TICKS: Final = 6
RAMP_TICKS: Final = 3
FADE_TICKS: Final = 100
"""Ticks of an incident count more from its `RAMP_TICKS`th on, and less as it grows old."""

AFTER_TICKS: Final = 144

RECOVERING_RATES: Final = (0.1, 0.03, 0.01)
"""Episodes per series and day at which the day after a time offline is compared with any other,"""

RECOVERING_SHARE: Final = 0.1
"""and the share of them that is wanted there: who has been told of a downtime needs no false alarm about it."""

FOLDS: Final = 2
"""It is measured in each such part of the worlds by signatures that are learned from the others."""


class Lessons(NamedTuple):
    """What is learned from.

    Attributes:
        made: evidence of each world.
        kinds: names of the kinds of incident.
        channels: of the evidence.
    """

    made: Sequence[Mapping[str, NDArray[Any]]]
    kinds: tuple[str, ...]
    channels: Sequence[ChannelName]


def main(config: DictConfig) -> None:
    """Worlds to evidence to signatures."""
    from omegaconf import OmegaConf

    from qad_dl.progress import progress

    plain: Any = OmegaConf.to_container(config, resolve=True)
    work, worlds = Path(plain["work"]), progress(plain["worlds"], "worlds", unit="world")
    made = [_evidence(work, {**plain["world"], **world}, plain["networks"], plain["scored_days"]) for world in worlds]
    kinds = tuple(sorted({str(k) for one in made for k in one["hit_kind"]} - set(LEFT_OUT)))
    channels = [tuple(json.loads(channel)) for channel in made[0]["channels"].tolist()]
    _learn(plain, Lessons(made, kinds, channels), "out")
    # Of the linear part alone there is but one spread: what it shows stands where its errors are in it.
    errors = [at for at, (_, _, *way) in enumerate(channels) if not way]
    alone = [{**one, "scaled": one["linear"][:, :, errors]} for one in made]
    _learn(plain, Lessons(alone, kinds, [channels[at] for at in errors]), "linear")


def _learn(plain: Mapping[str, Any], lessons: Lessons, what: str) -> None:
    """Learn signatures from evidence in some channels, and write them to the file that is configured as `what`."""
    from qad_dl.atomic import replace_file
    from qad_dl.signatures import SHIPPED, SHIPPED_LINEAR, shipped_signatures

    if plain["learn"]:
        learned = _fit(plain, lessons)
        recovering = _recovering(plain, lessons)
    else:
        learned = shipped_signatures({"out": SHIPPED, "linear": SHIPPED_LINEAR}[what])
        recovering = learned.healthy.recovering
    signatures = replace(learned, healthy=_healthy(learned, lessons.made, recovering))
    replace_file(Path(plain[what]), (json.dumps(_rounded(signatures.to_json())) + "\n").encode())
    learned_of = f"{len(lessons.kinds)} kinds from {len(lessons.made)} worlds"
    sys.stderr.write(f"signatures of {learned_of} written to {plain[what]}\n")


def _fit(plain: Mapping[str, Any], lessons: Lessons) -> Signatures:
    """Signatures of some worlds, without what normal life does."""
    from qad_dl.nn.signatures import Plan, fit_signatures

    return fit_signatures(
        [_course(one, lessons.kinds) for one in lessons.made],
        [str(s) for s in lessons.made[0]["states"]],
        lessons.channels,
        lessons.kinds,
        Plan(**{**plain["network"], "dilations": tuple(plain["network"]["dilations"])}, seed=plain["seed"]),
    )


def _recovering(plain: Mapping[str, Any], lessons: Lessons) -> float:
    """What has to be taken off in days of coming back (`Healthy.recovering`), by signatures of the other worlds.

    Such days are few, and what is learned from them is known by heart.
    """
    made, apart, returns = lessons.made, [], []
    for fold in range(min(FOLDS, len(made))):
        held = made[fold::FOLDS]
        others = [one for i, one in enumerate(made) if i % FOLDS != fold] or made
        signatures = _fit(plain, lessons._replace(made=others))
        for one in held:
            statistic = _statistic(signatures, one)
            apart.append([_threshold([(statistic, one["normal"] & ~one["recovering"])], r) for r in RECOVERING_RATES])
            back = one["normal"] & one["recovering"]
            some = back.any(axis=1)
            if some.any():
                returns.append((statistic[some], back[some]))
    if not returns:  # worlds of a test may be too short for any: nothing is taken off then
        return 0.0
    # Of all worlds together, and of rates that they are long enough for: few days are spent coming back.
    more = [
        _threshold(returns, rate * RECOVERING_SHARE) - elsewhere
        for rate, elsewhere in zip(RECOVERING_RATES, np.nanmedian(apart, axis=0), strict=True)
    ]
    known = [m for m in more if np.isfinite(m)]
    return max(0.0, float(np.median(known))) if known else 0.0


def _healthy(signatures: Signatures, made: Sequence[Mapping[str, NDArray[Any]]], recovering: float) -> Healthy:
    """How the statistic behaves in the normal life of the worlds: known to be normal, since incidents are known."""
    from qad_dl.healthy import EPISODE_RATES, SURVIVAL_SCORES, Healthy
    from qad_dl.progress import progress
    from qad_dl.signatures import any_kind
    from qad_dl.together import JOINED_FIELDS, groups_of, together

    alone, values, thresholds = [], [], []
    for one in progress(made, "normal life", unit="world"):
        usual = one["normal"] & ~one["recovering"]
        ratios = signatures.log_ratios(one["scaled"].astype(np.float32), [str(s) for s in one["states"]])
        statistic = _where_scored(any_kind(ratios), one)
        alone.append([_threshold([(statistic, usual)], rate) for rate in EPISODE_RATES])
        ratios -= np.where(one["recovering"], np.float32(recovering), np.float32(0))[:, :, None]
        records = [json.loads(record) for record in one["records"].tolist()]
        queues = np.arange(len(records))  # a series each
        groups = groups_of(records, queues, JOINED_FIELDS, signatures.kinds)
        statistic = any_kind(together(ratios, one["scored"], groups, queues))
        values.append(np.quantile(statistic[usual], 1 - 10.0**-SURVIVAL_SCORES))
        thresholds.append([_threshold([(_where_scored(statistic, one), usual)], rate) for rate in EPISODE_RATES])
    return Healthy(np.median(values, axis=0), np.nanmedian(thresholds, axis=0), np.nanmedian(alone, axis=0), recovering)


def _statistic(signatures: Signatures, one: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
    """L of each series of a world by itself, [N, T]."""
    from qad_dl.signatures import any_kind

    ratios = signatures.log_ratios(one["scaled"].astype(np.float32), [str(s) for s in one["states"]])
    return _where_scored(any_kind(ratios), one)


def _where_scored(statistic: NDArray[np.float32], one: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
    """Where there is no score there is no episode."""
    return np.where(one["scored"], statistic, statistic.min())


def _threshold(of: Sequence[tuple[NDArray[np.float32], NDArray[np.bool_]]], rate: float) -> float:
    """The lowest statistic [N, T] at which so many episodes per series-day begin in the masks; NaN where none is."""
    from qad_dl.metrics.episodes import count_episodes
    from qad_dl.schema import Tick

    # Episodes are counted of positive scores; the statistic is moved there and back.
    lowest = min(float(statistic.min()) for statistic, _ in of) - 1
    statistic, where = (np.concatenate(arrays) for arrays in zip(*of, strict=True))
    counts = count_episodes(statistic - lowest, where, Tick().per_day)
    at = counts.lowest(rate * where.sum() / Tick().per_day)
    return float("nan") if at is None else float(counts.threshold[at] + lowest)


def _rounded(data: Any) -> Any:
    """Five digits are more than the fit is good for, and keep the file readable."""
    if isinstance(data, dict):
        return {name: _rounded(value) for name, value in data.items()}
    if isinstance(data, list):
        return [_rounded(value) for value in data]
    return round(data, 5) if isinstance(data, float) else data


def _evidence(
    work: Path, world: Mapping[str, Any], overrides: Sequence[str], scored_days: int
) -> dict[str, NDArray[Any]]:
    """Evidence of the ticks to learn from of one world; kept in `work`.

    The network leaves out what the signatures that are there take for an incident: others make other evidence.
    """
    from qad_dl.signatures import SHIPPED_LINEAR, shipped_signatures

    made_from = [dict(world), list(overrides), scored_days, shipped_signatures(SHIPPED_LINEAR).to_json()]
    key = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:12]
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
    import hydra
    from hydra.core.global_hydra import GlobalHydra

    from qad_dl.metadata import read_cric
    from qad_dl.nn.modules import highway_alone
    from qad_dl.records import records_of
    from training.fit import fit_network
    from training.period import load_period
    from training.settings import read_settings
    from training.start import CONFIGS
    from training.suspects import leave_out_suspects

    truth = _world(place, world)
    given = [f"store={place / 'store'}", f"bundle={place / 'bundle'}", "calibration.signatures=false", *overrides]
    GlobalHydra.instance().clear()  # this program's own configuration has been read by now
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        settings = read_settings(hydra.compose("train", given))
    period = leave_out_suspects(settings, load_period(settings))
    network = fit_network(settings, period)
    scored = scored_days * period.preprocess.plan.day
    scaled, use = _scaled(settings, period, network, scored)
    linear, _ = _scaled(settings, period, highway_alone(network), scored)
    prepared = period.prepared.of(np.arange(len(period.prepared.series)))
    first = len(prepared.grid.times) - scored
    windows = truth(prepared.grid.series, prepared.grid.times)
    records = records_of(prepared.grid.entity, prepared.grid.series, read_cric(place / "cric.json"))
    running = np.nan_to_num(prepared.grid.counts[:, :, prepared.grid.states.index("running")])
    return {
        "scaled": scaled,
        "linear": linear,
        "scored": use,
        "normal": use & ~_touched(windows, prepared.grid.times, first, use.shape),
        "recovering": prepared.recovering[:, -scored:],
        "states": np.array(period.preprocess.states),
        "records": np.array([json.dumps(dict(record)) for record in records]),
        "channels": np.array([json.dumps(channel) for channel in settings.channels]),
        **_hits(windows, prepared.grid.times, first, running),
    }


def _scaled(
    settings: Settings, period: Period, network: MaskedAutoencoder, scored: int
) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
    """Evidence of the last `scored` ticks, [N, T, P, S], and which of them count, [N, T].

    Scaled as a bundle would: calibrated on some days, in use on the days after.
    """
    import tempfile

    from qad_dl.calibration import scaled_evidence
    from qad_dl.calibration_fit import MEAN_SQUARE, signature_spreads
    from qad_dl.doubts import doubts_apart
    from qad_dl.nn.export import export_network
    from qad_dl.pooling import parts_of, power_mean
    from qad_dl.reconstruction import Model
    from qad_dl.scoring import accumulate
    from training.freeze import example_windows, exported_errors

    preprocess, how = period.preprocess, settings.evidence(period.preprocess.plan.evidence)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export_network(network, example_windows(period), path)
        data, use = exported_errors(period, Model(path.read_bytes()), 0, how.doubts)
    kept, calibrating = accumulate(data.z, how), use.copy()
    calibrating[:, -scored:] = False
    own = power_mean(kept, calibrating, parts_of(np.arange(calibrating.shape[1])), MEAN_SQUARE)
    spread = signature_spreads(own, data.ids, len(preprocess.vocabularies[0]), preprocess.plan.day)
    spread, centre = doubts_apart(how, data, calibrating, spread)
    scaled = scaled_evidence(kept, spread[data.ids], data.expected, preprocess.states, centre)
    return scaled[:, -scored:].astype(np.float16), use[:, -scored:]


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


def _hits(
    windows: Sequence[Window], times: NDArray[np.datetime64], first: int, running: NDArray[np.float32]
) -> dict[str, NDArray[Any]]:
    """One entry per incident and queue hit: row, begin and end (from tick `first` on), kind, incident, jobs before."""
    hits: list[tuple[int, int, int, str, str, float]] = []
    for window in windows:
        begin, end = (int(np.searchsorted(times, t)) for t in (window.start, window.end))
        if begin >= first:
            before = running[:, max(begin - BEFORE_TICKS, 0) : begin + 1].mean(axis=1)
            hits += [(i, begin - first, end - first, window.kind, window.name, float(before[i])) for i in window.rows]
    names = ("row", "begin", "end", "kind", "incident", "before")
    return {f"hit_{name}": np.array([hit[k] for hit in hits]) for k, name in enumerate(names)}


def _course(one: Mapping[str, NDArray[Any]], kinds: Sequence[str]) -> Course:
    """What happened in a world, tick by tick; kinds that are left out are neither incident nor normal life."""
    from qad_dl.nn.signatures import Course

    scored = one["scored"]
    kind, weight = np.zeros(scored.shape, np.int64), np.zeros(scored.shape, np.float32)
    incidents: dict[str, list[int]] = {}
    for k, name in enumerate(one["hit_incident"]):
        if one["hit_kind"][k] in kinds and one["hit_before"][k] >= LEAST_JOBS:
            incidents.setdefault(str(name), []).append(k)
    for hits in incidents.values():
        rows, begin, end = one["hit_row"][hits], int(one["hit_begin"][hits[0]]), int(one["hit_end"][hits[0]])
        age = np.arange(min(end - begin, LONGEST_TICKS, scored.shape[1] - begin))
        ticks = slice(begin, begin + len(age))
        counts = np.minimum(1, (age + 1) / RAMP_TICKS) / (1 + age / FADE_TICKS) * scored[rows, ticks]
        kind[rows, ticks] = kinds.index(str(one["hit_kind"][hits[0]]))
        weight[rows, ticks] = counts / max(float(counts.sum()), 1e-6)
    evidence = one["scaled"].reshape(*scored.shape, -1)
    return Course(evidence, kind, weight, one["normal"])


if __name__ == "__main__":
    start(main, "signatures", "training.signatures")
