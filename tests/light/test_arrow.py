"""Between numpy and Arrow: the same values as by pyarrow's own way, and no pandas."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from qad_dl.arrow import codes_of, dictionary, from_numpy, one_chunk, strings, to_numpy, valid_mask

CASES = [
    (np.array([1.5, -2.0, 0.0]), pa.float64()),
    (np.array([1, 2, 3], np.float32), pa.float32()),
    (np.array([1, -2, 3]), pa.int64()),
    (np.array([0, 86400, 1700000000]), pa.timestamp("s", "UTC")),
    (np.array([True, False, True]), pa.bool_()),
    (np.arange(20) % 3 == 0, pa.bool_()),
]


@pytest.mark.parametrize(("values", "kind"), CASES, ids=[f"{k}-{len(v)}" for v, k in CASES])
@pytest.mark.parametrize("cut", [0, 1])
def test_there_and_back(values: np.ndarray, kind: pa.DataType, cut: int) -> None:
    array = from_numpy(values, kind)
    array.validate(full=True)
    assert array.equals(pa.array(values).cast(kind))
    assert array.type == kind
    assert np.array_equal(to_numpy(array.slice(cut)), values[cut:])


def test_nulls() -> None:
    valid = np.array([True, False, True])
    array = from_numpy(np.array([1.0, np.nan, 3.0]), pa.float64(), valid)
    assert array.to_pylist() == [1.0, None, 3.0]
    assert np.array_equal(valid_mask(array), valid)
    assert np.array_equal(valid_mask(array.slice(1)), valid[1:])
    assert valid_mask(from_numpy(np.array([1.0]), pa.float64())) is None


def test_dictionaries_and_text() -> None:
    array = dictionary(np.array([1, -1, 0], np.int32), ["ü", ""])
    array.validate(full=True)
    assert array.to_pylist() == ["", None, "ü"]
    assert codes_of(array).tolist() == [1, -1, 0]
    assert strings([]).to_pylist() == []
    assert strings(["x", "", "ünïcode"]).to_pylist() == ["x", "", "ünïcode"]


def test_empty() -> None:
    assert from_numpy(np.empty(0), pa.float64()).to_pylist() == []
    assert to_numpy(pa.array([], pa.float64())).tolist() == []
    assert to_numpy(pa.array([], pa.bool_())).tolist() == []


def test_one_chunk() -> None:
    column = pa.chunked_array([["a", "b"], ["c"]])
    assert one_chunk(column).to_pylist() == ["a", "b", "c"]
    assert one_chunk(pa.chunked_array([], pa.string())).to_pylist() == []


@pytest.mark.everywhere
def test_no_pandas() -> None:
    code = """
import sys
import numpy as np, pyarrow as pa
from qad_dl.arrow import dictionary, from_numpy, one_chunk, to_numpy, valid_mask
to_numpy(one_chunk(pa.chunked_array([from_numpy(np.arange(3.0), pa.float64(), np.array([True, False, True]))])))
valid_mask(dictionary(np.array([0, -1], np.int32), ["a"]))
sys.exit("pandas" in sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
