"""What the clock of a training listens to is there."""

from __future__ import annotations

import pytest

from training.bench.clock import find
from training.bench.hooks import TRAINING


@pytest.mark.parametrize("hook", [hook for hook, _ in TRAINING])
def test_every_function_of_a_training_that_is_watched_is_there(hook: str) -> None:
    owner, name = find(hook)
    assert callable(getattr(owner, name))
