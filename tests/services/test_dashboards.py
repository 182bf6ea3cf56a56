"""Every query of every dashboard, variables too, as Grafana would ask it, of a real InfluxDB that the sink filled."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml

from qad_dl.downsampling import LEVELS
from qad_dl.influx.condense import condense
from qad_dl.influx.line import stored_name
from qad_dl.influx.qmonit import KEYS, METADATA_TAGS, metadata_tags
from qad_dl.influx.sink import InfluxSink
from qad_dl.metadata import Metadata
from qad_dl.rows import seconds_of
from qad_dl.store import Store
from qad_dl.store.retention import Keep, keep_up
from tests.services.influx_made import METADATA, TICK, last_tick, made_rows
from tests.services.synthetic_results import STATES, make_results

if TYPE_CHECKING:
    from qad_dl.influx.client import Influx, Series
    from tests.services.influxd import Influxd

ROOT = Path(__file__).parents[2] / "serving" / "dashboards"
BOARDS = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(ROOT.glob("*.json"))}
HOSTILE = 'Q"; DROP MEASUREMENT "jobs"/*\\'
RECORDS = {**METADATA.dumps[0], HOSTILE: {"cloud": HOSTILE, "status": "online"}}
POLICIES = ("10m", "1h", "1d")
BUILT_IN = {"timeFilter", "__interval", "__url_time_range", "__value", "col"}


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def queries(board: dict[str, Any]) -> list[tuple[str, str]]:
    """(panel and letter, query) of all targets."""
    return [(f"{p['title']} {t['refId']}", t["query"]) for p in panels(board) for t in p["targets"]]


PANELS = [(name, where, query) for name, board in BOARDS.items() for where, query in queries(board)]


@pytest.fixture(scope="module")
def filled(influxd: Influxd, tmp_path_factory: pytest.TempPathFactory) -> Influx:
    """Two days of counts, with hours, days and averages; and verdicts of the last hours."""
    newest, folder = last_tick(), tmp_path_factory.mktemp("dashboards")
    store = Store.create(folder / "store")
    rows = made_rows(2 * 144, newest, RECORDS, states=STATES)
    store.put(rows)
    keep_up(store, newest, Keep())
    sink = InfluxSink(influxd.database(), store, folder / "sink")
    made = make_results(3, 320, names=tuple(RECORDS))
    made = dataclasses.replace(
        made,
        times=newest - np.arange(319, -1, -1) * TICK.delta,
        kinds=("site_down",),
        kind=np.zeros_like(made.kind),
        score=made.score + 2,
        flagged=np.ones_like(made.flagged),
    )
    for back in range(24):
        sink.stage(made, newest - back * TICK.delta, "the bundle", Metadata.single(RECORDS))
    for tick in np.unique(seconds_of(rows)).view("datetime64[s]")[-2:]:
        sink.flush(tick, Metadata.single(RECORDS))
    for level in LEVELS:  # the day of the verdicts is not over yet: condense it as its end will
        condense(sink.influx, level, level.tick.ceil(newest))
    return sink.influx


def regex(values: list[str]) -> str:
    """How Grafana writes chosen values into a regular expression of InfluxQL."""
    escaped = [re.sub(r"[\\^$*+?.()|\[\]{}/]", lambda match: "\\" + match[0], value) for value in values]
    return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"


def chosen(
    board: dict[str, Any], influx: Influx, policy: str, queue: str | None, newest: np.datetime64 | None = None
) -> dict[str, str]:
    """A value for each variable that its own query finds: everything, or what is true of one queue."""
    picked = queue or "CERN-PROD"
    about = {"queue": picked, "panda_queue": picked, "prod_source": "managed", "resource": "MCORE"}
    about |= {"bundle": "the bundle", **metadata_tags(RECORDS[picked])}
    values = {"policy": policy}
    for variable in board["templating"]["list"]:
        name = variable["name"]
        if variable["type"] in {"custom", "textbox"} and name != "policy":
            values[name] = variable["current"]["value"]
        if variable["type"] == "query":
            found = {
                row[1]
                for series in influx.query(fill(variable["query"], values, newest=newest))
                for row in series.values
            }
            picks = [stored_name(about[name])] if name in about and newest is None else sorted(found)
            assert found >= set(picks), f"{name}: {variable['query']} does not find {picks}"
            values[name] = variable["allValue"] if variable["includeAll"] and queue is None else regex(picks)
    return values


def fill(query: str, values: dict[str, str], interval: str = "10m", newest: np.datetime64 | None = None) -> str:
    """Put values for variables, as Grafana does before it asks; of the day before `newest`."""
    last = int((last_tick() if newest is None else newest).astype("datetime64[s]").astype(np.int64))
    known = {**values, "timeFilter": f"time >= {last - 86400}s and time <= {last + 86400}s", "__interval": interval}
    return re.sub(r"\$\{?(\w+)\}?", lambda match: known.get(match[1], match[0]), query)


def columns_with_data(found: list[Series]) -> set[str]:
    return {c for s in found for row in s.values for c, v in zip(s.columns, row, strict=True) if v is not None}


@pytest.mark.program("influxd")
@pytest.mark.parametrize("queue", [None, "CERN-PROD", HOSTILE], ids=["all", "one", "hostile"])
@pytest.mark.parametrize(("name", "where", "query"), PANELS, ids=[f"{name}: {where}" for name, where, _ in PANELS])
def test_a_panel_shows_data(filled: Influx, name: str, where: str, query: str, queue: str | None):
    for policy in POLICIES if "$policy" in query else POLICIES[:1]:
        values = chosen(BOARDS[name], filled, policy, queue)
        asked = fill(query, values, policy)
        assert set(re.findall(r"\$(\w+)", query)) <= {*values, "timeFilter", "__interval"}
        found = columns_with_data(filled.query(asked)) - {"time"}
        assert found, asked
        assert found >= set(re.findall(r'AS "([^"]+)"', asked.partition(" FROM ")[0])), asked


def panels_without_data(influx: Influx, newest: np.datetime64) -> list[str]:
    """Panels that show nothing of the day before `newest` where everything is chosen, at the tick's resolution."""
    empty = []
    for name, where, query in PANELS:
        asked = fill(query, chosen(BOARDS[name], influx, "10m", None, newest), newest=newest)
        if not columns_with_data(influx.query(asked)) - {"time"}:
            empty.append(f"{name}, {where}: {asked}")
    return empty


@pytest.mark.program("influxd")
def test_numbers_of_panels_are_right(filled: Influx):
    values = chosen(BOARDS["jobs"], filled, "10m", None)
    by_state = dict(queries(BOARDS["jobs"]))["Jobs by state A"]
    newest = int(last_tick().astype(np.int64))
    shown = {s.tags["job_status"]: dict(s.values)[newest * 10**9] for s in filled.query(fill(by_state, values))}
    counted: dict[str, float] = {}
    for row in made_rows(2 * 144, last_tick(), RECORDS, states=STATES).to_pylist():
        if row["time"].timestamp() == newest:
            counted[row["job_status"]] = counted.get(row["job_status"], 0) + row["jobs"]
    assert shown == counted


@pytest.mark.parametrize("name", BOARDS)
def test_a_dashboard_is_whole(name: str):
    board = BOARDS[name]
    assert board["uid"] == f"qad-{name}"
    assert "id" not in board
    names = {variable["name"] for variable in board["templating"]["list"]}
    text = json.dumps(board["panels"])
    used = set(re.findall(r"\$\{?(?!__data)(\w+)", text)) - BUILT_IN
    used = {name for name in used if not name.startswith("tag_")}
    assert used <= names, "a variable is used that is not there"
    assert names <= used, "a variable is there that is not used"
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    boxes = [panel["gridPos"] for panel in board["panels"]]
    assert all(box["x"] + box["w"] <= 24 for box in boxes)
    for one, other in itertools.combinations(boxes, 2):
        apart = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert apart or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
    links = set(re.findall(r"/d/([\w-]+)", json.dumps(board)))
    assert links <= {each["uid"] for each in BOARDS.values()}
    assert all(target["datasource"]["uid"] == "${datasource}" for p in panels(board) for target in p["targets"])


def test_all_metadata_can_be_filtered_by():
    assert {*KEYS, *METADATA_TAGS} <= {variable["name"] for variable in BOARDS["jobs"]["templating"]["list"]}
    assert set(METADATA_TAGS) <= {variable["name"] for variable in BOARDS["suspicious"]["templating"]["list"]}


def test_provisioning():
    source = yaml.safe_load((ROOT / "provisioning" / "datasources" / "qad.yaml").read_text(encoding="utf-8"))
    assert source["datasources"][0]["type"] == "influxdb"
    assert source["datasources"][0]["jsonData"]["dbName"] == "monit_jobs"
    boards = yaml.safe_load((ROOT / "provisioning" / "dashboards" / "qad.yaml").read_text(encoding="utf-8"))
    assert boards["providers"][0]["options"]["path"].endswith("serving/dashboards")
