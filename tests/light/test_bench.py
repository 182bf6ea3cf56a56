"""The measurement of what things cost: its arithmetic, its verdicts, and what it is held against."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qad_dl.errors import ConfigError, InputError
from qad_dl.rows import series_of
from qad_dl.store import Store
from tests.light.made_bundle import METADATA, QUEUES, START, TICK, made_history
from training.bench import clock as clock_module
from training.bench import hooks
from training.bench.averages import compare_averages, qmonit_averages
from training.bench.baseline import LOSS, WATCHED, compared, hold_against, keep
from training.bench.busy import AcceleratorBusy
from training.bench.clock import HookGoneError, PartClock, find
from training.bench.cost import cost_of, in_child, middle
from training.bench.grown import grown_store
from training.bench.million import per_series, section
from training.bench.page import results_of, write_page
from training.bench.verdicts import NEEDS, verdicts
from training.quality.parts import Part, Workshop

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

WATCHED_HERE = (*hooks.TICK, *hooks.RANGE, *hooks.IMPORT, *hooks.READ)
PRODUCT = {"product": {"least_s": 0.02, "median_s": 0.02, "gflops": 100.0}}
MACHINE = {"machine": {"processor": "P", "cores": 2, "memory_gb": 8.0, "load": 0.1}}
COST = {"wall_s": 3.0, "cpu_s": 3.0, "peak_mb": 250.0}


def sized(number: int, seconds: float, mb: float) -> dict[str, Any]:
    whole = {"wall_s": seconds, "cpu_s": seconds, "least_cpu_s": seconds, "peak_mb": mb}
    return {"number": number, "whole": whole, "parts": {}, **PRODUCT, **MACHINE}


class TestCost:
    def test_a_process_costs_what_it_does_and_not_what_its_starter_is(self) -> None:
        ballast = np.ones(80_000_000, np.uint8)
        small = cost_of(sys.executable, "-I", "-S", "-c", "print('said')")
        large = cost_of(sys.executable, "-I", "-S", "-c", "bytearray(b'1' * 100_000_000); sum(range(3_000_000))")
        assert small.said == "said\n"
        assert small.peak_mb < 30 < len(ballast) / 1e6
        assert 100 < large.peak_mb < 300
        assert large.cpu_s > small.cpu_s
        assert large.wall_s > 0

    def test_one_that_fails_says_why(self) -> None:
        with pytest.raises(RuntimeError, match=r"exit code 3 of .*\n.*no luck"):
            cost_of(sys.executable, "-c", "import sys; sys.stderr.write('no luck'); sys.exit(3)")

    def test_work_in_a_child(self) -> None:
        unit = in_child("product", {})
        assert unit["gflops"] == pytest.approx(2 * 1024**3 / unit["least_s"] / 1e9)
        assert unit["process"]["peak_mb"] > 12

    def test_the_middle_of_several(self) -> None:
        costs = [cost_of(sys.executable, "-I", "-S", "-c", "pass") for _ in range(3)]
        found = middle(costs)
        assert found["wall_s"] == sorted(c.wall_s for c in costs)[1]
        assert found["least_cpu_s"] == min(c.cpu_s for c in costs)


class TestClock:
    def test_a_part_does_not_count_what_is_inside_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        times = iter([(t, 10 * t, 100 * t) for t in (0.0, 1.0, 3.0, 7.0, 15.0, 31.0)])
        monkeypatch.setattr(clock_module, "_now", lambda: next(times))
        clock = PartClock()
        with clock.part("outer"), clock.part("inner"), clock.part("innermost"):
            pass
        found = {name: (s.wall_s, s.cpu_s, s.grown_mb) for name, s in clock.spent.items()}
        assert found == {
            "innermost": (4.0, 40.0, 400.0),
            "inner": (10.0, 100.0, 1000.0),
            "outer": (17.0, 170.0, 1700.0),
        }

    def test_memory_belongs_to_the_part_that_takes_it(self) -> None:
        code = (
            "from training.bench.clock import PartClock\n"
            "c = PartClock()\n"
            "with c.part('outer'):\n"
            "    with c.part('takes'): b = bytearray(b'1' * 60_000_000)\n"
            "print(c.spent['outer'].grown_mb < 10, c.spent['takes'].grown_mb > 50)"
        )
        assert cost_of(sys.executable, "-c", code).said == "True True\n"

    @pytest.mark.parametrize("hook", ["json:no_such", "no_such_module:name", "json:JSONDecoder.no_such"])
    def test_a_function_that_has_gone_is_told(self, hook: str) -> None:
        with pytest.raises(HookGoneError, match=f"^{hook} has gone, .*hooks.py$"):
            PartClock().watch(((hook, "part"),))

    @pytest.mark.parametrize("hook", sorted({hook for hook, _ in WATCHED_HERE}))
    def test_every_function_that_is_watched_is_there(self, hook: str) -> None:
        owner, name = find(hook)
        assert callable(getattr(owner, name))

    def test_the_pieces_of_a_generator_belong_to_the_part_and_what_is_done_with_them_does_not(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        times = iter([(float(t), 0.0, 0.0) for t in range(100)])
        monkeypatch.setattr(clock_module, "_now", lambda: next(times))

        def pieces() -> Iterator[int]:
            yield 1
            yield 2

        monkeypatch.setattr(json, "pieces", pieces, raising=False)
        clock = PartClock()
        clock.watch((("json:pieces", "making"),))
        for piece in json.pieces():
            assert piece in {1, 2}
            next(times)  # a second is spent on it
        assert (clock.spent["making"].wall_s, clock.spent["making"].calls) == (3.0, 3)

    def test_a_watched_function_does_what_it_did(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(json, "dumps", json.dumps)
        clock = PartClock()
        clock.watch((("json:dumps", "words"),))
        assert json.dumps([1]) == "[1]"
        assert clock.spent["words"].calls == 1


def test_an_accelerator_is_asked_how_busy_it_is() -> None:
    says = "import time; print(20, flush=True); print(60, flush=True); time.sleep(60)"
    with AcceleratorBusy(watched=True, ask=(sys.executable, "-c", says)) as busy:
        deadline = time.monotonic() + 20
        while busy.said() != [20.0, 60.0] and time.monotonic() < deadline:
            time.sleep(0.02)
    assert busy.share == pytest.approx(0.4)
    with AcceleratorBusy(watched=False) as busy:
        pass
    assert busy.share is None


@pytest.mark.parametrize(("field", "number"), [("panda_queue", 14), ("series", 9), ("panda_queue", 4)])
def test_a_grown_store_has_as_many_series_and_the_same_counts(tmp_path: Path, field: str, number: int) -> None:
    source = Store.create(tmp_path / "source")
    source.put(made_history(8.5))
    source.add_metadata(METADATA.dumps[0], START)
    at = START + np.timedelta64(7 * 24 + 2, "h")
    store = grown_store(source, tmp_path / "grown", number, at, field)
    rows = store.read(START, at + TICK.delta)
    assert len({key[0] for key in series_of(rows)} if field == "panda_queue" else series_of(rows)) == number
    assert store.span() == (START, at)
    own = source.read(START, at + TICK.delta)
    assert rows.num_rows == own.num_rows * number // len(QUEUES)
    assert len(list((tmp_path / "grown" / "jobs" / "2010-05-08").glob("*.parquet"))) in {0, 13}
    known = store.metadata().at(at)
    assert {queue for queue, _, _ in series_of(rows)} <= set(known)


class TestVerdicts:
    def results(self) -> dict[str, Any]:
        return {
            "row/1/collector": {**sized(600, 0.9, 250.0), "first": COST, "steps": {"score": 0.5}, "hour_over_s": 0.2},
            "row/3/1000": sized(1000, 2.0, 300.0),
            "row/3/10000": sized(10_000, 11.0, 1200.0),
        }

    def said(self, results: dict[str, Any]) -> dict[str, Any]:
        return {f"{v.need.row} {v.need.what}": v for v in verdicts(results)}

    def test_what_holds_what_does_not_and_what_is_not_known(self) -> None:
        said = self.said(self.results())
        tick, memory = said["1 a tick of the collector, 600 queues, whole process"], said["1 its memory"]
        assert (tick.holds, memory.holds) == (True, False)
        assert tick.products == pytest.approx(45)
        assert memory.products is None
        assert said["5 backtest of 300 queues and 11 days"].holds is None

    @pytest.mark.parametrize(("seconds", "holds"), [(101.0, True), (250.0, False)])
    def test_linear_growth(self, seconds: float, holds: bool) -> None:
        results = {**self.results(), "row/3/100000": sized(100_000, seconds, 9000.0)}
        assert verdicts(results)[-1].holds is holds
        assert verdicts(self.results())[-1].holds is None

    def test_sizes_that_were_measured_in_turns(self, tmp_path: Path) -> None:
        seconds = {1000: 2.0, 10_000: 11.0, 100_000: 101.0}
        sizes = [{"number": n, "whole": sized(n, s, 300.0)["whole"]} for n, s in seconds.items()]
        beside = {"product": {"least_s": 0.02}, "machine": {}}
        kept = {"result": {"sizes": sizes, **beside}, "seconds": 1.0}
        workshop = Workshop(
            {name: Part(name, pytest.fail, {}, "") for name in ("row/2/sizes", "row/3/sizes")}, tmp_path
        )
        assert results_of(workshop) == {"row/2/sizes": None, "row/3/sizes": None}
        workshop.place("row/3/sizes").mkdir(parents=True)
        (workshop.place("row/3/sizes") / "result.json").write_text(json.dumps(kept))
        results = results_of(workshop)
        assert results["row/3/1000"] == {**sizes[0], **beside}
        assert (verdicts(results)[-1].value, verdicts(results)[-1].holds) == (pytest.approx(1.0), True)

    def test_every_need_has_one_bound(self) -> None:
        assert all((need.most is None) != (need.least is None) for need in NEEDS)
        assert {need.row for need in NEEDS} == {1, 2, 3, 4, 5, 6, 7, 8, 9}

    def test_the_page(self, tmp_path: Path) -> None:
        config = {
            "million": {"series": 1_000_000, "tick_minutes": 10, "deadline_s": 300, "history_days": 90},
            "price": {"core_hour": 0.05, "gb_month": 0.02},
            "host": {"cores": 16, "memory_gb": 64},
        }
        write_page(tmp_path / "page.md", tmp_path / "work" / "results.json", self.results(), config)
        text = (tmp_path / "page.md").read_text()
        assert "| 1 | its memory | at most 200 MB | 250 MB |  | **no** |" in text
        assert "| 10,000 | 11 | 11 | 1,200 | 1.1 | 120 |" in text
        assert json.loads((tmp_path / "work" / "results.json").read_text())["verdicts"][0]["holds"] is True


def test_a_million_series() -> None:
    results = {"row/3/1000": sized(1000, 2.0, 300.0), "row/3/10000": sized(10_000, 11.0, 1200.0)}
    (cold,) = per_series(results)
    assert (cold.cpu_s, cold.memory_mb) == pytest.approx((0.001, 0.1))
    asked = {"series": 1_000_000, "tick_minutes": 10, "deadline_s": 300, "history_days": 90}
    config = {"million": asked, "price": {"core_hour": 0.05, "gb_month": 0.02}, "host": {"cores": 16, "memory_gb": 50}}
    text = section(results, config)
    # 1000 processor seconds and 100 GB: one host by time, two by memory, 32 cores of 0.05 for 730 hours.
    assert "| 1,000 | 100 | 1 | 2 | 2 | 1,168 |" in text
    assert "one core's time in 300 s is the first to end, with 300,000 series" in text


def never(_parts: Sequence[str]) -> dict[str, Any]:
    pytest.fail("nothing is to be measured again")


class TestBaseline:
    NAME = WATCHED[0].name

    @pytest.mark.parametrize(("now", "lost"), [(1.0 + LOSS - 0.01, False), (1.0 + LOSS + 0.01, True), (0.2, False)])
    def test_a_loss_fails(self, now: float, lost: bool) -> None:
        assert compared({self.NAME: now}, {"P": {self.NAME: 1.0}}, "P")[1] == ([self.NAME] if lost else [])

    def test_on_another_processor_nothing_is_compared_and_that_is_said(self) -> None:
        lines, lost = compared({self.NAME: 9.0}, {"P": {self.NAME: 1.0}}, "Q")
        assert lost == []
        assert "does not know Q" in lines[0]
        assert "not compared" in lines[1]

    def test_kept_and_held_against(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path, tick = tmp_path / "bench.json", sized(600, 1.0, 250.0)
        with pytest.raises(ConfigError, match="bench-baseline"):
            hold_against(path, {"row/1/tick": tick}, never, 1)
        runs = [{"row/1/tick": sized(600, seconds, 250.0)} for seconds in (0.7, 1.0, 0.9)]
        keep(path, runs, {"command": "make it"})
        (kept,) = json.loads(path.read_text()).values()
        assert kept["made"] == {"command": "make it", "runs": 3}
        assert kept["figures"][self.NAME] == pytest.approx(50)
        assert hold_against(path, {"row/1/tick": tick}, never, 3) == []
        assert hold_against(path, {"row/1/tick": sized(600, 1.5, 250.0)}, never, 1) == [self.NAME]
        assert "WORSE" in capsys.readouterr().out
        for damaged in ("no JSON", '{"P": {"cold tick, MB": 1.0}}', "[1]"):
            path.write_text(damaged)
            with pytest.raises(InputError, match="bench-baseline"):
                hold_against(path, {"row/1/tick": tick}, never, 1)

    @pytest.mark.parametrize(("later", "lost"), [([1.5, 1.1], False), ([1.5, 1.4], True)])
    def test_what_seems_lost_is_measured_again_before_it_is_believed(
        self, tmp_path: Path, later: list[float], lost: bool
    ) -> None:
        path, asked = tmp_path / "bench.json", []
        keep(path, [{"row/1/tick": sized(600, 1.0, 250.0)}], {})
        seconds = iter(later)

        def measure(parts: Sequence[str]) -> dict[str, Any]:
            asked.append(parts)
            return {"row/1/tick": sized(600, next(seconds), 250.0)}

        found = hold_against(path, {"row/1/tick": sized(600, 2.0, 250.0)}, measure, 3)
        assert found == ([self.NAME] if lost else [])
        assert asked == [["row/1/tick"]] * 2


class TestAverages:
    def test_of_the_last_points_of_each_key(self) -> None:
        key = {"panda_queue": "Q", "prod_source": "managed", "resource": "SCORE", "job_status": "running"}
        other = {**key, "panda_queue": "R"}
        ticks = [{**key, "jobs": float(i)} for i in range(200)] + [{**other, "jobs": 7.0}]
        found = qmonit_averages(ticks, [{**key, "jobs": 3.0}, {**key, "jobs": 4.0}])
        assert found[tuple(key.values())] == {
            "avg1h": 196.5, "avg6h": 181.5, "avg12h": 163.5, "avg24h": 127.5, "avg7d": 3.5, "avg30d": 3.5,
        }  # fmt: skip
        assert found[tuple(other.values())] == dict.fromkeys(("avg1h", "avg6h", "avg12h", "avg24h"), 7.0)

    def test_ours_are_the_same_numbers(self, tmp_path: Path) -> None:
        store = Store.create(tmp_path / "store")
        store.put(made_history(9))
        store.add_metadata(METADATA.dumps[0], START)
        at = str(START + np.timedelta64(8 * 24 + 5, "h"))
        (size,) = compare_averages({"store": str(store.path), "at": at, "keys": [6]})["sizes"]
        assert size["averages"] == 6 * 3
        assert size["times"] > 1
