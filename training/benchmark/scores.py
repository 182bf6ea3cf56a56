"""Scores of the model and of the peers on the test parts, and the files that they go to."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from qad_dl.atomic import replace_file
from qad_dl.metadata import Metadata
from qad_dl.metrics.precision_recall import average_precision
from qad_dl.metrics.vus import vus_pr

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from qad_dl.scorer import Scorer
    from training.benchmark.dataset import Dataset


KEYS: Final = ("vus_pr", "auc_pr")


def model_scores(scorer: Scorer, data: Dataset) -> NDArray[np.float64]:
    """Scores of the bundle at every tick of the test parts, [N, T]; NaN where it has none."""
    return scorer.score_grid(data.grid, Metadata.empty(), data.split).score


def rows_of(scores: NDArray[np.float64], data: Dataset) -> dict[str, NDArray[np.float64]]:
    """Scores [N, T] of the test rows of each entity; a row that could not be scored is told as 0: not odd."""
    return {
        name: np.nan_to_num(scores[n, :rows], nan=0.0)
        for n, (name, rows) in enumerate(zip(data.names, data.samples, strict=True))
    }


def figures(
    scores: Mapping[str, NDArray[np.float64]], labels: Mapping[str, NDArray[np.bool_]]
) -> dict[str, dict[str, float | None]]:
    """VUS-PR and AUC-PR of each entity and their means; None where the labels of an entity are all alike."""
    found: dict[str, dict[str, float | None]] = {
        name: {"vus_pr": vus_pr(labels[name], s), "auc_pr": average_precision(labels[name], s)}
        for name, s in scores.items()
    }
    return found | {"mean": {key: _mean([f[key] for f in found.values()]) for key in KEYS}}


def table(found: Mapping[str, Mapping[str, Mapping[str, float | None]]], model: str) -> str:
    """Means of the model and of every peer, with the best first, and how they compare with the best peer.

    Args:
        found: by name of the model or peer, what `figures` gave.
        model: the name of the model.
    """
    best = {k: max((f["mean"][k] or 0.0 for n, f in found.items() if n != model), default=0.0) for k in KEYS}
    rows: list[tuple[str, ...]] = [("", "VUS-PR", "of best peer", "AUC-PR", "of best peer")]
    for name in sorted(found, key=lambda n: -(found[n]["mean"]["auc_pr"] or 0.0)):
        mean = found[name]["mean"]
        cells = [(_number(mean[k]), _ratio(mean[k], best[k])) for k in KEYS]
        rows.append((name, *cells[0], *cells[1]))
    return "\n".join(f"{r[0]:<18}" + "".join(f"{cell:>14}" for cell in r[1:]) for r in rows)


def write_scores(out: Path, scores: Mapping[str, NDArray[np.float64]]) -> None:
    """`out/NAME.parquet` of each entity, with the one column `score`."""
    for name, values in scores.items():
        buffer = io.BytesIO()
        pq.write_table(pa.table({"score": pa.array(values, pa.float64())}), buffer)
        replace_file(out / f"{name}.parquet", buffer.getvalue())


def write_json(path: Path, content: Any) -> None:
    """As JSON, whole or not at all."""
    replace_file(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def _mean(values: list[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _ratio(value: float | None, best: float) -> str:
    return "-" if value is None or not best else f"{value / best:.2f}"
