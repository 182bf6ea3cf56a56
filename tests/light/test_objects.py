"""Paths on object storage, by a file system in a dictionary: what S3 says in odd moments, and what people are told."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qad_dl import objects
from qad_dl.cli import main as qad
from qad_dl.errors import ConfigError, StoreError
from qad_dl.histories import open_history
from qad_dl.objects import ObjectPath, absolute, is_address, place_of
from qad_dl.rows import merge_rows
from qad_dl.schema import Tick
from qad_dl.store import Store
from tests.light.made import START
from tests.light.made_bundle import METADATA, made_history

DAY = np.timedelta64(1, "D")
EVER = np.datetime64("1970-01-01", "s"), np.datetime64("2200-01-01", "s")


class Answer(Exception):  # noqa: N818  what botocore's exception looks like
    """An answer of S3's that says no."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.response = {"Error": {"Code": code}}


def refusal(code: str, kind: type[OSError] = OSError) -> OSError:
    """What s3fs raises for it."""
    error = kind(5, f"S3 says {code}")
    error.__cause__ = Answer(code)
    return error


PUTS = itertools.count()  # through all tests: what is remembered of one bucket is not taken for another's


class Bucket:
    """A file system in a dictionary.

    Attributes:
        held: name -> (content, number of its put).
        odd: what the next puts do instead of answering: an error, before or after the object is there.
    """

    protocol = ("made",)

    def __init__(self) -> None:
        self.held: dict[str, tuple[bytes, int]] = {}
        self.odd: list[tuple[OSError, bool]] = []

    def find(self, key: str, *, detail: bool) -> dict[str, Any]:
        assert detail
        return {name: {"put": put} for name, (_, put) in self.held.items() if name.startswith(f"{key}/")}

    def cat_file(self, key: str, start: int) -> bytes:
        if key not in self.held:
            raise refusal("NoSuchKey", FileNotFoundError)
        return self.held[key][0][start:]

    def pipe_file(self, key: str, content: bytes, mode: str = "overwrite") -> None:
        error, done = self.odd.pop(0) if self.odd else (None, True)
        if mode == "create" and key in self.held:
            raise refusal("PreconditionFailed")
        if done:
            self.held[key] = content, next(PUTS)
        if error:
            raise error

    def rm_file(self, key: str) -> None:
        del self.held[key]


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Bucket:
    made = Bucket()
    monkeypatch.setattr(objects, "_open", lambda url: (made, url.partition("://")[2]))
    return made


def test_a_place_by_its_address() -> None:
    assert place_of("a/folder") == Path("a/folder")
    assert place_of("file:///a/folder") == Path("/a/folder")
    assert place_of("s3://bucket/prefix/") == ObjectPath("s3://bucket/prefix")
    assert place_of(Path("s3:")) == Path("s3:")
    assert (is_address("s3://x"), is_address("x/y"), is_address("c:/x")) == (True, False, False)
    assert absolute("s3://x/y") == "s3://x/y"
    assert absolute("x") == str(Path("x").absolute())
    assert str(ObjectPath("ftp://me:secret@host/x")) == "ftp://host/x"
    for address in ("s3://", "memory:///"):
        with pytest.raises(ConfigError, match="names no place"):
            place_of(address)


def test_a_store_of_objects_holds_what_one_of_files_holds(bucket: Bucket, tmp_path: Path) -> None:
    rows = made_history(2)
    stores = [Store.create("made://bucket/store"), Store.create(tmp_path / "store")]
    for store in stores:
        store.put(rows)
        store.add_metadata(METADATA.dumps[0], START)
        assert not store.add_metadata(METADATA.dumps[0], START)
        store.append(rows.slice(0, 5))
        assert [len(store.scattered(START.astype("datetime64[D]") + n * DAY)) for n in (0, 1)] == [0, 1]
        store.compact(START.astype("datetime64[D]") + 2 * DAY)
    one, other = stores
    files = {str(p.relative_to(tmp_path)): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert {name.removeprefix("bucket/"): content for name, (content, _) in bucket.held.items()} == files
    for ask in ("span", "days", "downtimes"):
        assert getattr(one, ask)() == getattr(other, ask)()
    assert one.digests(*EVER) == other.digests(*EVER)
    assert one.versions(*EVER) == other.versions(*EVER)
    assert one.metadata_versions(*EVER) == other.metadata_versions(*EVER)
    assert one.known_series(EVER[1]) == other.known_series(EVER[1])
    bucket.held["bucket/store/jobs/.tmp-1-2/00000001.parquet"] = b"", 0  # of a folder that was copied
    assert one.days() == other.days()
    found = open_history("made://bucket/store/")
    assert (found.name, found.address) == ("made://bucket/store", "made://bucket/store")
    with pytest.raises(StoreError, match="has ticks of 10 minutes, not 30"):
        Store.create("made://bucket/store", Tick(30))
    with pytest.raises(StoreError, match="made://bucket/store/jobs: is no store"):
        Store.open("made://bucket/store/jobs")
    with pytest.raises(StoreError, match="made://bucket/nothing: does not exist; make one with `qad import made://"):
        Store.open("made://bucket/nothing")
    with pytest.raises(StoreError, match="is not on a disk"):
        _ = found.folder  # type: ignore[attr-defined]


def test_a_put_whose_answer_was_lost_is_done(bucket: Bucket) -> None:
    """Its repetition says that there is one already: ours."""
    path = ObjectPath("made://bucket/x")
    bucket.odd = [(refusal("PreconditionFailed"), True)]
    assert path.create(b"mine")
    assert not path.create(b"another's")
    assert path.read_bytes() == b"mine"


def test_two_puts_at_once_are_asked_again(bucket: Bucket) -> None:
    bucket.odd = [(refusal("ConditionalRequestConflict"), False)] * 3
    assert ObjectPath("made://bucket/x").create(b"mine")
    bucket.odd = [(refusal("ConditionalRequestConflict"), False)] * 100
    with pytest.raises(StoreError, match="made://bucket/y: cannot be written"):
        ObjectPath("made://bucket/y").create(b"mine")


def test_another_content_under_the_same_name_is_seen(bucket: Bucket) -> None:
    """A day that was removed and imported again begins at the same number."""
    store = Store.create("made://bucket/store")
    store.put(made_history(1))
    assert store.span() == (START, START + DAY - store.tick.delta)
    for name in [name for name in bucket.held if "/jobs/" in name]:
        del bucket.held[name]
    assert store.span() is None
    store.put(made_history(0.5))
    assert store.span() == (START, START + np.timedelta64(12, "h") - store.tick.delta)


def test_the_end_of_an_object_is_asked_for_twice_where_its_footer_is_long(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.create("made://bucket/store")
    store.put(made_history(1))
    monkeypatch.setattr("qad_dl.store.dayfile.TAIL_BYTES", 16)
    assert len(store.known_series(EVER[1])) == 6


def test_a_damaged_object_is_one_line(bucket: Bucket) -> None:
    store = Store.create("made://bucket/store")
    store.put(made_history(1))
    name = next(name for name in bucket.held if "/jobs/" in name)
    bucket.held[name] = bucket.held[name][0][:-20], 99
    with pytest.raises(StoreError, match=r"00000001\.parquet: is damaged"):
        store.read(*EVER)
    with pytest.raises(StoreError, match=r"00000001\.parquet: is damaged"):
        store.span()


def test_a_place_that_creates_twice_is_refused(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket, "pipe_file", lambda key, content, mode="": bucket.held.__setitem__(key, (content, 1)))
    with pytest.raises(StoreError, match="takes no conditional puts"):
        Store.create("made://bucket/store")


class NoCredentialsError(Exception):
    """Named as botocore's."""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (refusal("NoSuchBucket", FileNotFoundError), "there is no such bucket"),
        (refusal("AccessDenied", PermissionError), "is refused: see to the credentials"),
        (NoCredentialsError("none"), "has no credentials: set AWS_ACCESS_KEY_ID"),
        (refusal("InternalError"), "cannot be read: see to the address and the network"),
        (ValueError("anything at all"), "cannot be read: see to the address and the network"),
    ],
)
def test_what_a_server_says_is_one_line(bucket: Bucket, monkeypatch, error: Exception, said: str, capsys) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(bucket, "cat_file", refuse)
    assert qad(["import", "made://bucket/store", "--jobs", "nothing.parquet"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("qad import: made://bucket/store/store.json: ")
    assert said in line


@pytest.mark.parametrize(
    "words",
    [
        ["import", "s3://bucket/x", "--jobs", "x.parquet"],
        ["evaluate", "scores.parquet", "--store", "s3://bucket/x", "--incidents", "x.csv"],
    ],
)
def test_without_the_extra_it_says_what_to_install(words: list[str], monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    assert qad(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "s3://bucket/x/store.json: needs a package that is not installed" in line
    assert "pip install -c constraints.txt -e '.[remote]'" in line


def test_a_day_that_was_superseded_since_it_was_listed_is_looked_for_again(bucket: Bucket) -> None:
    rows, store = made_history(2), Store.create("made://bucket/store")
    store.put(rows)
    pieces = store.pieces(START, START + 2 * DAY)
    first = next(pieces)
    later = made_history(2, seed=2)
    Store.open("made://bucket/store").put(later)
    assert merge_rows([first, next(pieces)]).num_rows == rows.num_rows
    assert merge_rows([store.read(*EVER)]).equals(merge_rows([later]))
