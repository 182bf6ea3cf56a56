"""Arrays in JSON: bit for bit, few for people, many for machines, and none that JSON does not have."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qad_dl import floats

FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(hnp.arrays(np.float32, hnp.array_shapes(max_dims=4, max_side=12), elements=FINITE))
def test_they_come_back_bit_for_bit(values: np.ndarray) -> None:
    back = floats.from_json(json.loads(json.dumps(floats.to_json(values), allow_nan=False)))
    assert back.dtype == np.float32
    assert back.shape == values.shape
    assert back.tobytes() == values.tobytes()
    back[...] = 0  # in memory of its own


def test_few_are_for_people_and_many_for_machines() -> None:
    assert floats.to_json(np.array([[0.1, 2.0]], np.float32)) == [[0.1, 2.0]]
    assert floats.to_json(np.zeros((300, 1), np.float32)) == {"shape": [300, 1], "float32": "AAAA" * 400}


def test_an_array_that_is_no_block_of_memory_comes_back_too() -> None:
    values = np.arange(3000, dtype=np.float32).reshape(30, 100)[::2, ::3].T
    assert np.array_equal(floats.from_json(floats.to_json(values)), values)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("number", [2, 1000])
def test_what_json_does_not_have_is_refused(wrong: float, number: int) -> None:
    values = np.zeros(number, np.float32)
    values[-1] = wrong
    with pytest.raises(ValueError, match="not finite"):
        floats.to_json(values)


@pytest.mark.parametrize(
    "data",
    [
        {"shape": [2], "float32": "AAAA"},
        {"shape": [1], "float32": "AAAA!AAA"},
        {"shape": [1]},
        {"shape": 1, "float32": "AAAAAA=="},
        ["a word"],
    ],
)
def test_what_nobody_wrote_is_refused(data: object) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        floats.from_json(data)
