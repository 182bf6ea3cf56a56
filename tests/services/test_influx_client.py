"""The client against a real InfluxDB: names that try to break out, errors wherever they hide, batches, types."""

from __future__ import annotations

import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qad_dl.errors import InfluxDownError, InfluxError
from qad_dl.influx import client as client_module
from qad_dl.influx.client import Influx, identifier, literal
from qad_dl.influx.line import cut_tags, read_name, stored_name, write_number, write_tags, write_text
from tests.services.influxd import Influxd
from tests.services.programs import free_port

pytestmark = pytest.mark.program("influxd")

HOSTILE = [
    'q"; DROP DATABASE x --',
    "back\\slash",
    "ends\\",
    "ends\\\\",
    "ends\\  ",
    "new\nline",
    "back\\\nline",
    "\n",
    "\\\\\n\\",
    ";DROP MEASUREMENT jobs",
    "<script>alert(1)</script>",
    "' OR 1=1 --",
    "a,b=c d",
    "a\\,b\\=c\\ d",
    " leading",
    "tab\there\rand return",
    "Universität ☂",
    "x" * 10_000,
    "#not a comment",
    "$1 ${a} %s {b}",
]


@pytest.fixture
def influx(influxd: Influxd) -> Influx:
    return influxd.created()


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_name_comes_back_as_it_was(influx: Influx, name: str):
    influx.write([f"m{write_tags({'a': name, 'b': 'plain'})} text={write_text(name)},n={write_number(3)} 7"], "autogen")
    (series,) = influx.query('SELECT text, n FROM "m" GROUP BY *')
    assert dict(series.tags) == {"a": name, "b": "plain"}
    assert series.values == ((7, name, 3.0),)
    if "\r" in name:
        return  # InfluxQL has no way to write a carriage return
    (asked,) = influx.query(f"SELECT n FROM m WHERE a = {literal(stored_name(name))}")
    assert asked.values == ((7, 3.0),)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(st.text(alphabet="\\\n ,=\"'ax☂", min_size=1, max_size=8), min_size=1, max_size=20, unique=True))
def test_different_names_stay_different(influx: Influx, names: list[str]):
    influx.query('DROP MEASUREMENT "m"')
    influx.write([f"m{write_tags({'a': name})} n={write_number(i)} 7" for i, name in enumerate(names)], "autogen")
    found = {series.tags["a"]: series.values[0][1] for series in influx.query("SELECT n FROM m GROUP BY *")}
    assert found == {name: float(i) for i, name in enumerate(names)}
    assert [read_name(stored_name(name)) for name in names] == names


def test_a_name_that_seems_to_open_a_text_does_not_swallow_the_next_point(influx: Influx):
    names = ['\\ \\="', "=", 'a\\ x="y', "b"]
    influx.write([f"m{write_tags({'a': name})} n={write_number(i)} 7" for i, name in enumerate(names)], "autogen")
    found = {series.tags["a"]: series.values[0][1] for series in influx.query("SELECT n FROM m GROUP BY *")}
    assert found == {name: float(i) for i, name in enumerate(names)}


def test_a_database_with_a_hostile_name(influxd: Influxd):
    influx = Influx(influxd.url, "a\"b; DROP DATABASE c'd")
    influx.query(f"CREATE DATABASE {identifier(influx.database)}")
    influx.write(["m n=1.0 7"], "autogen")
    assert influx.query("SELECT n FROM m")[0].values == ((7, 1.0),)


def test_a_key_that_is_too_long_is_cut_and_stays_its_own(influx: Influx):
    tags = [cut_tags({"a": "q", "b": "x" * 80_000 + end, "c": "y" * 30_000}) for end in "12"]
    influx.write([f"m{write_tags(each)} n=1.0 7" for each in tags], "autogen")
    found = influx.query("SELECT n FROM m GROUP BY *")
    assert [dict(series.tags) for series in found] == sorted(tags, key=lambda each: each["b"])
    assert len(found) == 2
    assert all(series.tags["c"] == "y" * 30_000 for series in found)


def test_an_error_inside_status_200_is_an_error(influx: Influx):
    with pytest.raises(InfluxError, match=r"says .*retention policy not found.* to 'SELECT"):
        influx.query('SELECT * FROM "no such policy"."m"')
    with pytest.raises(InfluxError, match="error parsing query"):
        influx.query("SELECT FROM WHERE")


def test_what_the_server_refuses_is_one_line(influx: Influx, influxd: Influxd):
    with pytest.raises(InfluxError, match="knows no such database"):
        Influx(influxd.url, "absent").write(["m n=1.0 7"], "autogen")
    with pytest.raises(InfluxError, match=r"refuses points .*unable to parse"):
        influx.write(["m,a=b 7"], "autogen")
    influx.write(['m n="text" 7'], "autogen")
    with pytest.raises(InfluxError, match="already exists as type string") as caught:
        influx.write(["m n=1.0 7"], "autogen")
    assert "\n" not in str(caught.value)
    assert not isinstance(caught.value, InfluxDownError)


def test_counts_go_where_somebody_wrote_whole_numbers(influx: Influx):
    influx.write(["m,a=1 jobs=3i,x=1.5 7"], "autogen")
    influx.write(["m,a=1 jobs=4.0,x=2.5 7", "m,a=2 jobs=5.0,x=3.5 7"], "autogen")
    found = influx.query("SELECT jobs, x FROM m GROUP BY a")
    assert [series.values for series in found] == [((7, 4, 2.5),), ((7, 5, 3.5),)]
    with pytest.raises(InfluxError, match="already exists as type integer"):
        influx.write(["m,a=1 jobs=4.5 7"], "autogen")


def test_points_older_than_the_policy_are_no_error(influx: Influx):
    influx.query(f'CREATE RETENTION POLICY "short" ON {identifier(influx.database)} DURATION 1d REPLICATION 1')
    now = time.time_ns()
    written = influx.write(["m n=1.0 7", f"m n=2.0 {now}"], "short")
    assert (written.points, written.too_old) == (2, 1)
    assert influx.query('SELECT n FROM "short"."m"')[0].values == ((now, 2.0),)


def test_many_points_go_in_batches_and_come_in_pieces(influx: Influx, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(client_module, "BATCH_POINTS", 7000)
    n = 25_000
    assert influx.write((f"m n={float(i)} {i}" for i in range(n)), "autogen").points == n
    pieces = list(influx.stream("SELECT n FROM m"))
    assert len(pieces) > 1
    assert [row for piece in pieces for row in piece.values] == [(i, i) for i in range(n)]


def test_wrong_password_and_nobody_there(tmp_path):
    server = Influxd(tmp_path, free_port()).start(auth=True)
    try:
        admin = "CREATE USER admin WITH PASSWORD 'right' WITH ALL PRIVILEGES"
        Influx(server.url, "x").query(admin)
        right = Influx(server.url, "x", "admin", "right")
        right.query("CREATE DATABASE x")
        right.write(["m n=1.0 7"], "autogen")
        wrong = Influx(server.url, "x", "admin", "wr0ng")
        for ask in (lambda: wrong.query("SHOW DATABASES"), lambda: wrong.write(["m n=1.0 7"], "autogen")):
            with pytest.raises(InfluxError, match="refuses the user 'admin'") as caught:
                ask()
            assert "wr0ng" not in str(caught.value) + repr(wrong)
    finally:
        server.stop()
    pauses: list[float] = []
    gone = Influx(server.url, "x", pause=pauses.append)
    with pytest.raises(InfluxDownError, match=r"cannot be reached .*Connection refused.*see whether it runs"):
        gone.version()
    assert len(pauses) == 2
    assert 0.5 <= pauses[0] <= 1.5 <= pauses[1] <= 4.5


def test_nothing_is_tried_after_the_deadline(influx: Influx):
    late = influx.before(time.monotonic())
    with pytest.raises(InfluxDownError, match="the time for it is over"):
        late.query("SHOW DATABASES")
    with pytest.raises(InfluxDownError, match="the time for it is over"):
        late.write(["m n=1.0 7"], "autogen")
