"""From a trained network to a bundle: export, proof of parity, calibration of the exported model, manifest."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qad_dl.bundle import write_bundle
from qad_dl.calibration import Errors
from qad_dl.calibration_fit import find_usual, fit_calibration, unseen_statistics
from qad_dl.detection import fit_detection, known_detection
from qad_dl.doubts import DOUBT_LEARNED, doubts_differ
from qad_dl.errors import InputError
from qad_dl.nn.export import EXAMPLE_BATCH, check_parity, export_network, export_stream
from qad_dl.observed import errors_of, reasons
from qad_dl.progress import counting
from qad_dl.reconstruction import Model, reconstruct, window_starts
from qad_dl.scratch import Scratch
from qad_dl.signatures import Signatures, all_shipped
from qad_dl.timeparse import format_time
from training.fit import in_use

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from qad_dl.calibration import Calibration, Usual
    from qad_dl.nn.modules import MaskedAutoencoder
    from qad_dl.preprocess import Preprocess
    from qad_dl.windows import Windows
    from training.period import Part, Period
    from training.reviewed import Reviewed
    from training.settings import Settings

SERIES_BLOCK: Final = 32
"""Series that go through the model at a time: bounds the memory. A multiple of what one run of it takes."""

PACKAGES: Final = ("qad-dl", "torch", "pytorch-lightning", "onnx", "onnxruntime", "numpy")


def freeze(settings: Settings, period: Period, network: MaskedAutoencoder) -> str:
    """Export, prove, calibrate, write; return the name of the bundle.

    Raises:
        BundleError: the exported model does not say what the network says.
        InputError: nothing in the calibration time could be scored.
    """
    return _freeze(settings, period, network, None)


def _freeze(settings: Settings, period: Period, network: MaskedAutoencoder, doubts: float | None) -> str:
    """`freeze`; `doubts` are what it was found to differ by where that is too little to be read (`DOUBT_LEARNED`)."""
    preprocess = period.preprocess
    signatures = _signatures(settings, preprocess)
    if signatures is None:
        settings = settings.without_own()
    network = in_use(network, settings)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        example = example_windows(period)
        export_network(network, example, path)
        parity = check_parity(network, path, example)
        content = path.read_bytes()
        stream, apart = export_stream(network, example, Path(folder))
    course = 0 if signatures is None else signatures.reach
    model, reviewed = Model(content), period.reviewed
    scratch = Scratch(period.scratch)
    evidence = settings.evidence(preprocess.plan.evidence)
    data, use = exported_errors(period, model, course, evidence.doubts)
    if evidence.doubts:
        doubts = doubts_differ(evidence, data, use)
        if doubts < DOUBT_LEARNED:
            _say_unlearned(doubts)
            return _freeze(settings.without_own(), period, network, doubts)
    as_new = exported_errors(period, model, course, evidence.doubts, as_if_new=True)
    expected = None if reviewed is None else _expected(reviewed, use, scratch)
    n_ids, per_day = len(preprocess.vocabularies[0]), preprocess.plan.day
    calibration = fit_calibration(
        data,
        use,
        evidence,
        preprocess.states,
        n_ids,
        per_day,
        signatures,
        settings.whiten,
        settings.combine,
        as_new,
        expected,
        scratch,
        settings.shared,
    )
    if reviewed is not None:
        calibration = replace(calibration, usual=_usual(period, reviewed, model, calibration, course))
    if signatures is not None:
        detection = known_detection(signatures.healthy, alone=not calibration.joined)
    else:
        unseen = unseen_statistics(calibration, data, use, per_day, scratch)
        detection = fit_detection(_scores(calibration, unseen, scratch), use, per_day, scratch)
    about = _about(settings, period, max(parity, apart)) | {
        "horizons": settings.views,
        "statistics": sorted(calibration.survival),
        "doubts": doubts,
    }
    return write_bundle(settings.bundle, content, preprocess, calibration, detection, about, stream)


def _say_unlearned(doubts: float) -> None:
    sys.stderr.write(
        f"the network is about as sure of every tick as of any (its spreads differ by {doubts:.2g}, ln; by over "
        f"{DOUBT_LEARNED:g} where it has learned): errors are told by the signatures of the linear part\n"
    )


def exported_errors(
    period: Period,
    model: Model,
    course: int,
    doubts: Sequence[tuple[int, int]] = (),
    *,
    as_if_new: bool = False,
) -> tuple[Errors, NDArray[np.bool_]]:
    """Errors of the exported model on the calibration time and the evidence's reach before it; what to learn from.

    Args:
        period: what it was trained on; where it has a folder to work in, the errors lie there.
        model: the exported one.
        course: ticks of evidence that are read before each.
        doubts: which are wanted beside the errors (`scoring.doubts_of`).
        as_if_new: as they would be had all series been new when the period was over.

    Raises:
        InputError: no tick could be scored.
    """
    first, end = period.calibration
    scratch, n = Scratch(period.scratch), len(period.prepared.series)
    data: Errors | None = None
    reach = _reach(period.preprocess, first, course)
    windows = -(-n // SERIES_BLOCK) * len(window_starts(period.preprocess, period.prepared.times, reach))
    with counting(windows, "model", "window") as done:
        for low in range(0, n, SERIES_BLOCK):
            part = period.part(np.arange(low, min(low + SERIES_BLOCK, n)))
            wanted = part.as_if_new() if as_if_new else part
            errors, mine = _errors_since(wanted, model, course, first, doubts, done)
            if data is None:
                data, use = _room(errors, n, scratch), scratch.empty((n, mine.shape[1]), np.bool_)
            use[low : low + len(mine)] = mine
            for name, values in errors._asdict().items():
                getattr(data, name)[low : low + len(mine)] = values
    if data is None or not use.any():
        since, until = (format_time(period.prepared.times[i]) for i in (first, end - 1))
        msg = f"no tick from {since} to {until} can be scored, so nothing calibrates: give a longer period"
        raise InputError(msg)
    return data, use


def _room(errors: Errors, series: int, scratch: Scratch) -> Errors:
    """Room for the errors of all series, from those of some."""
    of = {name: scratch.empty((series, *values.shape[1:]), values.dtype) for name, values in errors._asdict().items()}
    return Errors(**of)


def _errors_since(
    part: Part,
    model: Model,
    course: int,
    first: int,
    doubts: Sequence[tuple[int, int]],
    done: Callable[[int], object] | None = None,
) -> tuple[Errors, NDArray[np.bool_]]:
    """Errors from the evidence's reach before a grid position on; ticks that count from there on."""
    prepared, plan = part.prepared, part.preprocess.plan
    series, reach = np.arange(len(prepared.series)), _reach(part.preprocess, first, course)
    made = reconstruct(model, part.preprocess, prepared, series, reach, done)
    scored = reasons(plan, prepared, series, reach, made) == 0
    use = scored & part.weight[:, reach:]
    use[:, : first - reach] = False
    return errors_of(prepared, series, made, part.preprocess.states, doubts=doubts), use


def _reach(preprocess: Preprocess, first: int, course: int) -> int:
    return max(0, first - preprocess.plan.evidence - course)


def _expected(reviewed: Reviewed, use: NDArray[np.bool_], scratch: Scratch) -> NDArray[np.bool_]:
    """What reviewers call expected, of the newest ticks, as many as `use` has, [N, T]."""
    expected = scratch.empty(use.shape, np.bool_)
    expected[:] = False
    expected[reviewed.rows] = reviewed.marks.expected[:, -use.shape[1] :]
    return expected


def _scores(
    calibration: Calibration, statistics: Mapping[str, NDArray[np.float32]], scratch: Scratch
) -> NDArray[np.float64]:
    """`Calibration.score`, some series at a time."""
    scores = scratch.empty(next(iter(statistics.values())).shape, np.float64)
    for low in range(0, len(scores), SERIES_BLOCK):
        rows = slice(low, low + SERIES_BLOCK)
        scores[rows] = calibration.score({name: values[rows] for name, values in statistics.items()})
    return scores


def _usual(period: Period, reviewed: Reviewed, model: Model, calibration: Calibration, course: int) -> dict[int, Usual]:
    """What reviewers call expected anywhere in the period, of the few series that have any, some at a time."""
    found: dict[int, Usual] = {}
    labelled = reviewed.rows[reviewed.marks.expected.any(axis=1)]
    for series in np.split(labelled, range(SERIES_BLOCK, len(labelled), SERIES_BLOCK)):
        if series.size:
            doubts = calibration.evidence.doubts
            data, use = _errors_since(period.part(series), model, course, period.fit[0], doubts)
            expected = reviewed.of(series).expected[:, -use.shape[1] :]
            first = use.shape[1] - (len(period.prepared.times) - period.fit[0])
            found |= find_usual(calibration, data, use, expected, first)
    return found


def _signatures(settings: Settings, preprocess: Preprocess) -> Signatures | None:
    """Those of the package for these channels, if they are asked for and this history has the states that they read."""
    if not settings.signatures:
        return None
    states, longest = preprocess.states, preprocess.plan.course
    return next((one for one in all_shipped() if one.fits(states, settings.channels, longest)), None)


def example_windows(period: Period) -> Windows:
    """Real windows of the length that is served, for tracing and for parity."""
    plan, n = period.preprocess.plan, len(period.prepared.series)
    series = np.arange(max(EXAMPLE_BATCH, min(n, 32))) % n
    firsts = np.linspace(period.fit[0], period.calibration[0], len(series)).astype(np.int64)
    return period.preprocess.cut(period.prepared, series, firsts, plan.stride)


def _about(settings: Settings, period: Period, parity: float) -> dict[str, Any]:
    times = period.prepared.times

    def at(position: int) -> str:
        return format_time(times[min(position, len(times) - 1)])

    return {
        "training": {"start": at(0), "held_out": at(period.fit[1]), "calibration": at(period.calibration[0])}
        | {"end": format_time(times[-1] + period.preprocess.tick.delta), "suspects": period.suspects},
        "lookback_ticks": period.preprocess.plan.lookback,
        "parity": parity,
        "commit": _commit(),
        "versions": {name: version(name) for name in PACKAGES},
        "config": settings.resolved,
    } | ({} if period.labels is None else {"labels": dict(period.labels)})


def _commit() -> str | None:
    """The commit of the checkout that training runs from; None outside one, or without git."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    return done.stdout.strip() or None
