"""The file beside a bundle: read back, refused where it does not fit, and what it changes of results."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qad_dl.errors import ConfigError
from qad_dl.evidence import Tuned, evidence, plain, with_offset
from qad_dl.incidents import find_incidents
from qad_dl.joined import joined, until
from qad_dl.metadata import Metadata
from qad_dl.tuning.features import WORDS, Sight, describe
from qad_dl.tuning.file import Thresholds, Tune, read_tune, tune_of, tune_path, tuned, write_tune
from qad_dl.tuning.order import Order, placings
from tests.light.made_tuning import BUNDLE, METADATA, QUEUES, START, THRESHOLD, World, values

if TYPE_CHECKING:
    from pathlib import Path

ORDER = Order(("length", "low"), np.array([3.0, 0.5]), np.array([1.0, 0.5]), np.array([1.5, -0.5]), 0.2)
TUNE = Tune(BUNDLE, "2026-02-01T00:00:00Z", "a", "b", 0.01, Thresholds("cloud", {"DE": 0.5}), ORDER, {"n": 1})


def two_bumps() -> World:
    """One in DE and one in FR, both 0.3 above the threshold."""
    world = World(2)
    assert world.bump(1, 100, 0.3, 6, "expected")
    assert world.bump(2, 150, 0.3, 12, "problem", low=True)
    return world


def test_it_comes_back(tmp_path: Path) -> None:
    write_tune(tune_path(tmp_path / "bundle"), TUNE)
    assert (tmp_path / "bundle.tune.json").is_file()
    back = tune_of(tmp_path / "bundle", BUNDLE)
    assert back is not None
    assert back.to_json() == TUNE.to_json()
    assert tune_of(tmp_path / "other", BUNDLE) is None


def test_a_link_leads_to_the_file_of_its_bundle(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    write_tune(tune_path(tmp_path / "one"), TUNE)
    current = tmp_path / "current"
    current.symlink_to("one")
    assert tune_of(current, BUNDLE) is not None
    current.unlink()
    current.symlink_to("two")  # promoted: the other bundle is not tuned, and nothing is refused
    assert tune_of(current, "abcdefabcdef") is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"bundle": "ffffffffffff"}, "was made for bundle ffffffffffff, this one is 0123456789ab"),
        ({"version": 2}, "is no file of `qad tune`, or one of another version"),
        ({"thresholds": {"field": "cloud", "offsets": {"DE": 7}}}, "the threshold of 'DE' is 7.0 higher; it can be"),
        ({"thresholds": {"field": "cloud", "offsets": {"DE": float("nan")}}}, "is damaged"),
        ({"order": {**ORDER.to_json(), "features": ["height", "low"]}}, "it orders by height, which this program"),
        ({"order": {**ORDER.to_json(), "weights": [1.0]}}, "as many as features"),
        ({"more": 1}, "its keys must be"),
        ({"order": [1]}, "is damaged"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = tmp_path / "b.tune.json"
    path.write_text(json.dumps({**TUNE.to_json(), **change}))
    with pytest.raises(ConfigError) as error:
        read_tune(path, BUNDLE)
    assert said in str(error.value)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_a_torn_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "b.tune.json").write_text('{"format": "qad-tu')
    with pytest.raises(ConfigError, match="cannot be read"):
        tune_of(tmp_path / "b", BUNDLE)


def test_only_flags_of_the_group_change_and_never_a_score() -> None:
    results = two_bumps().results()
    then = tuned(results, TUNE, METADATA)
    np.testing.assert_array_equal(then.score, results.score)
    assert not then.flagged[1].any()
    np.testing.assert_array_equal(then.flagged[2], results.flagged[2])
    np.testing.assert_array_equal(plain(then).flagged, results.flagged)
    assert tuned(results, None, METADATA) is results
    assert {f.series for f in find_incidents(results, values())} == {(1,), (2,)}
    assert {f.series for f in find_incidents(then, values())} == {(2,)}


def test_unscored_is_never_flagged_however_low_the_threshold() -> None:
    world = two_bumps()
    world.score[:, 50] = np.nan
    results = world.results()
    low = with_offset(results, np.full(results.score.shape, -1.0))
    assert not low.flagged[:, 50].any()
    assert np.isnan(evidence(low)[:, 50]).all()


def test_thresholds_follow_the_metadata_of_each_tick() -> None:
    moved = {q: {**dict(r), "cloud": "DE" if q == "Q02" else "FR"} for q, r in METADATA.dumps[0].items()}
    at = START + np.timedelta64(120 * 600, "s")
    metadata = Metadata(np.array([0, at.astype(np.int64)]).astype("datetime64[s]"), (METADATA.dumps[0], moved))
    results = two_bumps().results()
    offset = Thresholds("cloud", {"DE": 0.5}).of(results, metadata)
    assert (offset[1, 119], offset[1, 120], offset[2, 119], offset[2, 120]) == (0.5, 0.0, 0.0, 0.5)
    assert Thresholds("panda_queue", {"Q05": 1.0}).of(results, metadata).sum() == results.score.shape[1]
    assert Thresholds("harvester", {"H1": 1.0}).of(results, metadata).sum() == 0


def test_a_part_of_tuned_results_stays_tuned_and_a_join_is_of_plain_ones() -> None:
    results = two_bumps().results()
    then = tuned(results, TUNE, METADATA)
    part = until(then, results.times[160])
    assert isinstance(part, Tuned)
    assert part.offset.shape == part.score.shape == (QUEUES, 161)
    assert not part.flagged[1].any()
    both = joined(plain(part), plain(then), 1008)
    np.testing.assert_array_equal(both.flagged, results.flagged)


def test_the_place_of_an_incident_is_the_sum_of_its_parts() -> None:
    results = two_bumps().results()
    sights = [Sight((1,), 100, 106, "black_hole", False), Sight((2,), 150, 162, "site_down", False)]
    x = describe(results, sights)
    columns = list(WORDS)
    assert x[0, columns.index("length")] == pytest.approx(np.log2(6))
    assert x[1, columns.index("low")] == 1.0
    assert x[0, columns.index("failures")] == 1.0
    assert x[0, columns.index("score")] == pytest.approx(0.3)
    assert x[1, columns.index("kind site_down")] == 1.0
    logit = 0.2 + 1.5 * (np.log2(12) - 3.0) - 0.5 * (1.0 - 0.5) / 0.5
    first, second = placings(ORDER, results, sights)
    assert second.chance == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-4)
    assert second.chance > first.chance
    assert "ticks that it lasts, doublings 3.6, usual 3.0, speaks for it (+0.9)" in second.why
    assert "speaks against it (-0.5)" in second.why


def test_earlier_flags_of_a_queue_count_and_later_ones_do_not() -> None:
    world = two_bumps()
    assert world.bump(2, 60, 1.0, 2, None)
    before = list(WORDS).index("before")
    sight = Sight((2,), 150, 162, "site_down", False)
    known = describe(world.results(), [sight])
    assert known[0, before] == 1.0
    assert world.bump(2, 230, 1.0, 2, None)
    np.testing.assert_array_equal(describe(world.results(), [sight]), known)


def test_evidence_counts_from_the_own_threshold() -> None:
    results = two_bumps().results()
    sight = Sight((1,), 100, 106, "black_hole", False)
    then = tuned(results, Tune(BUNDLE, thresholds=Thresholds("cloud", {"DE": 0.2})), METADATA)
    assert describe(then, [sight])[0, 0] == pytest.approx(0.1)
    assert evidence(then)[1, 100] == pytest.approx(THRESHOLD + 0.1)
