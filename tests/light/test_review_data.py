"""What the review page holds: packing and its error, events, ranking, fields, and text that cannot break out."""

from __future__ import annotations

import base64
import json
import re
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qad_dl.cli import main
from qad_dl.downtimes import Downtime
from qad_dl.errors import ConfigError, InputError
from qad_dl.events import Event, find_events
from qad_dl.incident_features import leader
from qad_dl.results import Details, Results
from qad_dl.review import data, fields, packing, page, spark
from qad_dl.schema import REASONS

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = "</script><script>alert(1)</script>\n\"'&<!-- \u2028 \x00"


def unfold(block: str) -> list[bytes]:
    """The inverse of `deflate`, written apart from it."""
    octets, at, parts = zlib.decompress(base64.b64decode(block)), 0, []
    while at < len(octets):
        length = int.from_bytes(octets[at : at + 4], "little")
        parts.append(octets[at + 4 : at + 4 + length])
        at += 4 + length
    return parts


def columns(octets: bytes, ticks: int) -> np.ndarray:
    """Mode bytes and varints to codes."""
    count = next(c for c in range(1, len(octets)) if sum(b < 128 for b in octets[c:]) == c * ticks)
    numbers, value, shift = [], 0, 0
    for octet in octets[count:]:
        value, shift = value | (octet & 127) << shift, shift + 7
        if octet < 128:
            numbers.append(value)
            value = shift = 0
    table = np.array(numbers).reshape(count, ticks)
    signed = np.where(table % 2, -(table + 1) // 2, table // 2).cumsum(axis=1)
    return np.where(np.frombuffer(octets[:count], np.uint8)[:, None] == packing.DELTA, signed, table)


def small_results(scores: list[list[float]], threshold: float = 3.0, names: tuple[str, ...] = ()) -> Results:
    """Results of two states, `failed` to blame; the counts are distinct so that a swap shows."""
    score = np.array(scores, dtype=np.float64)
    n, t = score.shape
    base = np.arange(n * t * 2, dtype=np.float32).reshape(n, t, 2) + 1
    base[np.isnan(score)] = np.nan
    scored = np.isfinite(score)
    return Results(
        entity=("panda_queue",),
        series=tuple((name,) for name in (names or tuple(f"Q{i}" for i in range(n)))),
        times=np.datetime64("2026-01-01T00:00:00", "s") + np.arange(t) * np.timedelta64(600, "s"),
        score=score,
        alone=score,
        flagged=np.nan_to_num(score) >= threshold,
        reason=np.where(scored, 0, REASONS.index("gap")).astype(np.int8),
        known=np.ones((n, t), dtype=bool),
        expected=np.zeros((n, t), dtype=bool),
        state=np.where(scored, 1, -1).astype(np.int16),
        direction=scored.astype(np.int8),
        kind=np.full((n, t), -1, np.int8),
        kinds=(),
        states=("running", "failed"),
        budget=0.01,
        threshold=threshold,
        details=Details(base, base * 2, base * 1.5, base * 3, np.full_like(base, 0.5)),
    )


def built(*arguments: Any) -> str:
    """A page as `qad review` makes it: what `gather` takes, then uPlot's script and style."""
    *shown, script, style = arguments
    return page.static_page(page.gather(*shown), script, style).html


@given(st.floats(0, 1e7, allow_subnormal=False), st.sampled_from([*packing.FINE.values(), *packing.COARSE.values()]))
def test_quantum_keeps_its_promise(value: float, quantum: packing.Quantum) -> None:
    back = quantum.decode(quantum.encode(np.array([value])))[0]
    # Rounding a logarithm by half a step changes the value by exp(1 / (2 linear)), a little more than 1 / (2 linear).
    assert abs(back - value) <= max(quantum.unit / 2, value * np.expm1(0.5 / quantum.linear)) + 1e-9


def test_quantum_keeps_counts_to_64_and_marks_what_is_missing() -> None:
    quantum = packing.FINE["observed"]
    counts = np.arange(65.0)
    np.testing.assert_allclose(quantum.decode(quantum.encode(counts)), counts, atol=1e-9)
    np.testing.assert_array_equal(quantum.encode(np.array([np.nan, np.inf, -3.0, 0.0])), [0, 0, 1, 1])
    assert np.isnan(quantum.decode(np.array([0]))[0])


@given(st.lists(st.lists(st.integers(0, 2**30), min_size=3, max_size=3), min_size=1, max_size=5))
def test_columns_come_back(table: list[list[int]]) -> None:
    codes = np.array(table, dtype=np.int64)
    np.testing.assert_array_equal(columns(packing.pack_columns(codes), 3), codes)


def test_a_constant_column_is_written_as_differences_and_noise_as_it_is() -> None:
    noise = np.array([1, 9, 0, 8, 1, 9])
    assert packing.pack_columns(np.stack([np.full(6, 900), noise]))[:2] == bytes([packing.DELTA, packing.PLAIN])


def test_series_come_back_within_the_error() -> None:
    results = small_results([[0.5, np.nan, 4.25, 0.75]])
    (block,) = unfold(data.pack_series(results, 0))
    codes = columns(block, 4)
    decode = {name: quantum.decode for name, quantum in packing.FINE.items()}
    np.testing.assert_allclose(decode["score"](codes[0]), results.score[0], atol=0.01)
    gap = REASONS.index("gap")
    np.testing.assert_array_equal(codes[1], [0, gap, packing.FLAGGED, 0])
    np.testing.assert_array_equal(codes[2], [0, 0, 2, 0])
    details = results.details
    assert details is not None
    np.testing.assert_allclose(decode["observed"](codes[3:5]), details.observed[0].T)
    expected = decode["expected"](codes[5:7])
    np.testing.assert_allclose(expected, details.reconstruction[0].T, rtol=0.016)
    lower = (1 + expected) * np.exp(-decode["band"](codes[7:9])) - 1
    above = codes[7:9] + np.where(codes[9:11] % 2, -(codes[9:11] + 1) // 2, codes[9:11] // 2)
    upper = (1 + expected) * np.exp(decode["band"](above)) - 1
    np.testing.assert_allclose(lower, details.lower[0].T, rtol=0.05, atol=0.2)
    np.testing.assert_allclose(upper, details.upper[0].T, rtol=0.05, atol=0.2)
    np.testing.assert_allclose(decode["weight"](codes[11:13]), np.tile(results.score[0] / 2, (2, 1)), atol=0.076)


def test_events_bridge_three_ticks_and_not_four() -> None:
    score = np.array([0, 5, 0, 0, 0, 6, 7, 0, 0, 0, 0, 5], dtype=float)
    assert find_events(score > 4, score) == [Event(1, 7, 6), Event(11, 12, 11)]
    assert find_events(np.zeros(3, dtype=bool), np.full(3, np.nan)) == []


@pytest.mark.parametrize("ticks", [1, 83, 84, 85, 1008])
def test_sparkline_tells_flagged_from_not(ticks: int) -> None:
    score = np.full(ticks, 2.9999)
    flagged = np.zeros(ticks, dtype=bool)
    score[-1], flagged[-1] = 3.0001, True
    heights = [spark.ALPHABET.index(letter) - 1 for letter in spark.sparkline(score, flagged, 3.0)]
    assert len(heights) <= spark.SPARK_BUCKETS
    assert heights[-1] > spark.SPARK_TOP
    assert all(height <= spark.SPARK_TOP for height in heights[:-1])
    assert set(spark.sparkline(np.full(ticks, np.nan), flagged & False, 3.0)) == {spark.ALPHABET[0]}


def test_ranking_by_score_then_flagged_ticks_then_name() -> None:
    nan = np.nan
    scores = [[nan, nan], [1, 5], [5, 5], [0, 1], [5, 1]]
    results = small_results(scores, names=("none", "b", "twice", "low", "a"))
    assert [results.series[i][0] for i in data.ranking(results)] == ["twice", "a", "b", "low", "none"]


def test_index_tells_the_event_in_numbers_and_the_downtime_of_its_queue() -> None:
    results = small_results([[0.5, 3.5, 4.0, 0.5], [0.1, 0.1, 0.1, 0.1]])
    t = results.times
    downtimes = [
        Downtime("Q1", t[1], t[2], "offline"),
        Downtime("Q1", t[0] - 900, t[0], "over before the range"),
        Downtime("other", t[1], t[2], "offline"),
    ]
    index, _ = data.build_index(results, {}, downtimes, data.ranking(results))
    first, second = index["series"]
    assert first["n"] == "Q0"
    assert first["e"] == [[1, 3, 4.0, 1, 1, 2, 6.0, 12.0, 9.0, 18.0, -1]]
    assert (first["top"], first["f"], first["d"]) == (4.0, 2, [])
    assert second["d"] == [[data.epoch(t[1]), data.epoch(t[2]), "offline"]]
    json.dumps(index, allow_nan=False)


def test_unscored_series_have_no_score_and_come_as_json() -> None:
    results = small_results([[np.nan, np.nan]])
    index, _ = data.build_index(results, {}, [], [0])
    assert index["series"][0]["top"] is None
    assert index["series"][0]["st"] == []
    assert "NaN" not in page.json_text(index)


def test_key_columns_are_fields_and_names() -> None:
    results = replace(
        small_results([[1.0], [2.0]]),
        entity=("panda_queue", "resource"),
        series=(("Q", "MCORE"), ("Q", "")),
    )
    index, _ = data.build_index(results, {"Q": {"cloud": "DE"}}, [], data.ranking(results))
    assert [line["n"] for line in index["series"]] == ["Q / (none)", "Q / MCORE"]
    assert index["common"] == {"cloud": "DE"}
    assert [field["name"] for field in index["fields"]] == ["resource"]


def test_fields_sort_into_filters_common_and_the_rest() -> None:
    records = [{"cloud": "DE" if i % 2 else "FR", "vo": "atlas", "id": str(i), "note": "x"} for i in range(60)]
    del records[0]["note"]
    sorted_out = fields.Fields.of(records)
    assert list(sorted_out.filters) == ["cloud", "note"]
    assert sorted_out.common == {"vo": "atlas"}
    assert sorted_out.rest(7) == {"id": "7"}
    assert sorted_out.codes(0) == [sorted_out.filters["cloud"]["FR"], -1]


def test_no_name_breaks_out_of_the_page() -> None:
    results = small_results([[4.0], [1.0]], names=(HOSTILE, "Q"))
    text = built(results, {HOSTILE: {"cloud": HOSTILE}}, [], HOSTILE, "var uPlot;", "")
    assert "alert(1)</script>" not in text
    blocks = re.findall(r"<script([^>]*)>(.*?)</script>", text, flags=re.DOTALL)
    assert len(blocks) == 4
    index = json.loads(next(body for attributes, body in blocks if "application/json" in attributes))
    assert index["series"][0]["n"] == HOSTILE
    assert index["title"] == HOSTILE


def test_policy_allows_these_very_scripts_and_nothing_else() -> None:
    text = built(small_results([[4.0]]), {}, [], "t", "var uPlot;\r\n// μ", ".u{}")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    assert policy[1].startswith("default-src 'none';")
    script = re.search(r"<script>(.*?)</script>", text, flags=re.DOTALL)
    style = re.search(r"<style>(.*?)</style>", text, flags=re.DOTALL)
    assert script is not None
    assert style is not None
    assert page.digest(script[1]) in policy[1]
    assert page.digest(style[1]) in policy[1]
    assert "http" not in policy[1]
    assert "\r" not in script[1]


def test_a_script_that_would_end_its_element_is_refused() -> None:
    with pytest.raises(ConfigError, match="HTML tag"):
        page.script("var uPlot = '</SCRIPT>';")


def test_same_arguments_same_page() -> None:
    results = small_results([[4.0, 1.0], [1.0, 2.0]])
    first, second = (built(results, {}, [], "t", "var uPlot;", "") for _ in range(2))
    assert first == second


def test_without_details_or_ticks_there_is_no_page() -> None:
    results = small_results([[4.0]])
    with pytest.raises(InputError, match="details=True"):
        built(replace(results, details=None), {}, [], "t", "", "")
    with pytest.raises(InputError, match="1 series and 0 ticks"):
        built(replace(results, times=results.times[:0]), {}, [], "t", "", "")


def test_without_uplot_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"qad-dl\[review\]"):
        page.load_uplot()


def test_counts_of_an_event_are_those_of_the_tick_that_is_farthest_off() -> None:
    results = small_results([[4.0, 5.0, 4.0, 0.5]])
    details = results.details
    assert details is not None
    details.observed[0, :, 1] = [90, 10, 10, 10]
    details.reconstruction[0, :, 1] = 10
    details.lower[0, :, 1] = 8
    details.upper[0, :, 1] = 12
    assert data.event_line(results, 0, Event(0, 3, 1)) == [0, 3, 5.0, 1, 1, 0, 90.0, 10.0, 8.0, 12.0, -1]
    details.observed[0, :, 1] = 10  # nothing is off at any tick: the counts are those of the peak
    assert data.event_line(results, 0, Event(0, 3, 1))[5] == 1


def test_state_and_counts_of_an_event_are_those_of_what_the_queue_shows_by_itself() -> None:
    """The score is the highest, in the second tick, which others have made of it; the queue itself shows the third."""
    results = small_results([[4.0, 5.0, 4.5]])
    state, direction = np.array([[0, 0, 1]], np.int16), np.array([[-1, -1, 1]], np.int8)
    told = replace(results, state=state, direction=direction)
    by_itself = replace(told, alone=np.array([[1.0, 0.0, 4.5]]))
    assert data.event_line(told, 0, Event(0, 3, 1))[2:5] == [5.0, 0, -1]
    assert data.event_line(by_itself, 0, Event(0, 3, 1))[2:5] == [5.0, 1, 1]
    assert leader(told, [0], slice(0, 3)) == (0, -1)
    assert leader(by_itself, [0], slice(0, 3)) == (1, 1)
    assert leader(replace(told, alone=np.full((1, 3), np.nan)), [0], slice(0, 3)) == (-1, 0)


def test_a_page_that_would_be_too_large_is_packed_coarsely(monkeypatch: pytest.MonkeyPatch) -> None:
    results = small_results([[1.0, 2.0], [3.0, 4.0]])
    order = [0, 1]
    assert data.choose_quanta(results, order) is packing.FINE
    monkeypatch.setattr(data, "LARGEST_BYTES", 100)
    assert data.choose_quanta(results, order) is packing.COARSE


@pytest.mark.parametrize("out", ["folder", "no/such/folder/review.html"])
def test_a_page_that_could_not_be_written_is_refused_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], out: str
) -> None:
    (tmp_path / "folder").mkdir()
    arguments = ["--bundle", "b", "--start", "2026-01-01", "--end", "2026-01-02", "--out", str(tmp_path / out)]
    assert main(["review", str(tmp_path), *arguments]) == 2
    assert capsys.readouterr().err.startswith("qad review: --out: ")
