"""Between numpy and Arrow without pandas.

`pyarrow.array(...)` and `Array.to_numpy()` import pandas where it is installed, which costs every start of the
collector half a second. These functions go through Arrow's buffers instead; numbers are not copied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def save_memory() -> None:
    """Let Arrow give back to the system what it needs no more: a tenth of what a tick takes, for a little time.

    For programs of our own, at their start: it holds for the whole process.
    """
    pa.set_memory_pool(pa.system_memory_pool())


def valid_mask(array: Any) -> NDArray[np.bool_] | None:
    """Which elements of an Arrow array are not null, bool [rows]; None if all are.

    Args:
        array: an array with a validity bitmap (any type but the null type).
    """
    bitmap = array.buffers()[0]
    return None if bitmap is None or array.null_count == 0 else _bits(bitmap, array.offset, len(array))


def to_numpy(array: Any) -> NDArray[Any]:
    """The values of an Arrow array of numbers, truth values or times, [rows]; where it is null they are arbitrary.

    Times come as integers in the unit of their type. The result is read-only, and shares memory but for truth values.
    """
    data = array.buffers()[1]
    if pa.types.is_boolean(array.type):
        return _bits(data, array.offset, len(array))
    dtype = _dtype(array.type)
    if data is None or len(array) == 0:
        return np.empty(0, dtype)
    return np.frombuffer(data, dtype, len(array), array.offset * dtype.itemsize)


def from_numpy(values: NDArray[Any], kind: Any, valid: NDArray[np.bool_] | None = None) -> Any:
    """An Arrow array of `values`, [rows], which must not be changed afterwards.

    Args:
        values: numbers whose bytes mean the same in Arrow's type (int64 for times), or truth values.
        kind: the Arrow type.
        valid: which are not null, bool [rows]; None if all are.
    """
    data = np.packbits(values, bitorder="little") if values.dtype == bool else np.ascontiguousarray(values)
    bitmap = None if valid is None else _buffer(np.packbits(valid, bitorder="little"))
    return pa.Array.from_buffers(kind, len(values), [bitmap, _buffer(data)])


def strings(values: Sequence[str], valid: NDArray[np.bool_] | None = None) -> Any:
    """An Arrow array of text, null where `valid` says so; `pa.array` would load pandas to look at a list."""
    encoded = [value.encode() for value in values]
    ends = np.cumsum([0, *map(len, encoded)]).astype(np.int32)
    there = None if valid is None or valid.all() else _buffer(np.packbits(valid, bitorder="little"))
    return pa.Array.from_buffers(pa.string(), len(encoded), [there, _buffer(ends), pa.py_buffer(b"".join(encoded))])


def codes_of(array: Any) -> NDArray[np.int32]:
    """The codes of a dictionary array, int32 [rows]; -1 where it is null."""
    indices = array.indices
    codes = to_numpy(indices).astype(np.int32, copy=False)
    valid = valid_mask(indices)
    return codes if valid is None else np.where(valid, codes, np.int32(-1))


def dictionary(codes: NDArray[np.int32], names: Sequence[str]) -> Any:
    """A dictionary array of text from codes, int32 [rows]; -1 is null."""
    valid = codes >= 0
    indices = from_numpy(codes, pa.int32(), None if valid.all() else valid)
    return pa.DictionaryArray.from_arrays(indices, strings(names))


def one_chunk(column: Any) -> Any:
    """A column of a table as one array."""
    if isinstance(column, pa.Array):
        return column
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.nulls(0, column.type)


def _buffer(values: NDArray[Any]) -> pa.Buffer:
    """The bytes of an array, shared."""
    memory: Any = values  # a numpy array is a buffer, which typeshed says from Python 3.12 on
    return pa.py_buffer(memory)


def _bits(bitmap: Any, offset: int, length: int) -> NDArray[np.bool_]:
    """`length` bits of a bitmap from `offset` on, bool [length]."""
    if bitmap is None or length == 0:
        return np.zeros(length, bool)
    first = offset // 8
    packed = np.frombuffer(bitmap, np.uint8)[first : (offset + length + 7) // 8]
    start = offset - first * 8
    return np.unpackbits(packed, bitorder="little")[start : start + length].astype(bool)


def _dtype(kind: Any) -> np.dtype[Any]:
    """The numpy type with the bytes of an Arrow type."""
    if pa.types.is_timestamp(kind) or pa.types.is_date64(kind):
        return np.dtype(np.int64)
    if pa.types.is_date32(kind):
        return np.dtype(np.int32)
    dtype: np.dtype[Any] = np.dtype(kind.to_pandas_dtype())
    return dtype
