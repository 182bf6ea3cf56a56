"""Parts: made once, made again when what they are made from changes, and whole or not at all."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from qad_dl.errors import ConfigError, InputError
from training.quality.crew import Queue
from training.quality.parts import Part, Workshop, spoken, table_of

if TYPE_CHECKING:
    from pathlib import Path


class Bench:
    """Counts what is made."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.made: list[str] = []

    def shop(self, number: int = 1, code: str = "c", broken: str = "", error: BaseException | None = None) -> Workshop:
        def make(name: str) -> Any:
            def run(place: Path, inputs: Any, needed: Any) -> dict[str, Any]:
                (place / "file").write_text("half", encoding="utf-8")
                if name == broken and error is not None:
                    raise error
                self.made.append(name)
                return {"sum": inputs.get("n", 0) + sum(m.result["sum"] for m in needed.values())}

            return run

        parts = [
            Part("world/a", make("world/a"), {"n": number}, "w"),
            Part("world/b", make("world/b"), {"n": 10}, "w"),
            Part("sum/a", make("sum/a"), {}, code, ("world/a",)),
            Part("sum/both", make("sum/both"), {}, code, ("world/a", "world/b")),
        ]
        return Workshop(table_of(parts), self.work)

    def run(self, shop: Workshop, pattern: str | None = None) -> list[str]:
        self.made.clear()
        shop.run(shop.chosen([pattern]))
        return list(self.made)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def result(shop: Workshop, name: str) -> Any:
    made = shop.find(name)
    assert made is not None
    return made.result


def test_each_is_made_once_after_what_it_needs(bench: Bench) -> None:
    assert bench.run(bench.shop()) == ["world/a", "world/b", "sum/a", "sum/both"]
    assert bench.run(bench.shop()) == []
    assert result(bench.shop(), "sum/both") == {"sum": 11}


def test_one_can_be_made_alone_with_what_it_needs(bench: Bench) -> None:
    assert bench.run(bench.shop(), "sum/a") == ["world/a", "sum/a"]
    assert bench.shop().find("sum/both") is None
    assert bench.run(bench.shop(), "sum/*") == ["world/b", "sum/both"]


def test_several_can_be_asked_for(bench: Bench) -> None:
    assert bench.shop().chosen(["world/b", "sum/a", "world/*"]) == ["world/b", "world/a", "sum/a"]


def test_other_inputs_make_it_and_what_is_made_from_it_again(bench: Bench) -> None:
    bench.run(bench.shop())
    assert bench.run(bench.shop(number=2)) == ["world/a", "sum/a", "sum/both"]
    assert result(bench.shop(number=2), "sum/a") == {"sum": 2}
    assert result(bench.shop(number=1), "sum/a") == {"sum": 1}, "what was made before is still there"


def test_other_code_makes_it_again(bench: Bench) -> None:
    bench.run(bench.shop())
    assert bench.run(bench.shop(code="d")) == ["sum/a", "sum/both"]


def test_a_run_that_was_cut_off_goes_on(bench: Bench) -> None:
    with pytest.raises(KeyboardInterrupt):
        bench.run(bench.shop(broken="sum/a", error=KeyboardInterrupt()))
    assert bench.shop().find("sum/a") is None
    assert not list((bench.work / "sum").rglob("file"))
    assert bench.run(bench.shop()) == ["sum/a", "sum/both"]


def test_what_cannot_be_made_keeps_nothing_else_from_being_made(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = bench.shop(broken="world/b", error=InputError("no such history"))
    assert shop.run(shop.chosen([None])) == ["world/b", "sum/both"]
    assert bench.made == ["world/a", "sum/a"]
    assert "world/b: no such history" in capsys.readouterr().err
    assert bench.run(bench.shop()) == ["world/b", "sum/both"]


def test_it_says_what_is_left(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.run(bench.shop(), "sum/a")
    bench.run(bench.shop())
    said = capsys.readouterr().err
    assert "4 parts, 2 are there" in said
    assert "[1/2] world/b; left: 0 s" in said, "as long as parts of the kind took"


def test_what_no_part_is_called_is_refused(bench: Bench) -> None:
    with pytest.raises(ConfigError, match="begin with sum, world"):
        bench.shop().chosen(["bundle/*"])


def test_a_part_that_needs_what_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="before what it needs"):
        table_of([Part("a", lambda *_: {}, {}, "", ("b",))])


@pytest.mark.parametrize(("seconds", "said"), [(4, "4 s"), (300, "5 min"), (3 * 3600 + 240, "3 h 4 min")])
def test_times_for_people(seconds: float, said: str) -> None:
    assert spoken(seconds) == said


def add(_place: Path, inputs: Any, needed: Any) -> dict[str, Any]:
    """A maker that other processes can find."""
    if inputs.get("broken"):
        msg = "no such file"
        raise InputError(msg)
    return {"sum": inputs["n"] + sum(made.result["sum"] for made in needed.values()), "process": os.getpid()}


def tree(work: Path, broken: str = "") -> Workshop:
    names = {"a": (), "b": (), "c": ("a",), "d": ("b", "c"), "e": ("d",)}
    return Workshop(
        table_of(Part(n, add, {"n": 1, "broken": n == broken}, "code", needs) for n, needs in names.items()), work
    )


def test_several_at_a_time_make_the_same(tmp_path: Path) -> None:
    shops = {jobs: tree(tmp_path / str(jobs)) for jobs in (1, 2)}
    assert [shop.run(shop.chosen([None]), jobs) for jobs, shop in shops.items()] == [[], []]
    assert [result(shop, "e")["sum"] for shop in shops.values()] == [5, 5]
    assert result(shops[1], "e")["process"] == os.getpid() != result(shops[2], "e")["process"]


def test_what_fails_beside_others_takes_only_what_needs_it_along(tmp_path: Path) -> None:
    shop = tree(tmp_path, broken="c")
    assert shop.run(shop.chosen([None]), jobs=2) == ["c", "d", "e"]
    assert [name for name in shop.parts if shop.find(name)] == ["a", "b"]


def test_what_most_of_the_time_waits_for_comes_first() -> None:
    needs: dict[str, set[str]] = {"short": set(), "first": set(), "then": {"first"}, "last": {"then"}}
    seconds = {"short": 50.0, "first": 10.0, "then": 100.0, "last": 1.0}
    queue = Queue(needs, seconds, in_order=False)
    assert queue.take(1) == ["first"]
    assert queue.take(5) == ["short"], "what waits for a part that is being made is not ready"
    queue.done("first")
    assert queue.take(5) == ["then"]
    assert queue.left_s() == 151
