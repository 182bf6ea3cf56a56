"""The networks: what they see, and what they must not see."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest
import torch

from qad_dl.nn.lightning_module import DEGREES, student_loss
from qad_dl.nn.modules import SPREAD_FLOOR, Shape, lag_features, unknown_ids
from tests.nn.made import ENCODERS, OUTPUTS, SHAPE, network, run, windows
from training.fit import in_use

if TYPE_CHECKING:
    from training.settings import Settings

KINDS = pytest.mark.parametrize("encoder", ENCODERS)
C = SHAPE.context


@KINDS
@pytest.mark.parametrize("outputs", [1, OUTPUTS, 30])
def test_shapes(encoder: str, outputs: int) -> None:
    location, spread = run(network(encoder), windows(3, outputs))
    assert location.shape == spread.shape == (3, outputs, len(SHAPE.horizons), SHAPE.states)
    assert (spread > SPREAD_FLOOR).all()


@KINDS
@pytest.mark.parametrize("name", ["values", "observed"])
@pytest.mark.parametrize("changed", [C - 3, C, C + 4, C + OUTPUTS - 1])
def test_a_tick_is_hidden_from_the_outputs_up_to_h_ticks_later(encoder: str, name: str, changed: int) -> None:
    net, batch = network(encoder), windows()
    array = getattr(batch, name).copy()
    array[:, changed] = 1 - array[:, changed] if name == "observed" else array[:, changed] + 3
    before, after = run(net, batch), run(net, batch._replace(**{name: array}))
    for i, h in enumerate(SHAPE.horizons):
        blind = max(0, min(OUTPUTS, changed + h - C))  # outputs C .. C + blind - 1 see nothing of the tick
        for b, a in zip(before, after, strict=True):
            assert np.array_equal(b[:, :blind, i], a[:, :blind, i])
        if blind < OUTPUTS:
            assert not np.allclose(before[0][:, blind, i], after[0][:, blind, i], atol=1e-4)


@KINDS
def test_a_series_does_not_depend_on_the_others_of_its_batch(encoder: str) -> None:
    net, batch = network(encoder), windows(6)
    together = run(net, batch)
    for i in (0, 5):
        alone = run(net, batch._replace(**{k: v[i : i + 1] for k, v in batch.feeds().items()}))
        for t, a in zip(together, alone, strict=True):
            assert np.allclose(t[i], a[0], atol=1e-5)


@KINDS
def test_an_untrained_network_is_the_highway(encoder: str) -> None:
    net, batch = network(encoder, trained=False), windows()
    linear, spread = net.highway(torch.from_numpy(batch.values), torch.from_numpy(batch.static_cat[:, 0]))
    location, wide = run(net, batch)
    assert np.array_equal(location, linear.numpy())
    assert np.allclose(wide, np.broadcast_to(spread.numpy() + SPREAD_FLOOR, wide.shape))


@KINDS
def test_without_the_highway_an_untrained_network_expects_the_median(encoder: str) -> None:
    assert not run(network(encoder, trained=False, highway=False), windows())[0].any()


@KINDS
def test_who_is_known_by_metadata_alone_is_known_like_a_series_that_is_new(encoder: str) -> None:
    net, known = network(encoder, identity=False), windows()
    ids = known.static_cat.copy()
    ids[:, 0] = 0
    new = known._replace(static_cat=ids, static_num=known.static_num + 1)
    said = []
    for batch in (known, new):
        linear, spread = net.highway(torch.from_numpy(batch.values), torch.from_numpy(batch.static_cat[:, 0]))
        location, own = run(net, batch)
        said.append((location - linear.numpy(), (own - SPREAD_FLOOR) / spread.numpy()))
    for one, other in zip(*said, strict=True):
        assert np.abs(one).max() > 0.01
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@KINDS
def test_the_metadata_are_seen_and_every_id_has_a_place(encoder: str) -> None:
    net, batch = network(encoder), windows()
    ids = [np.stack([batch.static_cat[:, 0], np.full(5, v)], axis=1) for v in range(SHAPE.vocabulary[1])]
    outputs = [run(net, batch._replace(static_cat=i))[0] for i in ids]
    for i in range(1, len(outputs)):
        assert not np.allclose(outputs[0], outputs[i], atol=1e-4)


def test_an_unknown_series_has_the_pooled_weights() -> None:
    net, values = network("tcn"), torch.from_numpy(windows().values)
    series = torch.tensor([0, 1, 2, 3, 0])
    linear, spread = net.highway(values, series)
    features = lag_features(values, SHAPE.horizons[1], SHAPE)
    assert torch.allclose(linear[:1, :, 1], features[:1] @ net.highway.table[0, 1])
    assert torch.equal(spread[4, 0], net.highway.spread[0])
    assert not torch.allclose(linear[1, :, 1], features[1] @ net.highway.table[0, 1])


@pytest.mark.parametrize("horizon", SHAPE.horizons)
def test_lags(horizon: int) -> None:
    values = torch.arange(C + OUTPUTS).float().reshape(1, -1, 1).expand(1, -1, SHAPE.states)
    features = lag_features(values, horizon, SHAPE)
    assert features.shape == (1, OUTPUTS, SHAPE.features)
    wanted = [*range(horizon, horizon + SHAPE.lags), SHAPE.day]
    for j in range(OUTPUTS):
        seen = (C + j - features[0, j, :-1].reshape(-1, SHAPE.states)[:, 0]).int().tolist()
        assert seen == wanted
        assert features[0, j, -1] == 1


@KINDS
def test_nan_would_spread(encoder: str) -> None:
    batch = windows()
    batch.values[:, 3] = np.nan
    assert np.isnan(run(network(encoder), batch)[0]).any(), "so it is `carry_forward` that must stop it"


def test_a_share_of_ids_is_made_unknown() -> None:
    torch.manual_seed(0)
    ids = torch.full((2000, 3), 2)
    dropped = unknown_ids(ids, 0.25)
    assert set(dropped.unique().tolist()) == {0, 2}
    assert (dropped == 0).float().mean() == pytest.approx(0.25, abs=0.03)
    assert torch.equal(unknown_ids(ids, 0.0), ids)


def test_the_loss_is_students_likelihood_of_the_cells_that_count() -> None:
    torch.manual_seed(0)
    target, weight = torch.randn(4, 6, 3), (torch.rand(4, 6, 3) < 0.7).float()
    location, spread = torch.randn(4, 6, 2, 3), torch.rand(4, 6, 2, 3) + 0.3
    law = torch.distributions.StudentT(DEGREES, location, spread)
    constant = torch.distributions.StudentT(DEGREES).log_prob(torch.tensor(0.0))
    wanted = (-(law.log_prob(target.unsqueeze(2)) - constant) * weight.unsqueeze(2)).sum() / (2 * weight.sum())
    assert student_loss(target, location, spread, weight) == pytest.approx(float(wanted), rel=1e-4)
    odd = torch.where(weight > 0, target, torch.tensor(99.0))
    assert student_loss(odd, location, spread, weight) == pytest.approx(float(wanted), rel=1e-4)


def test_the_shape_survives_as_plain_values() -> None:
    plain = SHAPE.plain()
    assert all(isinstance(v, int | list) for v in plain.values())
    assert Shape.of(plain) == SHAPE


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize(("spread", "own"), [("own", True), ("training", False), ("linear", False)])
def test_in_use_a_network_that_is_unsure_excuses_nothing(encoder: str, spread: str, own: bool) -> None:
    net, batch = network(encoder), windows()
    before = run(net, batch)
    after = run(in_use(net, cast("Settings", SimpleNamespace(model={"spread": spread}, own_views=()))), batch)
    linear = net.highway.spread.numpy()[batch.static_cat[:, 0]][:, None] + SPREAD_FLOOR
    assert np.array_equal(after[0], before[0])
    assert np.allclose(after[1], np.broadcast_to(linear, after[1].shape), atol=1e-6) is not own
    assert np.array_equal(after[1], before[1]) is own


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_horizon_that_channels_want_in_the_networks_own_spread_is_given_again(encoder: str) -> None:
    net, batch = network(encoder), windows()
    own = run(net, batch)
    net = in_use(net, cast("Settings", SimpleNamespace(model={"spread": "training"}, own_views=(1,))))
    location, spread = run(net, batch)
    assert location.shape == spread.shape == (*own[0].shape[:2], len(SHAPE.horizons) + 1, SHAPE.states)
    assert np.array_equal(location[:, :, :-1], own[0])
    assert np.array_equal(location[:, :, -1], own[0][:, :, 1])
    assert np.array_equal(spread[:, :, -1], own[1][:, :, 1])
    assert not np.allclose(spread[:, :, 1], spread[:, :, -1])


def test_half_precision_leaves_the_highway_alone() -> None:
    net, batch = network("tcn"), windows()
    feeds = torch.from_numpy(batch.values), torch.from_numpy(batch.static_cat[:, 0])
    whole = net.highway(*feeds)
    with torch.autocast("cpu", torch.bfloat16):
        half = net.highway(*feeds)
        assert net.encoder.enter(torch.ones(1, net.encoder.enter.in_channels, 4)).dtype == torch.bfloat16
    assert all(a.dtype == torch.float32 and torch.equal(a, b) for a, b in zip(half, whole, strict=True))
