"""What queues with something in common show together."""

from __future__ import annotations

import numpy as np
import pytest

from qad_dl.causes import SHARED_FIELDS, can_have, kinds_of
from qad_dl.records import queue_of_each
from qad_dl.signatures import any_kind
from qad_dl.together import IN_COMMON, JOINED_FIELDS, LARGEST, MOST, SHOWS, TICKS_BLOCK, Group, groups_of
from qad_dl.together import together as joined

KINDS = ("site_down", "harvester_down", "pilots_starve", "storage_writes")
QUIET = -5.0


def quiet(n: int = 12, t: int = 1) -> np.ndarray:
    return np.full((n, t, len(KINDS)), QUIET, np.float32)


def everywhere(ratios: np.ndarray) -> np.ndarray:
    return np.ones(ratios.shape[:2], np.bool_)


def together(
    ratios: np.ndarray, counts: np.ndarray, groups: list[Group], queues: np.ndarray | None = None
) -> np.ndarray:
    """Each series is a queue of its own unless said otherwise."""
    return joined(ratios, counts, groups, np.arange(len(ratios)) if queues is None else queues)


def of(*rows: int) -> Group:
    return Group(np.array(rows), np.arange(len(KINDS)))


def by_hand(
    ratios: np.ndarray, counts: np.ndarray, groups: list[Group], queues: np.ndarray | None = None
) -> np.ndarray:
    """The formula of the module, one number at a time."""
    out, queues = ratios.astype(np.float64), np.arange(len(ratios)) if queues is None else queues
    n, ticks, kinds = ratios.shape
    for t in range(ticks):
        for k in range(kinds):
            r = np.minimum(ratios[:, t, k].astype(np.float64), MOST)
            s = (1 - SHOWS) + SHOWS * np.exp(r)
            for i in range(n):
                odds = np.exp(float(ratios[i, t, k]))
                for group in groups:
                    mine = [j for j in group.rows if counts[j, t]]
                    each = {q: np.mean([np.log(s[j]) for j in mine if queues[j] == q]) for q in queues[mine].tolist()}
                    every = len(set(queues[counts[:, t]].tolist()))
                    if i in mine and k in group.kinds and 2 <= len(each) <= 0.75 * every:
                        g = sum(each.values()) / (1 + (len(each) - 1) * IN_COMMON)
                        odds += max(0.0, np.expm1(min(g, LARGEST))) * SHOWS * np.exp(r[i]) / s[i]
                out[i, t, k] = np.log(odds)
    return out


def test_the_formula() -> None:
    rng = np.random.default_rng(1)
    ratios = rng.normal(-1, 3, (12, 5, len(KINDS))).astype(np.float32)
    counts = rng.random((12, 5)) < 0.9
    groups = [of(0, 1, 2), Group(np.array([1, 3, 4, 5, 6]), np.array([1, 2])), of(*range(11)), of(7, 8)]
    np.testing.assert_allclose(together(ratios, counts, groups), by_hand(ratios, counts, groups), rtol=1e-5, atol=1e-5)


def test_weak_evidence_in_many_is_strong() -> None:
    ratios = quiet()
    ratios[:5, 0, 0] = 1.5
    alone, known = any_kind(ratios), any_kind(together(ratios, everywhere(ratios), [of(0, 1, 2, 3, 4, 5)]))
    assert (known[:5] > alone[:5] + 1.5).all()
    assert known[5] > alone[5] + 2  # the sixth of the site shows nothing, and is likely hit with it
    assert np.array_equal(known[6:], alone[6:])


def test_a_queue_that_is_surely_hit_is_no_proof_for_the_others() -> None:
    ratios = quiet()
    ratios[0, 0, 0] = 12.0
    known = any_kind(together(ratios, everywhere(ratios), [of(0, 1, 2)]))
    assert known[0] == pytest.approx(12, abs=0.01)
    assert (known[1:3] < 0).all()


def test_a_group_alone_is_no_more_than_a_queue_once_in_a_hundred_days() -> None:
    ratios = quiet(40)
    ratios[:20, 0, 0] = 8.0
    known = any_kind(together(ratios, everywhere(ratios), [of(*range(24))]))
    assert (known[20:24] < LARGEST).all()
    assert known[:20].max() == pytest.approx(np.log(np.exp(8) + np.exp(LARGEST)), abs=0.05)


def test_quiet_queues_take_nothing_away() -> None:
    ratios = quiet()
    ratios[0, 0, 1] = 3.0
    known = together(ratios, everywhere(ratios), [of(*range(8))])
    assert np.array_equal(known, ratios)


def test_a_value_counts_for_its_kinds_alone() -> None:
    ratios = quiet()
    ratios[:5, 0] = 1.5
    known = together(ratios, everywhere(ratios), [Group(np.arange(5), np.array([1, 2]))])
    assert (known[:5, 0, 1:3] > 2).all()
    assert np.array_equal(known[:, :, [0, 3]], ratios[:, :, [0, 3]])


@pytest.mark.parametrize("others", [0.0, 8.0, np.nan])
def test_what_does_not_count_says_nothing_and_is_told_nothing(others: float) -> None:
    ratios = quiet()
    ratios[:4, 0, 0] = 1.5
    counts = everywhere(ratios)
    wanted = together(ratios, counts, [of(0, 1, 2, 3)])
    ratios[4:6], counts[4:6] = others, False
    known = together(ratios, counts, [of(0, 1, 2, 3, 4, 5)])
    assert np.array_equal(known[:4], wanted[:4])
    assert np.array_equal(known[4:6], ratios[4:6], equal_nan=True)


def test_what_nearly_all_share_is_no_cause() -> None:
    ratios = quiet()
    ratios[:10, 0, 0] = 2.0
    assert np.array_equal(together(ratios, everywhere(ratios), [of(*range(10))]), ratios)
    assert not np.array_equal(together(ratios, everywhere(ratios), [of(*range(9))]), ratios)


def test_a_tick_is_the_same_in_any_range() -> None:
    rng = np.random.default_rng(2)
    ratios = rng.normal(-1, 3, (12, TICKS_BLOCK + 20, len(KINDS))).astype(np.float32)
    groups = [of(0, 1, 2), of(3, 4, 5, 6, 7, 8)]
    whole = together(ratios, everywhere(ratios), groups)
    for low, high in ((0, 1), (7, 9), (TICKS_BLOCK - 1, TICKS_BLOCK + 5)):
        some = ratios[:, low:high]
        np.testing.assert_allclose(together(some, everywhere(some), groups), whole[:, low:high], rtol=0, atol=1e-6)


def test_without_groups_nothing_is_made() -> None:
    ratios = quiet()
    assert together(ratios, everywhere(ratios), []) is ratios


def test_what_the_same_queues_share_is_one_group() -> None:
    site, other = {"atlas_site": "S", "write_storage": "D"}, {"atlas_site": "T", "harvester": "H"}
    records = [site, other, site, {}, other]
    found = groups_of(records, np.arange(5), ("atlas_site", "write_storage", "harvester"), KINDS)
    assert [(group.rows.tolist(), group.kinds.tolist()) for group in found] == [
        ([0, 2], kinds_of("atlas_site", KINDS)),
        ([1, 4], kinds_of("atlas_site", KINDS)),
    ]
    assert groups_of([site, other], np.arange(2), JOINED_FIELDS, KINDS) == []  # nobody shares anything


def test_series_of_one_queue_are_no_witnesses_for_each_other() -> None:
    site = {"atlas_site": "S"}
    assert groups_of([site] * 3, np.zeros(3, np.int64), ("atlas_site",), KINDS) == []
    (group,) = groups_of([site] * 4, np.array([0, 0, 0, 1]), ("atlas_site",), KINDS)
    assert group.rows.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("entity", "keys", "queues"),
    [
        (("panda_queue",), ["A", "B", "C"], [0, 1, 2]),
        (("panda_queue", "resource"), ["A S", "B S", "A M"], [0, 1, 0]),
        (("resource", "panda_queue"), ["S A", "S B", "M A"], [0, 1, 0]),
        (("atlas_site", "resource"), ["X S", "Y S", "X M"], [0, 1, 0]),
        (("atlas_site", "cloud"), ["X DE", "Y DE", "X FR"], [0, 1, 2]),
        (("resource",), ["S", "M", "L"], [0, 0, 0]),
    ],
)
def test_which_queue_a_series_is_of(entity: tuple[str, ...], keys: list[str], queues: list[int]) -> None:
    assert queue_of_each(entity, [tuple(key.split()) for key in keys]).tolist() == queues


@pytest.mark.parametrize("ticks", [1, 2, 5, 9, TICKS_BLOCK + 1])
@pytest.mark.parametrize("layout", [(3, 3), (3, 5), (2, 1, 7), (1, 1, 1, 6)])
def test_each_queue_says_what_its_series_say_in_the_mean(layout: tuple[int, ...], ticks: int) -> None:
    """Whichever of them count in a tick, and however many ticks are asked for."""
    rng = np.random.default_rng(3)
    n = sum(layout)
    ratios, counts = quiet(n + 6, ticks), rng.random((n + 6, ticks)) < 0.6
    ratios[:n] = rng.normal(1.5, 1, (n, 1, len(KINDS))).astype(np.float32)
    counts[:, 0] = True
    queues = np.concatenate([np.repeat(np.arange(len(layout)), layout), len(layout) + np.arange(6)])
    mixed = rng.permutation(len(queues))  # the series of a queue need not lie beside each other
    groups = [Group(np.sort(np.flatnonzero(mixed < n)), np.arange(len(KINDS)))]
    known = together(ratios[mixed], counts[mixed], groups, queues[mixed])
    wanted = by_hand(ratios[mixed], counts[mixed], groups, queues[mixed])
    np.testing.assert_allclose(known, wanted, rtol=1e-5, atol=1e-5)
    assert (known[:, 0] != ratios[mixed][:, 0]).any()


@pytest.mark.parametrize(
    ("field", "kinds"),
    [
        ("harvester", {"harvester_down", "pilots_starve"}),
        ("write_storage", {"storage_writes"}),
        ("cloud", set(KINDS)),
    ],
)
def test_kinds_that_a_field_can_be_the_cause_of(field: str, kinds: set[str]) -> None:
    assert {KINDS[k] for k in kinds_of(field, KINDS)} == kinds
    assert all(can_have(field, kind) == (kind in kinds) for kind in KINDS)


def test_fields_that_are_joined_may_name_a_cause() -> None:
    assert set(JOINED_FIELDS) < set(SHARED_FIELDS)
