"""The data of the live page: made when there is a cause, kept for pages that are open, old ones served in trouble."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qad_dl.errors import BundleError
from qad_dl.incidents_file import Incident
from serving.review.data import KEPT, PATIENCE_S, Cause, Keeper, Shown, merged

if TYPE_CHECKING:
    from collections.abc import Callable

T0 = np.datetime64("2026-01-05T00:00:00", "s")
TEN = np.timedelta64(10, "m")


def shown(number: int) -> Shown:
    return Shown(f"v{number}", T0 + number * TEN, b"{}", b"", ())


class World:
    """What a keeper looks at, set by hand."""

    def __init__(self) -> None:
        self.cause = Cause(T0, b"seal", T0)
        self.made: list[Cause] = []
        self.fails: Callable[[], Exception] | None = None
        self.keeper = Keeper(lambda: self.cause, self.make)

    def make(self, cause: Cause) -> Shown:
        if self.fails is not None:
            raise self.fails()
        self.made.append(cause)
        return shown(len(self.made))

    def tick(self, number: int, told: int | None = None) -> None:
        self.cause = Cause(T0 + number * TEN, b"seal", T0 + (number if told is None else told) * TEN)


@pytest.fixture
def world() -> World:
    return World()


def test_data_are_made_when_there_is_a_cause_and_only_then(world: World) -> None:
    assert world.keeper.newest() is None
    assert world.keeper.refresh(0)
    assert not world.keeper.refresh(10)
    world.tick(1)
    assert world.keeper.refresh(20)
    world.cause = Cause(world.cause.tick, b"another", world.cause.told)
    assert world.keeper.refresh(30)
    assert len(world.made) == 3
    newest = world.keeper.newest()
    assert newest is not None
    assert newest.version == "v3"


def test_a_page_that_is_open_goes_on_for_some_ticks(world: World) -> None:
    for number in range(KEPT + 2):
        world.tick(number)
        assert world.keeper.refresh(number * 600)
    found = [world.keeper.of_version(f"v{n + 1}") is not None for n in range(KEPT + 2)]
    assert found == [False] * 2 + [True] * KEPT


def test_it_waits_for_the_incidents_of_a_tick_but_not_for_ever(world: World) -> None:
    assert world.keeper.refresh(0)
    world.tick(1, told=0)
    assert not world.keeper.refresh(1)
    assert not world.keeper.refresh(1 + PATIENCE_S / 2)
    world.tick(1, told=1)
    assert world.keeper.refresh(2 + PATIENCE_S / 2)
    world.tick(2, told=1)
    assert not world.keeper.refresh(600)
    assert world.keeper.refresh(600 + PATIENCE_S)
    world.tick(2, told=2)
    assert world.keeper.refresh(610 + PATIENCE_S)  # they came late


def test_in_trouble_the_old_data_are_served_and_it_is_told(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.keeper.refresh(0)
    world.tick(1)
    for fails, said in ((lambda: BundleError("bundle:\nbroken"), "bundle: broken"), (lambda: KeyError(1), "KeyError")):
        world.fails = fails
        assert not world.keeper.refresh(1)
        assert said in world.keeper.trouble
        newest = world.keeper.newest()
        assert newest is not None
        assert newest.version == "v1"
    assert "Traceback" in capsys.readouterr().err
    world.fails = None
    assert world.keeper.refresh(2)
    assert world.keeper.trouble == ""


def test_the_thread_says_what_it_does_and_ends(world: World) -> None:
    said: list[str] = []
    made = threading.Event()
    thread = world.keeper.start(lambda line: (said.append(line), made.set())[0])
    assert made.wait(10)
    world.keeper.stop()
    thread.join(30)
    assert not thread.is_alive()
    assert said[0].startswith(f"data up to {T0 + TEN}Z, 0 queues")


def incident(name: str, start: int, *queues: str) -> Incident:
    return Incident(name, "other", "", "", T0 + start * TEN, T0 + (start + 6) * TEN, queues=queues)


def test_what_was_told_goes_by_the_name_that_it_was_told_by() -> None:
    told = [incident("told", 0, "Q1", "Q2")]
    found = [incident("same", 3, "Q2", "Q3"), incident("later", 6, "Q1"), incident("other", 0, "Q4")]
    assert [item.incident for item in merged(told, found)] == ["told", "later", "other"]
    assert merged([], found) == found
