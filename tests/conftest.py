"""What all tests share: data and programs that may be absent, and what is said then; tests that need no second run."""

from __future__ import annotations

import json
import os
import shutil
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Playwright

    from tests.services.s3 import S3

ROOT = Path(__file__).resolve().parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Two options by which `make test` does not run the same test twice with the same packages."""
    group = parser.getgroup("qad-dl")
    group.addoption("--note-passed", metavar="FILE", help="write down which tests passed, and with which packages")
    group.addoption(
        "--leave-out-passed",
        metavar="FILE",
        help="leave out what FILE says passed, unless a package differs or the test is marked `everywhere`",
    )


def packages() -> dict[str, str]:
    """Names and releases of what is installed, but for what only installs."""
    found = {each.metadata["Name"]: each.version for each in distributions()}
    return {name: release for name, release in found.items() if name not in {"pip", "setuptools"}}


class Notes:
    """Writes down which tests passed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.passed: set[str] = set()
        path.unlink(missing_ok=True)  # what an earlier run found says nothing of this one

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.passed.discard(report.nodeid)
        elif report.when == "call" and report.passed:
            self.passed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        text = json.dumps({"packages": packages(), "passed": sorted(self.passed)}, indent=0)
        self.path.write_text(text, encoding="utf-8")


class LeaveOut:
    """Leaves out tests that passed elsewhere with the same packages, where others being there makes no difference."""

    def __init__(self, path: Path) -> None:
        notes = json.loads(path.read_text(encoding="utf-8"))
        here, there = packages(), notes["packages"]
        self.differ = [
            f"{name} {there[name]} (here {here.get(name)})" for name in there if here.get(name) != there[name]
        ]
        self.passed = set() if self.differ else set(notes["passed"])
        self.path = path

    def pytest_report_header(self) -> str:
        if self.differ:
            return f"{self.path} is of other packages, nothing is left out: {', '.join(self.differ)}"
        return (
            f"left out: {len(self.passed)} tests that passed with the same packages ({self.path}), but for `everywhere`"
        )

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        out = [i for i in items if i.nodeid in self.passed and i.get_closest_marker("everywhere") is None]
        config.hook.pytest_deselected(items=out)
        items[:] = [i for i in items if i not in set(out)]


def pytest_configure(config: pytest.Config) -> None:
    """Act on the two options; of pytest-xdist's processes only the one that hears of all results writes."""
    note, leave_out = config.getoption("note_passed"), config.getoption("leave_out_passed")
    if note and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Notes(Path(note)))
    if leave_out:
        config.pluginmanager.register(LeaveOut(Path(leave_out)))


def absent(what: str) -> None:
    """Skip the test for want of `what`; where CI=true promises that everything is there, fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what}; with CI=true this is a failure, not a skip", pytrace=False)
    pytest.skip(what)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Act on `@pytest.mark.program(name)`."""
    for marker in item.iter_markers("program"):
        (name,) = marker.args
        if shutil.which(name) is None:
            absent(f"no program {name!r} on the PATH: `make system` installs it where root and apt-get are at hand")


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    """There can be one in a process."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """A running S3 that tests share: each uses buckets of its own; the environment says where it is."""
    from tests.services.programs import free_port
    from tests.services.s3 import S3

    server = S3(tmp_path_factory.mktemp("s3"), free_port()).start()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server
    server.stop()


@pytest.fixture(scope="session")
def root() -> Path:
    """The top of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real data beside the checkout; the test skips where they are absent."""
    path = ROOT.parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip(f"no real data at {path}")
    return path
