"""A model that has forgotten what it knew of metadata: all values are the unknown one, the series are not."""

from __future__ import annotations

import numpy as np
import pytest

from tests.nn.made import ENCODERS, SHAPE, network, run, windows
from training.quality.no_ids import forget_ids


@pytest.mark.parametrize("identity", [True, False])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_value_is_the_unknown_one(encoder: str, identity: bool) -> None:
    net, batch = network(encoder, identity=identity), windows()
    unknown = batch.static_cat.copy()
    unknown[:, 1:] = 0
    wanted = run(net, batch._replace(static_cat=unknown))
    before = run(net, batch)
    forget_ids(net)
    after = run(net, batch)
    assert all(np.array_equal(a, w) for a, w in zip(after, wanted, strict=True))
    assert not np.allclose(before[0], after[0])


def test_series_are_still_told_apart() -> None:
    net, batch = network("tcn"), windows()
    forget_ids(net)
    other = batch.static_cat.copy()
    other[:, 0] = (other[:, 0] + 1) % SHAPE.vocabulary[0]
    assert not np.allclose(run(net, batch)[0], run(net, batch._replace(static_cat=other))[0])
