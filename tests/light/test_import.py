"""`qad import`: everything is checked before anything is stored."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qad_dl.cli import main
from qad_dl.history import read_jobs
from qad_dl.rows import merge_rows
from qad_dl.schema import Tick
from qad_dl.store import Store

if TYPE_CHECKING:
    from pathlib import Path

EVER = np.datetime64("1970-01-01", "s"), np.datetime64("2200-01-01", "s")
HEAD = "time,panda_queue,job_status,jobs\n"
GOOD = HEAD + "2020-01-02T00:13,Q,running,5\n2020-01-01T00:00,R,failed,1\n"
CRIC = '{"Q": {"cloud": "DE", "status": "online"}}'
DOWN = "panda_queue,start,end,status\nQ,2020-01-01,2020-01-02,OUTAGE\n"


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """A folder with a good and a bad file of each kind."""
    texts = {
        "good.csv": GOOD,
        "late.csv": HEAD + "2020-01-01T00:00,R,failed,2\n2019-12-31,S,new,3\n",
        "negative.csv": HEAD + "2020-01-03,Q,running,5\n2020-01-03,Q,failed,-1\n",
        "empty.csv": "",
        "truncated.parquet": "PAR1 and no more",
        "cric.json": CRIC,
        "list.json": "[]",
        "wrong.json": "{'Q': {}}",
        "down.csv": DOWN,
        "backwards.csv": "panda_queue,start,end,status\nQ,2020-01-02,2020-01-01,OUTAGE\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def qad(folder: Path, *arguments: str) -> int:
    """Run `qad import` on a store in `folder`; arguments that name a file there become its path."""
    return main(
        ["import", str(folder / "store"), *(str(folder / a) if (folder / a).is_file() else a for a in arguments)]
    )


def files(folder: Path) -> dict[str, bytes]:
    store = folder / "store"
    return {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if path.is_file()}


REFUSED = {
    "a negative count": (["--jobs", "negative.csv"], "negative.csv: row 2: jobs is -1"),
    "an empty file": (["--jobs", "empty.csv"], "empty.csv: is empty"),
    "a truncated file": (["--jobs", "truncated.parquet"], "truncated.parquet: cannot be read"),
    "an absent file": (["--jobs", "absent.csv"], "absent.csv: is no file"),
    "a bad file after a good one": (["--jobs", "good.csv", "negative.csv"], "negative.csv: row 2"),
    "a list as dump": (["--jobs", "good.csv", "--cric", "list.json"], "list.json: is a JSON list"),
    "a wrong dump": (["--jobs", "good.csv", "--cric", "wrong.json"], "wrong.json: cannot be read as JSON"),
    "bad downtimes": (["--jobs", "good.csv", "--downtimes", "backwards.csv"], "backwards.csv: row 1: end"),
    "a bad file before good others": (
        ["--jobs", "empty.csv", "--cric", "cric.json", "--downtimes", "down.csv"],
        "empty.csv: is empty",
    ),
    "nothing": ([], "nothing to import"),
    "a time without a dump": (["--jobs", "good.csv", "--cric-time", "2020-01-01"], "--cric-time says from when"),
    "a bad time": (["--cric", "cric.json", "--cric-time", "noon"], "--cric-time: 'noon' is not an ISO 8601 time"),
    "a bad tick": (["--jobs", "good.csv", "--tick", "7"], "--tick: a tick of 7 minutes does not divide a day"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("existing", [False, True], ids=["new", "existing"])
def test_what_is_refused_leaves_the_store_as_it_was(
    given: Path, capsys: pytest.CaptureFixture[str], case: str, existing: bool
) -> None:
    arguments, reason = REFUSED[case]
    if existing:
        assert qad(given, "--jobs", "late.csv", "--cric", "cric.json", "--downtimes", "down.csv") == 0
    before = files(given)
    capsys.readouterr()
    assert qad(given, *arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("qad import: ")
    assert reason in err
    assert err.count("\n") == 1
    assert files(given) == before
    assert existing or not (given / "store").exists()


def test_a_store_of_another_tick_is_refused(given: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert qad(given, "--jobs", "good.csv", "--tick", "30") == 0
    assert qad(given, "--jobs", "good.csv") == 0
    before = files(given)
    capsys.readouterr()
    assert qad(given, "--jobs", "good.csv", "--tick", "10") == 2
    assert "has ticks of 30 minutes, not 10" in capsys.readouterr().err
    assert files(given) == before
    assert Store.open(given / "store").span() == (np.datetime64("2020-01-01", "s"), np.datetime64("2020-01-02", "s"))


def test_a_folder_that_is_no_store_is_refused(given: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (given / "store").mkdir()
    (given / "store" / "thesis.tex").touch()
    assert qad(given, "--jobs", "good.csv") == 2
    assert "is no store" in capsys.readouterr().err
    assert list((given / "store").iterdir()) == [given / "store" / "thesis.tex"]


def test_rows_metadata_and_downtimes_arrive(given: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert qad(given, "--jobs", "good.csv", "late.csv", "--cric", "cric.json", "--downtimes", "down.csv") == 0
    out = capsys.readouterr().out
    assert "metadata: 1 queues from 2019-12-31T00:00:00Z on; stored" in out
    assert "downtimes: 1 read; stored" in out
    assert "jobs: 4 rows, 3 ticks, 3 queues, 3 states, 2019-12-31T00:00:00Z to 2020-01-02T00:10:00Z; 3 days" in out
    store = Store.open(given / "store")
    rows = store.read(*EVER)
    assert rows.column("panda_queue").to_pylist() == ["S", "R", "Q"]
    assert rows.column("jobs").to_pylist() == [3, 2, 5]
    assert store.metadata().at(EVER[0])["Q"] == {"cloud": "DE", "status": "online"}
    assert [down.panda_queue for down in store.downtimes()] == ["Q"]


def test_the_same_import_again_changes_nothing(given: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--jobs", "good.csv", "--cric", "cric.json", "--downtimes", "down.csv")
    assert qad(given, *arguments) == 0
    before = files(given)
    capsys.readouterr()
    assert qad(given, *arguments) == 0
    assert files(given) == before
    out = capsys.readouterr().out
    assert "0 days changed" in out
    assert out.count("nothing new") == 2


def test_from_when_a_dump_holds(given: Path) -> None:
    now = np.datetime64(int(time.time()), "s")
    assert qad(given, "--cric", "cric.json", "--cric-time", "2020-01-01T02:00+02:00") == 0
    assert qad(given, "--cric", "cric.json") == 0
    assert qad(given, "--jobs", "late.csv", "--cric", "cric.json") == 0
    times = Store.open(given / "store").metadata().times
    assert times[:2].tolist() == np.array(["2019-12-31", "2020-01-01"], "datetime64[s]").tolist()
    assert now <= times[2] <= now + np.timedelta64(60, "s")


def test_the_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main(["import", "--help"])
    assert done.value.code == 0
    out = capsys.readouterr().out
    for word in ("STORE", "--jobs", "--cric", "--cric-time", "--downtimes", "--tick"):
        assert word in out


def test_the_real_cluster(shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = shared_data / "ricc" / "jobs.parquet"
    began = time.monotonic()
    assert qad(tmp_path, "--jobs", str(path)) == 0
    assert time.monotonic() - began < 15
    assert "647,763 rows" in capsys.readouterr().out
    store = Store.open(tmp_path / "store")
    assert merge_rows([store.read(*EVER)]).equals(read_jobs(path, Tick()))
    missing = store.read(np.datetime64("2010-05-17T21:20", "s"), np.datetime64("2010-05-18T08:50", "s"))
    assert missing.num_rows < store.read(np.datetime64("2010-05-16", "s"), np.datetime64("2010-05-17", "s")).num_rows
