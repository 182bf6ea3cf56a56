"""Columns as people and programs write them, to columns as the library holds them, or the first row that is refused.

Every function takes one Arrow array and raises `BadRow` with the index of the first bad element. Text is looked at once
per distinct value: a column of ten million times has a few thousand of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NoReturn

import numpy as np
import pyarrow as pa

from qad_dl.arrow import codes_of, dictionary, from_numpy, strings, to_numpy, valid_mask
from qad_dl.errors import ConfigError
from qad_dl.rows import DAY_S
from qad_dl.timeparse import parse_time

if TYPE_CHECKING:
    from numpy.typing import NDArray

UNSET: Final = frozenset({"", "None", "No value"})
"""How an unset value is spelt in CRIC and in QMonit's tags."""

FIRST_S: Final = 0
LAST_S: Final = int(np.datetime64("2200-01-01", "s").astype(np.int64))
"""Times lie in [1970, 2200): others are slips of a unit or a typing error."""

_ZONED: Final = r"[T ]\d{2}.*(?:[Zz]|[+-]\d{2}(?::?\d{2})?)$"
_PER_SECOND: Final = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_SHOWN: Final = 40


class BadRow(Exception):  # noqa: N818  not an error of its own: the caller adds the file and raises InputError
    """The first element of a column that is refused.

    Attributes:
        index: its position in the column.
        reason: what is wrong with it and what is wanted.
    """

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(reason)
        self.index = index
        self.reason = reason


def times(array: Any) -> NDArray[np.int64]:
    """Times as seconds since the epoch, rounded down, int64 [rows]; without a zone they are UTC.

    Args:
        array: timestamps of any unit and zone, dates, or ISO 8601 text (zones may differ from row to row).

    Raises:
        BadRow: a time is missing, cannot be parsed, or lies outside [1970, 2200).
    """
    kind = array.type.value_type if pa.types.is_dictionary(array.type) else array.type
    if _is_text(kind):
        codes, values = _encode(array)
        seconds, bad = _parse_times(values)
        _refuse(codes < 0, lambda _: "time is missing")
        _refuse(bad[codes], lambda i: f"time {_show(values[int(codes[i])])} cannot be parsed; write it as ISO 8601")
        seconds = seconds[codes]
    else:
        seconds = _typed_times(_dense(array))
    outside = (seconds < FIRST_S) | (seconds >= LAST_S)
    _refuse(outside, lambda i: f"time {_show(array[i])} lies outside the years 1970 to 2199")
    return seconds


def counts(array: Any, *, text: bool) -> NDArray[np.float64]:
    """Job counts, float64 [rows], finite and >= 0.

    Args:
        array: numbers of any width.
        text: whether numbers may be spelt as text (a CSV file has nothing else).

    Raises:
        BadRow: a count is missing, text, negative or not finite.
    """
    array = _dense(array)
    _refuse(_nulls(array), lambda _: "jobs is missing")
    if _is_text(array.type):
        numbers = _parse_counts(array) if text else _no_number(array)
    elif _is_number(array.type) and not pa.types.is_decimal(array.type):
        numbers = to_numpy(array).astype(np.float64)
    elif _is_number(array.type):
        numbers = to_numpy(array.cast(pa.float64(), safe=False))  # which loads Arrow's functions
    else:
        _no_number(array)
    wrong = ~np.isfinite(numbers) | (numbers < 0)
    _refuse(wrong, lambda i: f"jobs is {numbers[i]:g}; a count is a finite number >= 0")
    return np.asarray(numbers + 0.0)  # -0.0 becomes 0.0


def names(array: Any, column: str) -> Any:
    """Names that must be there, as dictionary<int32, string>.

    Raises:
        BadRow: a name is missing, empty, blank, or not text.
    """
    codes, values = _text(array, column)
    blank = np.array([not value.strip() for value in values] + [True])
    _refuse(blank[codes], lambda _: f"{column} is empty; it must name something")
    return dictionary(codes, values)


def labels(array: Any, column: str) -> Any:
    """Optional names as dictionary<int32, string>: null becomes ''.

    Raises:
        BadRow: a value is not text.
    """
    codes, values = _text(array, column)
    if np.any(codes < 0):
        codes, values = np.where(codes < 0, len(values), codes).astype(np.int32), [*values, ""]
    return dictionary(codes, values)


def statuses(array: Any, column: str) -> Any:
    """Optional values as dictionary<int32, string>: the spellings of `UNSET` become null.

    Raises:
        BadRow: a value is not text.
    """
    codes, values = _text(array, column)
    unset = np.array([value.strip() in UNSET for value in values] + [True])
    return dictionary(np.where(unset[codes], -1, codes).astype(np.int32), values)


def _refuse(bad: NDArray[np.bool_], reason: Any) -> None:
    """Raise `BadRow` for the first element that is bad; `reason` makes its text from the index."""
    if np.any(bad):
        index = int(np.argmax(bad))
        raise BadRow(index, reason(index))


def _text(array: Any, column: str) -> tuple[NDArray[np.int32], list[str]]:
    """A column of text as codes (-1 is null) and values; a column of nulls is text too."""
    kind = array.type.value_type if pa.types.is_dictionary(array.type) else array.type
    if pa.types.is_null(kind):
        return np.full(len(array), -1, np.int32), []
    if not _is_text(kind):
        raise BadRow(0, f"{column} is {_show(array[0])} of type {kind}; it must be text")
    return _encode(array)


def _encode(array: Any) -> tuple[NDArray[np.int32], list[str]]:
    """Text or a dictionary of text as codes (-1 is null) and the values they stand for."""
    coded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
    codes = codes_of(coded)
    words = coded.dictionary
    if words.type != pa.string():
        words = words.cast(pa.string())  # which loads Arrow's functions
    values = words.to_pylist()
    empty = np.array([value is None for value in values] + [False])  # a null inside the dictionary
    if empty.any():
        codes = np.where(empty[codes], -1, codes)
    return codes, ["" if value is None else value for value in values]


def _dense(array: Any) -> Any:
    """An array without dictionary encoding."""
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _nulls(array: Any) -> NDArray[np.bool_]:
    """Which elements are null, bool [rows]."""
    if pa.types.is_null(array.type):
        return np.ones(len(array), bool)
    valid = valid_mask(array)
    return np.zeros(len(array), bool) if valid is None else ~valid


def _typed_times(array: Any) -> NDArray[np.int64]:
    """Timestamps and dates as seconds since the epoch."""
    kind: Any = array.type
    if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_null(kind)):
        raise BadRow(0, f"time is {_show(array[0])} of type {kind}; it must be a timestamp or ISO 8601 text")
    _refuse(_nulls(array), lambda _: "time is missing")
    if pa.types.is_date32(kind):
        return to_numpy(array).astype(np.int64) * DAY_S
    unit = kind.unit if pa.types.is_timestamp(kind) else "ms"
    return np.asarray(to_numpy(array) // _PER_SECOND[unit])


def _parse_times(values: list[str]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Distinct texts as seconds since the epoch, and which of them are no time; one spare element for code -1.

    Arrow parses quickly, but wants all or none of the texts to carry a zone, and stops at the first that it does not
    know; so the two kinds go apart, and what it does not know goes to Python one by one.
    """
    import pyarrow.compute as pc  # 9 MB that a tick can do without

    seconds = np.zeros(len(values) + 1, np.int64)
    bad = np.zeros(len(values) + 1, bool)
    texts = strings(values)
    zoned = to_numpy(pc.match_substring_regex(texts, _ZONED))
    for chosen, kind in ((zoned, pa.timestamp("us", "UTC")), (~zoned, pa.timestamp("us"))):
        where = np.flatnonzero(chosen)
        try:
            parsed = to_numpy(texts.take(from_numpy(where, pa.int64())).cast(kind)) // _PER_SECOND["us"]
        except pa.ArrowInvalid:
            parsed, bad[where] = _parse_one_by_one([values[i] for i in where])
        seconds[where] = parsed
    return seconds, bad


def _parse_one_by_one(values: list[str]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """As `_parse_times`, by Python's reading of ISO 8601."""
    seconds = np.zeros(len(values), np.int64)
    bad = np.zeros(len(values), bool)
    for i, value in enumerate(values):
        try:
            seconds[i] = parse_time(value).astype(np.int64)
        except (ConfigError, OverflowError):
            bad[i] = True
    return seconds, bad


def _parse_counts(array: Any) -> NDArray[np.float64]:
    """Numbers spelt as text, float64 [rows]."""
    import pyarrow.compute as pc  # 9 MB that a tick can do without

    array = pc.utf8_trim_whitespace(array.cast(pa.string()))
    try:
        return to_numpy(array.cast(pa.float64()))
    except pa.ArrowInvalid:
        index = _first_failure(array, pa.float64())
    text = array[index].as_py()
    raise BadRow(index, f"jobs is {_show(text)}; a count is a number >= 0" if text else "jobs is missing")


def _first_failure(array: Any, kind: Any) -> int:
    """Index of the first element that cannot be cast, by bisection: some element of [low, high) cannot."""
    low, high = 0, len(array)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            array.slice(low, middle - low).cast(kind)
            low = middle
        except pa.ArrowInvalid:
            high = middle
    return low


def _no_number(array: Any) -> NoReturn:
    """Refuse a column whose type is not a number."""
    raise BadRow(0, f"jobs is {_show(array[0])} of type {array.type}; a count is a number >= 0")


def _is_text(kind: Any) -> bool:
    """Whether a type is one of Arrow's text types."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_number(kind: Any) -> bool:
    """Whether a type is a number (a truth value is not)."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _show(value: Any) -> str:
    """A value for an error message: short, and on one line."""
    if isinstance(value, pa.DictionaryScalar):
        value = value.value
    if isinstance(value, pa.Scalar) and _is_text(value.type):
        value = value.as_py()
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
