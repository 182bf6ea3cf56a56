"""Scores as a table: for files (interfaces, section 5) and for people's DataFrames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from qad_dl.arrow import codes_of, dictionary, from_numpy, strings
from qad_dl.atomic import temporary_name
from qad_dl.errors import ConfigError, InputError
from qad_dl.schema import REASONS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from qad_dl.results import Results

FEW_ROWS: Final = 30_000
"""A tick of many series, and not a range."""

BUDGET_KEY: Final = b"qad.budget"
BUNDLE_KEY: Final = b"qad.bundle"
THRESHOLD_KEY: Final = b"qad.threshold"

DIRECTIONS: Final = ("low", "high")


def scores_table(results: Results, bundle: str) -> pa.Table:
    """One row per known series and tick, by time, then by series; names are plain strings.

    Args:
        results: what was scored.
        bundle: name of the bundle; goes into the table's metadata with the budget and its threshold.
    """
    tick, series = np.nonzero(results.known.T)
    columns = {k: _plain(v) if k != "time" else v for k, v in _keys(results, tick, series).items()}
    score, direction = results.score[series, tick], results.direction[series, tick]
    columns["score"] = from_numpy(score, pa.float64(), np.isfinite(score))
    columns["flagged"] = from_numpy(results.flagged[series, tick], pa.bool_())
    columns["reason"] = _plain(_words(results.reason[series, tick], REASONS))
    columns["expected"] = from_numpy(results.expected[series, tick], pa.bool_())
    columns["state"] = _plain(_words(results.state[series, tick], results.states))
    columns["direction"] = _plain(_words(np.where(direction == 0, -1, direction > 0), DIRECTIONS))
    about = {BUDGET_KEY: repr(results.budget), BUNDLE_KEY: bundle, THRESHOLD_KEY: repr(results.threshold)}
    return pa.table(columns).replace_schema_metadata({k: v.encode() for k, v in about.items()})


def details_table(results: Results, bundle: str) -> pa.Table:
    """One row per known series, tick and state; empty values where unscored. Names are categories: there are many rows.

    Raises:
        ValueError: the results carry no details.
    """
    if results.details is None:
        raise ValueError("these results were made without details")
    tick, series = np.nonzero(results.known.T)
    s = len(results.states)
    columns = _keys(results, np.repeat(tick, s), np.repeat(series, s))
    columns["job_status"] = _words(np.tile(np.arange(s), len(tick)), results.states)
    for name in ("observed", "reconstruction", "lower", "upper", "contribution"):
        values = getattr(results.details, name)[series, tick].reshape(-1)
        columns[name] = from_numpy(values, pa.float32(), np.isfinite(values))
    return pa.table(columns).replace_schema_metadata({BUNDLE_KEY: bundle.encode()})


def joined_tables(tables: Sequence[pa.Table]) -> pa.Table:
    """Tables of one kind and bundle, one after the other."""
    return tables[0] if len(tables) == 1 else pa.concat_tables(tables).unify_dictionaries()


def write_table(path: Path, table: pa.Table) -> None:
    """Write a Parquet file; it appears whole or not at all.

    Raises:
        ConfigError: the file cannot be written there.
    """
    temporary = temporary_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            pq.write_table(table, temporary, compression="zstd")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        msg = f"{path}: cannot be written ({error.strerror or error}); give the name of a file in a folder of yours"
        raise ConfigError(msg) from error


def details_path(path: Path) -> Path:
    """Where the details of `NAME.parquet` go: `NAME.details.parquet`."""
    return path.with_suffix(".details.parquet")


def _keys(results: Results, tick: NDArray[np.int64], series: NDArray[np.int64]) -> dict[str, Any]:
    seconds = results.times[tick].astype("datetime64[s]").astype(np.int64)
    columns: dict[str, Any] = {"time": from_numpy(seconds, pa.timestamp("s", "UTC"))}
    for i, field in enumerate(results.entity):
        columns[field] = _words(series, [key[i] for key in results.series])
    return columns


def _words(codes: NDArray[Any], words: Sequence[str]) -> Any:
    """A dictionary column; a negative code is null."""
    return dictionary(codes.astype(np.int32), words)


def _plain(words: Any) -> Any:
    """A dictionary column as plain strings; few are made without Arrow's functions, which take a while to load."""
    if len(words) > FEW_ROWS:
        return words.cast(pa.string())
    names, codes = [*words.dictionary.to_pylist(), ""], codes_of(words)  # -1 is null
    return strings([names[code] for code in codes.tolist()], codes >= 0)


def check_bundle(path: Path, bundle: str, folder: Path) -> None:
    """Refuse scores that another bundle made.

    Args:
        path: a scores file.
        bundle: name of the bundle that is at hand.
        folder: where that is, for the message.

    Raises:
        InputError: the file cannot be read, or names another bundle.
    """
    try:
        made_by = (pq.read_schema(path).metadata or {}).get(BUNDLE_KEY, b"").decode(errors="replace")
    except (OSError, pa.ArrowException) as error:
        msg = f"{path}: cannot be read as a Parquet file of scores ({str(error)[:120]}); `qad backtest` writes them"
        raise InputError(msg) from error
    if made_by != bundle:
        msg = f"{path}: scored with bundle {made_by or 'unknown'}, {folder} is {bundle}: give the one it was made with"
        raise InputError(msg)
