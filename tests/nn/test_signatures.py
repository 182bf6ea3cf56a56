"""The network that learns what incidents look like, and the numpy one that is shipped, are the same function."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from qad_dl.nn.signatures import CROP, Course, Network, Plan, _batches, _frozen, fit_signatures
from qad_dl.signatures import Signatures

PLAN = Plan(hidden=8, dilations=(1, 2, 4), steps=40, batch=8, learning_rate=1e-2, weight_decay=0.0, dropout=0.0, seed=1)
STATES, CHANNELS, KINDS = ("activated", "running", "failed"), ((1, 1.0), (6, 0.3)), ("black_hole", "site_down")
T = CROP + 100


@pytest.fixture(scope="module")
def world() -> Course:
    """Six series; in two of them failures rise, in two others running falls."""
    rng = np.random.default_rng(3)
    evidence = rng.normal(0, 1, (6, T, len(CHANNELS), len(STATES)))
    kind, weight = np.zeros((6, T), np.int64), np.zeros((6, T), np.float32)
    for row, state, sign in ((0, 2, 1), (1, 2, 1), (2, 1, -1), (3, 1, -1)):
        evidence[row, 150:200, :, state] += 4 * sign
        kind[row, 150:200], weight[row, 150:200] = int(state == 1), 1 / 50
    normal = weight == 0
    return Course(evidence.reshape(6, T, -1).astype(np.float16), kind, weight, normal)


def test_numpy_and_torch_agree() -> None:
    torch.manual_seed(2)
    network = Network(len(STATES) * len(CHANNELS), len(KINDS) + 1, PLAN).eval()
    f = torch.randn(5, 60, len(STATES) * len(CHANNELS))
    logits = network(f).detach().numpy()
    frozen = _frozen(network, STATES, CHANNELS, KINDS)
    ratios = frozen.log_ratios(f.numpy().reshape(5, 60, len(CHANNELS), len(STATES)), STATES)
    assert np.allclose(ratios, logits[..., :-1] - logits[..., -1:], atol=1e-4)


def test_it_reads_as_far_back_as_it_says_and_no_further() -> None:
    torch.manual_seed(2)
    frozen = _frozen(Network(6, 3, PLAN).eval(), STATES, CHANNELS, KINDS)
    assert frozen.reach == 14
    f = np.random.default_rng(1).normal(0, 2, (1, 40, 2, 3)).astype(np.float32)
    whole = frozen.log_ratios(f, STATES)
    assert np.allclose(frozen.log_ratios(f[:, 10:], STATES)[:, 14:], whole[:, 24:], atol=1e-5)
    f[:, 39 - 15] += 5
    assert np.allclose(frozen.log_ratios(f, STATES)[:, 39], whole[:, 39], atol=1e-5)
    f[:, 39 - 14] += 5
    assert not np.allclose(frozen.log_ratios(f, STATES)[:, 39], whole[:, 39], atol=1e-5)


def test_it_learns_which_state_tells_which_kind(world: Course) -> None:
    learned = fit_signatures([world], STATES, CHANNELS, KINDS, PLAN)
    ratios = learned.log_ratios(world.evidence.reshape(6, T, 2, 3).astype(np.float32), STATES)
    assert (ratios[:2, 160:200].argmax(axis=2) == 0).mean() > 0.9
    assert (ratios[2:4, 160:200].argmax(axis=2) == 1).mean() > 0.9
    assert (ratios[:4, 160:200].max(axis=2) > 0).mean() > 0.9
    assert (ratios[4:].max(axis=2) > 0).mean() < 0.1
    assert Signatures.from_json(json.loads(json.dumps(learned.to_json()))).reach == learned.reach


def test_in_a_batch_incidents_weigh_as_much_as_normal_life_and_the_warm_up_nothing(world: Course) -> None:
    _, kind, weight = next(_batches([world], len(KINDS), PLAN))
    hit = kind < len(KINDS)
    assert float(weight[: PLAN.batch // 2].sum()) == pytest.approx(1, abs=1e-5)
    assert float(weight[PLAN.batch // 2 :].sum()) == pytest.approx(1, abs=1e-5)
    assert hit[: PLAN.batch // 2].all()
    assert float(weight[:, :14].sum()) == 0
