"""What the door of the job history accepts and refuses (interfaces, section 1), and the tables behind it."""

from __future__ import annotations

import datetime as dt
import gzip
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qad_dl.errors import InputError
from qad_dl.history import load_jobs, normalise_jobs, read_jobs
from qad_dl.rows import empty_rows, series_of
from qad_dl.schema import Tick
from tests.light.jobs_made import rows

if TYPE_CHECKING:
    from pathlib import Path

TICK = Tick()
HEAD = "time,panda_queue,job_status,jobs\n"
FULL = "time,panda_queue,prod_source,resource,job_status,jobs,site_state\n"


def at(*parts: int) -> dt.datetime:
    """A time without a zone, as users have them."""
    # Without a zone on purpose: such a time is UTC to the history; *parts are year, month, day, ... as they come.
    return dt.datetime(*parts)  # type: ignore[arg-type,misc]  # noqa: DTZ001


def csv(tmp_path: Path, text: str | bytes, name: str = "jobs.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def parquet(tmp_path: Path, name: str = "jobs.parquet", **columns: Any) -> Path:
    """A Parquet file of one good row twice, with the given columns in place of the good ones."""
    good: dict[str, Any] = {
        "time": pa.array([at(2020, 1, 1)] * 2),
        "panda_queue": ["Q", "R"],
        "job_status": ["running"] * 2,
        "jobs": [1, 2],
    }
    path = tmp_path / name
    pq.write_table(pa.table({k: v for k, v in (good | columns).items() if v is not None}), path)
    return path


def short(table: pa.Table) -> list[tuple[Any, ...]]:
    """Time, queue, state and count of each row."""
    return [(row[0], row[1], row[4], row[5]) for row in rows(table)]


REFUSED_CSV = {
    "negative count": (HEAD + "2020-01-01,Q,running,1\n2020-01-01,R,running,-3\n", "row 2: jobs is -3"),
    "NaN": (HEAD + "2020-01-01,Q,running,nan\n", "row 1: jobs is nan"),
    "infinite": (HEAD + "2020-01-01,Q,running,inf\n", "row 1: jobs is inf"),
    "too large": (HEAD + "2020-01-01,Q,running,1e999\n", "row 1: jobs is"),
    "no count": (HEAD + "2020-01-01,Q,running,\n", "row 1: jobs is missing"),
    "blank count": (HEAD + "2020-01-01,Q,running,  \n", "row 1: jobs is missing"),
    "text in jobs": (HEAD + "2020-01-01,Q,running,5\n2020-01-01,Q,failed,many\n", "row 2: jobs is 'many'"),
    "unparsable time": (HEAD + "2020-01-01,Q,running,5\nyesterday,Q,failed,1\n", "row 2: time 'yesterday'"),
    "a number as time": (HEAD + "1577836800,Q,running,5\n", "row 1: time '1577836800'"),
    "no time": (HEAD + ",Q,running,5\n", "row 1: time ''"),
    "an impossible day": (HEAD + "2020-02-30,Q,running,5\n", "row 1: time '2020-02-30'"),
    "before 1970": (HEAD + "1969-12-31T23:59,Q,running,5\n", "row 1: time .* outside"),
    "after 2199": (HEAD + "2200-01-01,Q,running,5\n", "row 1: time .* outside"),
    "far future": (HEAD + "9999-12-31 23:59:59,Q,running,5\n", "row 1: time .* outside"),
    "empty queue": (HEAD + "2020-01-01,,running,5\n", "row 1: panda_queue is empty"),
    "blank queue": (HEAD + "2020-01-01,  ,running,5\n", "row 1: panda_queue is empty"),
    "empty state": (HEAD + "2020-01-01,Q,,5\n", "row 1: job_status is empty"),
    "missing column": ("time,panda_queue,jobs\n2020-01-01,Q,5\n", "column job_status is missing"),
    "column twice": ("time,panda_queue,job_status,jobs,jobs\n2020-01-01,Q,running,5,6\n", "column jobs is there twice"),
    "empty file": ("", "is empty"),
    "header alone": (HEAD, "holds no rows"),
    "short row": (HEAD + "2020-01-01,Q,running,5\n2020-01-01,Q\n", "cannot be read .*Row #3"),
    "long row": (HEAD + "2020-01-01,Q,running,5,6\n", "cannot be read"),
    "no UTF-8": ((HEAD + "2020-01-01,Q\xff,running,5\n").encode("latin-1"), "cannot be read"),
    "open quote": (HEAD + '2020-01-01,"Q,running,5\n', "cannot be read"),
    "binary": (b"\x00\x01\x02\x03\nPAR1", "cannot be read|is missing"),
}


@pytest.mark.parametrize("case", REFUSED_CSV)
def test_what_a_csv_is_refused_for(tmp_path: Path, case: str) -> None:
    text, reason = REFUSED_CSV[case]
    path = csv(tmp_path, text)
    with pytest.raises(InputError, match=reason) as error:
        read_jobs(path, TICK)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def strings(*values: Any) -> Any:
    return pa.array(values, pa.string())


REFUSED_PARQUET: dict[str, tuple[dict[str, Any], str]] = {
    "negative count": ({"jobs": [1, -1]}, "row 2: jobs is -1"),
    "NaN": ({"jobs": [float("nan"), 1.0]}, "row 1: jobs is nan"),
    "infinite": ({"jobs": [1.0, float("inf")]}, "row 2: jobs is inf"),
    "null count": ({"jobs": pa.array([1, None])}, "row 2: jobs is missing"),
    "nulls alone": ({"jobs": pa.nulls(2)}, "row 1: jobs is missing"),
    "text": ({"jobs": ["1", "2"]}, "row 1: jobs is '1' of type string"),
    "categorical text": ({"jobs": strings("1", "x").dictionary_encode()}, "row 1: jobs is '1' of type string"),
    "truth values": ({"jobs": [True, False]}, "row 1: jobs is True of type bool"),
    "null time": ({"time": pa.array([at(2020, 1, 1), None])}, "row 2: time is missing"),
    "number as time": ({"time": [1577836800, 1577836800]}, "row 1: time is 1577836800 of type int64"),
    "text as time": ({"time": ["2020-01-01", "never"]}, "row 2: time 'never'"),
    "null text as time": ({"time": strings("2020-01-01", None)}, "row 2: time is missing"),
    "old time": ({"time": pa.array([0, -1], pa.timestamp("s"))}, "row 2: time 1969-12-31 23:59:59 lies outside"),
    "null queue": ({"panda_queue": strings("Q", None)}, "row 2: panda_queue is empty"),
    "null categorical queue": ({"panda_queue": strings("Q", None).dictionary_encode()}, "row 2: panda_queue is empty"),
    "no queue at all": ({"panda_queue": pa.nulls(2)}, "row 1: panda_queue is empty"),
    "number as queue": ({"panda_queue": [7, 8]}, "row 1: panda_queue is 7 of type int64"),
    "empty state": ({"job_status": ["running", ""]}, "row 2: job_status is empty"),
    "number as state of the site": ({"site_state": [1, 2]}, "site_state is 1 of type int64"),
    "missing column": ({"time": None}, "column time is missing"),
}


@pytest.mark.parametrize("case", REFUSED_PARQUET)
def test_what_a_parquet_file_is_refused_for(tmp_path: Path, case: str) -> None:
    columns, reason = REFUSED_PARQUET[case]
    path = parquet(tmp_path, **columns)
    with pytest.raises(InputError, match=reason) as error:
        read_jobs(path, TICK)
    assert str(error.value).startswith(str(path))


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    whole = parquet(tmp_path).read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"PAR1", whole[:-4] + b"XXXX", HEAD.encode()):
        path = csv(tmp_path, content, "damaged.parquet")
        with pytest.raises(InputError, match=r"damaged\.parquet: cannot be read"):
            read_jobs(path, TICK)
    packed = gzip.compress((HEAD + "2020-01-01,Q,running,5\n" * 1000).encode())
    with pytest.raises(InputError, match="cannot be read"):
        read_jobs(csv(tmp_path, packed[:-20], "cut.csv.gz"), TICK)
    with pytest.raises(InputError, match="cannot be read"):
        read_jobs(csv(tmp_path, HEAD.encode(), "plain.csv.gz"), TICK)
    empty = tmp_path / "none.parquet"
    pq.write_table(pq.read_table(parquet(tmp_path)).slice(0, 0), empty)
    with pytest.raises(InputError, match="holds no rows"):
        read_jobs(empty, TICK)


def test_names_that_are_no_history_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no file"):
        read_jobs(tmp_path / "absent.csv", TICK)
    with pytest.raises(InputError, match="is no file"):
        read_jobs(tmp_path, TICK)
    with pytest.raises(InputError, match=r"neither \.parquet nor"):
        read_jobs(csv(tmp_path, HEAD, "jobs.xlsx"), TICK)


def test_the_row_is_counted_through_all_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qad_dl.history._BATCH_ROWS", 7)
    monkeypatch.setattr("qad_dl.history._BLOCK_BYTES", 300)
    good = [f"2020-01-01T00:{i % 60:02d},Q{i},running,{i}" for i in range(200)]
    assert read_jobs(csv(tmp_path, HEAD + "\n".join(good)), TICK).num_rows == 200
    bad = [*good[:150], "2020-01-01,Q,running,-1", *good[150:]]
    with pytest.raises(InputError, match="row 151: jobs is -1"):
        read_jobs(csv(tmp_path, HEAD + "\n".join(bad)), TICK)
    counts = list(range(100))
    counts[53] = -1
    path = tmp_path / "many.parquet"
    frame = {"time": [at(2020, 1, 1)] * 100, "panda_queue": ["Q"] * 100, "job_status": ["x"] * 100}
    pq.write_table(pa.table(frame | {"jobs": counts}), path)
    with pytest.raises(InputError, match="row 54: jobs is -1"):
        read_jobs(path, TICK)


def test_mixed_zones_in_one_column(tmp_path: Path) -> None:
    forms = {
        "2020-01-01T02:00:00+02:00": "2020-01-01T00:00:00",
        "2020-01-01 00:00:00": "2020-01-01T00:00:00",
        "2020-01-01": "2020-01-01T00:00:00",
        "2020-01-01T00:10Z": "2020-01-01T00:10:00",
        "2019-12-31T19:30:00-0500": "2020-01-01T00:30:00",
        "2020-01-01 05:40:00.999999+05": "2020-01-01T00:40:00",
        "2020-01-01T00:50:00.123456789": "2020-01-01T00:50:00",
        " 2020-01-01T01:00 ": "2020-01-01T01:00:00",
        "20200101T011000Z": "2020-01-01T01:10:00",
        "2020-01-01T01:29:59.999": "2020-01-01T01:20:00",
    }
    text = HEAD + "".join(f"{form},Q{i},running,1\n" for i, form in enumerate(forms))
    table = read_jobs(csv(tmp_path, text), TICK)
    assert [row[0] for row in rows(table)] == list(forms.values())


def test_times_of_every_type(tmp_path: Path) -> None:
    when = [at(2020, 1, 1, 0, 13, 59), at(2020, 6, 1, 12)]
    for kind in (
        pa.timestamp("s"),
        pa.timestamp("ms"),
        pa.timestamp("us"),
        pa.timestamp("ns"),
        pa.timestamp("us", "UTC"),
    ):
        table = read_jobs(parquet(tmp_path, time=pa.array(when, kind)), TICK)
        assert [row[0] for row in rows(table)] == ["2020-01-01T00:10:00", "2020-06-01T12:00:00"]
    days = [when[0].date(), when[1].date()]
    for kind in (pa.date32(), pa.date64()):
        table = read_jobs(parquet(tmp_path, time=pa.array(days, kind)), TICK)
        assert [row[0] for row in rows(table)] == ["2020-01-01T00:00:00", "2020-06-01T00:00:00"]
    local = pa.array(pd.to_datetime(when).tz_localize("Europe/Paris"))
    table = read_jobs(parquet(tmp_path, time=local), TICK)
    assert [row[0] for row in rows(table)] == ["2019-12-31T23:10:00", "2020-06-01T10:00:00"]


@pytest.mark.parametrize(
    "jobs",
    [
        pa.array([3, 4], pa.int8()),
        pa.array([3, 4], pa.uint64()),
        pa.array([3.0, 4.0], pa.float16()),
        pa.array([3.0, 4.0], pa.float32()),
        pa.array([3, 4], pa.int32()).dictionary_encode(),
        pa.array([3, 4], pa.decimal128(10, 2)),
    ],
    ids=lambda array: str(array.type),
)
def test_counts_of_every_type(tmp_path: Path, jobs: Any) -> None:
    assert [row[5] for row in rows(read_jobs(parquet(tmp_path, jobs=jobs), TICK))] == [3.0, 4.0]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.large_string())], ids=str)
def test_names_of_every_type(tmp_path: Path, kind: Any) -> None:
    table = read_jobs(parquet(tmp_path, panda_queue=pa.array(["B", "A"]).cast(kind)), TICK)
    assert short(table) == [("2020-01-01T00:00:00", "A", "running", 2.0), ("2020-01-01T00:00:00", "B", "running", 1.0)]


def test_optional_columns_and_unknown_names(tmp_path: Path) -> None:
    text = (
        "note,time,panda_queue,prod_source,resource,job_status,jobs,site_state\n"
        '"a\nb",2020-01-01,Q,managed,SCORE,running,1.5,online\n'
        ",2020-01-01,Q,,,brandnew,2, None \n"
        ",2020-01-01,null,NA,nan,running,1e2,No value\n"
        ",2020-01-01,é 日本,None,,running,0,\n"
    )
    assert rows(read_jobs(csv(tmp_path, b"\xef\xbb\xbf" + text.encode()), TICK)) == [
        ("2020-01-01T00:00:00", "Q", "", "", "brandnew", 2.0, None),
        ("2020-01-01T00:00:00", "Q", "managed", "SCORE", "running", 1.5, "online"),
        ("2020-01-01T00:00:00", "null", "NA", "nan", "running", 100.0, None),
        ("2020-01-01T00:00:00", "é 日本", "None", "", "running", 0.0, None),
    ]
    assert rows(read_jobs(csv(tmp_path, HEAD + "2020-01-01,Q,running,1\n"), TICK)) == [
        ("2020-01-01T00:00:00", "Q", "", "", "running", 1.0, None)
    ]


def test_duplicates_and_late_rows(tmp_path: Path) -> None:
    text = FULL + (
        "2020-01-01T00:29,Q,,,running,7,offline\n"
        "2020-01-01T00:10,Q,,,running,1,\n"
        "2020-01-01T00:21,Q,,,running,8,\n"
        "2020-01-01T00:10,Q,,,running,2,online\n"
        "2020-01-01T00:10,Q,,,running,1,test\n"
    )
    path = csv(tmp_path, text)
    assert rows(read_jobs(path, TICK)) == [
        ("2020-01-01T00:10:00", "Q", "", "", "running", 1.0, "test"),
        ("2020-01-01T00:20:00", "Q", "", "", "running", 8.0, None),
    ]
    assert load_jobs(path, TICK).num_rows == 5
    assert [row[0] for row in rows(read_jobs(path, Tick(30)))] == ["2020-01-01T00:00:00"]


def test_a_gzipped_csv_reads_like_a_plain_one(tmp_path: Path) -> None:
    text = (HEAD + "2020-01-01,Q,running,1\n2020-01-01,Q,failed,2\n").encode()
    plain = read_jobs(csv(tmp_path, text), TICK)
    assert read_jobs(csv(tmp_path, gzip.compress(text), "jobs.csv.gz"), TICK).equals(plain)


def test_frames_in_memory() -> None:
    zone = dt.timezone(dt.timedelta(hours=2))
    frame = pd.DataFrame(
        {
            "time": pd.Series([dt.datetime(2020, 1, 1, 2, tzinfo=zone), at(2020, 1, 1)], dtype=object),
            "panda_queue": pd.Categorical(["Q", "R"], categories=["unused", "R", "Q"]),
            "job_status": ["running", "running"],
            "jobs": [1, 2.5],
            "site_state": ["online", None],
        }
    ).set_axis([7, 7])
    wanted = [
        ("2020-01-01T00:00:00", "Q", "", "", "running", 1.0, "online"),
        ("2020-01-01T00:00:00", "R", "", "", "running", 2.5, None),
    ]
    assert rows(normalise_jobs(frame, TICK, "history")) == wanted
    table = normalise_jobs(pa.Table.from_pandas(frame, preserve_index=True), TICK, "history")
    assert rows(table) == wanted
    assert normalise_jobs(table, TICK, "again").equals(table)
    assert normalise_jobs(frame.iloc[:0], TICK, "history").equals(empty_rows())
    assert normalise_jobs(table.slice(0, 0), TICK, "history").equals(empty_rows())


@pytest.mark.parametrize(
    ("column", "values", "reason"),
    [
        ("jobs", pd.Series([1, "x"], dtype=object), "history: row 2: jobs is 'x'"),
        ("jobs", ["1", "2"], "history: row 1: jobs is '1'"),
        ("jobs", [1, -2], "history: row 2: jobs is -2"),
        ("jobs", [1, np.nan], "history: row 2: jobs is"),
        ("time", [pd.NaT, pd.Timestamp("2020-01-01")], "history: row 1: time is missing"),
        ("panda_queue", ["Q", None], "history: row 2: panda_queue is empty"),
    ],
)
def test_what_a_frame_is_refused_for(column: str, values: Any, reason: str) -> None:
    frame = pd.DataFrame({"time": [pd.Timestamp("2020-01-01")] * 2, "panda_queue": "Q", "job_status": "x", "jobs": 1})
    frame[column] = values
    with pytest.raises(InputError, match=reason):
        normalise_jobs(frame, TICK, "history")
    with pytest.raises(InputError, match="history: column jobs is missing"):
        normalise_jobs(frame.drop(columns="jobs"), TICK, "history")


def test_the_real_cluster(shared_data: Path) -> None:
    path = shared_data / "ricc" / "jobs.parquet"
    table = read_jobs(path, TICK)
    raw = pq.read_table(path)
    assert table.num_rows == raw.num_rows == 647_763
    assert table.column("jobs").combine_chunks().to_numpy().sum() == raw.column("jobs").to_numpy().sum()
    assert len(series_of(table)) == 121
