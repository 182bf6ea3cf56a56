"""What is below the simulated counts: jobs that are neither made nor lost, chance, the collection."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qad_dl.schema import FLOW_STATES
from qad_dl.simulator import WorldParams, faults, mechanism
from qad_dl.simulator.chance import poisson, stream, thin, wander
from qad_dl.simulator.collector import Collection, observe, reported_rows
from qad_dl.simulator.life import rates_at
from qad_dl.simulator.mechanism import REPORTED
from qad_dl.simulator.run import Run, run

FLOW = np.array([state in FLOW_STATES for state in REPORTED])


@pytest.fixture(scope="module")
def lively() -> Run:
    return run(WorldParams(days=4, queues=30, seed=4, quiet_days=1.0, downtimes=0.03))


# Jobs are neither made nor lost


def test_no_job_is_lost_while_no_work_is_sent(lively: Run) -> None:
    stock, flow = lively.counts[:, :, ~FLOW].sum(axis=2), lively.counts[:, :, FLOW].sum(axis=2)
    quiet = lively.life.arrivals[1:] == 0
    assert quiet.sum() > 500
    assert (stock[:-1][quiet] > 0).any()
    np.testing.assert_array_equal(stock[:-1][quiet], (stock + flow)[1:][quiet])
    assert ((stock + flow)[1:] >= stock[:-1]).all()
    assert (lively.counts >= 0).all()


@pytest.mark.parametrize("kind", sorted(faults.EFFECTS))
def test_every_fault_keeps_every_job(lively: Run, kind: str) -> None:
    world, rng = lively.world, stream(5, kind)
    groups = np.arange(len(world.source))
    stock = rng.integers(0, 200, (len(mechanism.STOCKS), len(groups))).astype(float)
    total, gone = stock.sum(axis=0), np.zeros(len(groups))
    fault = faults.Fault(kind, 0, 20, 0.9, groups[::2], np.full(len(groups[::2]), 3.0), 0.65)
    stock = mechanism.lose_nodes(stock, fault.groups, faults.lost_share(fault))
    np.testing.assert_array_equal(stock.sum(axis=0), total)
    for t in range(40):
        rates = rates_at(lively.life, world, t)
        faults.apply(rates, [fault] * faults.at_work(fault, t), t, world.layout.queue, 1.0)
        rates.arrivals[:] = 0.0
        shape = (mechanism.DRAWS, len(groups))
        stock, flows = mechanism.step(stock, rates, world.layout, rng.random(shape), rng.standard_normal(shape))
        gone += flows.sum(axis=0)
        assert (stock >= 0).all()
        assert (flows >= 0).all()
        np.testing.assert_array_equal(stock.sum(axis=0) + gone, total)
    np.testing.assert_array_equal(stock, np.rint(stock))
    assert gone.sum() > 0


# Chance


@given(st.integers(0, 20_000), st.floats(-0.5, 1.5), st.floats(0, 1, exclude_max=True), st.floats(-6, 6))
@settings(max_examples=200, deadline=None)
def test_thinning_gives_whole_numbers_in_range(n: int, p: float, uniform: float, normal: float) -> None:
    (count,) = thin(*(np.array([value], dtype=float) for value in (n, p, uniform, normal)))
    assert 0 <= count <= n
    assert count == np.rint(count)
    assert count == (0 if p <= 0 else n if p >= 1 else count)


@pytest.mark.parametrize(("n", "p"), [(8.0, 0.1), (3.0, 0.9), (40.0, 0.5), (5000.0, 0.001), (5000.0, 0.3)])
def test_thinning_is_binomial(n: float, p: float) -> None:
    rng, size = stream(1, "test"), 20_000
    count = thin(np.full(size, n), np.full(size, p), rng.random(size), rng.standard_normal(size))
    assert count.mean() == pytest.approx(n * p, abs=5 * np.sqrt(n * p * (1 - p) / size))
    assert count.var() == pytest.approx(n * p * (1 - p), rel=0.08)


@pytest.mark.parametrize("mean", [0.0, 0.5, 5.0, 300.0])
def test_arrivals_are_poisson(mean: float) -> None:
    rng, size = stream(2, "test"), 20_000
    count = poisson(np.full(size, mean), rng.random(size), rng.standard_normal(size))
    assert count.mean() == pytest.approx(mean, abs=5 * np.sqrt(mean / size))
    assert count.var() == pytest.approx(mean, rel=0.08)


def test_walks_keep_their_spread_and_memory() -> None:
    walk = wander(stream(3, "test"), (6000, 40), 0.5, 10.0)
    assert walk.std() == pytest.approx(0.5, rel=0.1)
    assert np.mean(walk[60:] * walk[:-60]) / walk.var() == pytest.approx(np.exp(-1), abs=0.1)


# The collection


def test_a_late_tick_holds_the_flow_of_the_hole_and_a_frozen_one_the_old_stock() -> None:
    counts = np.arange(6 * 2 * len(REPORTED), dtype=np.int32).reshape(6, 2, len(REPORTED))
    flags = np.array(["a", "a", "-", "-", "as", "af"])
    arrived, frozen, sums = (np.char.find(flags, letter) >= 0 for letter in "afs")
    seen = observe(counts, Collection(arrived, frozen, sums, np.zeros(6, dtype=bool)))
    np.testing.assert_array_equal(seen[4][:, FLOW], counts[2:5][:, :, FLOW].sum(axis=0))
    np.testing.assert_array_equal(seen[4][:, ~FLOW], counts[4][:, ~FLOW])
    np.testing.assert_array_equal(seen[5][:, ~FLOW], counts[4][:, ~FLOW])
    np.testing.assert_array_equal(seen[5][:, FLOW], counts[5][:, FLOW])
    np.testing.assert_array_equal(seen[:2], counts[:2])


def test_zeros_stand_only_where_the_server_writes_them() -> None:
    seen = np.zeros((1, 2, len(REPORTED)), dtype=np.int32)
    seen[0, 0, REPORTED.index("holding")] = 3
    rows = reported_rows(seen, zero_fill=True)
    filled = {"assigned", "activated", "running", "finished", "failed"}
    assert {state for state, row in zip(REPORTED, rows[0, 0], strict=True) if row} == filled | {"holding"}
    assert not rows[0, 1].any()
    assert reported_rows(seen, zero_fill=False).sum() == 1
