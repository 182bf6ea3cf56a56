"""A day of ticks as it is played: the systems, the timetable of what goes wrong with them, and what reached them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qad_dl.downtimes import parse_downtimes
from qad_dl.history import load_jobs
from qad_dl.influx.client import Influx
from qad_dl.metadata import parse_cric
from qad_dl.rows import seconds_of
from qad_dl.simulator.output import write
from qad_dl.sinks.news import MONITOR
from qad_dl.store import Store
from serving.follow import Book
from tests.services.alertmanager import Alertmanager
from tests.services.fake_panda import Grid, serve
from tests.services.influxd import Influxd
from tests.services.panda_world import TICK, Day
from tests.services.programs import free_port
from tests.services.receivers import MailBox, WebhookServer
from tests.services.test_dashboards import panels_without_data

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT = Path(__file__).resolve().parents[2]
START = np.datetime64("2026-01-05T00:00:00", "s")
DATABASE = "monit_jobs"
AGAIN = re.compile(r"\s*\[qad\] (Now|Over|Back): ")
"""Subjects of mails about what was told before; a long one may begin on a line of its own, after a blank."""


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong with an outside system over the ticks [begin, end) of the day.

    Attributes:
        system: `panda`, `cric`, `influxdb`, `alertmanager`, `mail` or `mattermost`.
        trap: how, for the first two; the others are stopped.
        begin, end: ticks since the beginning of the day.
        trouble: name of the self-alert that it must lead to.
    """

    system: str
    trap: str
    begin: int
    end: int
    trouble: str


FULL = (
    Fault("panda", "frozen", 4, 7, "frozen"),
    Fault("panda", "unsuccessful", 62, 65, "failed"),
    Fault("cric", "error", 76, 79, "cric"),
    Fault("influxdb", "", 80, 86, "influxdb"),
    Fault("alertmanager", "", 41, 45, "alertmanager"),
    Fault("mail", "", 67, 72, "mail"),
    Fault("mattermost", "", 88, 92, "mattermost"),
)
SMALL = (
    Fault("panda", "frozen", 2, 4, "frozen"),
    Fault("panda", "down", 24, 26, "failed"),
    Fault("cric", "half_body", 28, 30, "cric"),
    Fault("influxdb", "", 17, 20, "influxdb"),
    Fault("alertmanager", "", 8, 12, "alertmanager"),
    Fault("mail", "", 9, 13, "mail"),
    Fault("mattermost", "", 8, 11, "mattermost"),
)


@dataclass
class Systems:
    """The real systems beside PanDA and CRIC."""

    influxdb: Influxd
    alertmanager: Alertmanager
    mail: MailBox
    mattermost: WebhookServer
    pager: WebhookServer

    @classmethod
    def start(cls, folder: Path, stack: ExitStack) -> Systems:
        """Start them all; they are stopped when `stack` is left."""
        pager = WebhookServer(free_port()).start()
        systems = cls(
            Influxd(folder / "influxd", free_port()).start(),
            Alertmanager(folder / "alertmanager", free_port(), pager.url).start(),
            MailBox(free_port()).start(),
            WebhookServer(free_port()).start(),
            pager,
        )
        for name in ("influxdb", "alertmanager", "mail", "mattermost", "pager"):
            stack.callback(getattr(systems, name).stop)
        return systems

    def switch(self, down: set[str]) -> None:
        """Stop those that are to be down, start those that are not."""
        for name in ("influxdb", "alertmanager", "mail", "mattermost"):
            system = getattr(self, name)
            running = next(getattr(system, a) for a in ("process", "controller", "server") if hasattr(system, a))
            if name in down and running is not None:
                system.stop()
            elif name not in down and running is None:
                system.start()


@dataclass
class Play:
    """The day as it was played.

    Attributes:
        folder: with the collector's config, store and state.
        day: what happened.
        faults: what went wrong with whom.
        first: first tick.
        ticks: how many were done.
        influx: the database.
        lines: what each tick logged.
        wrong: what the systems did not get as they should have.
    """

    folder: Path
    day: Day
    faults: Sequence[Fault]
    first: np.datetime64
    ticks: int
    influx: Influx
    lines: list[dict[str, Any]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def store(self) -> Store:
        return Store.open(self.folder / "store")

    @property
    def told(self) -> list[dict[str, Any]]:
        """Lines of the jsonl sink."""
        path = self.folder / "told.jsonl"
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []

    def told_of(self, monitor: bool) -> list[dict[str, Any]]:
        """Those of queues, or those of the collector itself."""
        return [line for line in self.told if (line["bundle"] == MONITOR) == monitor]

    def at(self, position: int) -> np.datetime64:
        """A tick of the day."""
        return self.first + position * TICK.delta


def play(folder: Path, day: Day, bundle: Path, ticks: int, faults: Sequence[Fault], say: Callable[[str], None]) -> Play:
    """Do every tick of the day, as the timer would."""
    first = day.run.params.start + day.first * TICK.delta
    with ExitStack() as stack:
        grid = Grid(day.run)
        url = stack.enter_context(serve(grid))
        systems = Systems.start(folder, stack)
        influx = Influx(systems.influxdb.url, DATABASE, pause=lambda _: None)
        _policies(influx)
        _history(folder, day)
        _config(folder, bundle, url, systems)
        played = Play(folder, day, faults, first, ticks, influx)
        for position in range(ticks):
            grid.tick = day.first + position
            _switch(position, faults, grid, systems)
            line = _tick(folder, played.at(position))
            played.lines.append(line)
            say(json.dumps(line))
        played.wrong += _written(played) + _told(played, systems)
        newest = played.at(len(played.lines) - 1)
        played.wrong += [f"a panel shows nothing: {panel}" for panel in panels_without_data(played.influx, newest)]
    return played


def _switch(position: int, faults: Sequence[Fault], grid: Grid, systems: Systems) -> None:
    """Let the faults of the timetable begin and end."""
    now = {fault.system: fault for fault in faults if fault.begin <= position < fault.end}
    grid.panda = now["panda"].trap if "panda" in now else ""
    grid.frozen_at = grid.tick - (position - now["panda"].begin) - 1 if grid.panda == "frozen" else None
    grid.cric = now["cric"].trap if "cric" in now else ""
    systems.switch(set(now))


def _tick(folder: Path, at: np.datetime64) -> dict[str, Any]:
    command = [sys.executable, "-m", "serving.tick", "--config", str(folder / "collector.toml"), "--at", f"{at}Z"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    lines = done.stdout.splitlines()
    assert lines, done.stderr[-2000:]
    line: dict[str, Any] = json.loads(lines[-1])
    assert done.returncode == line["exit"] in (0, 3), done.stderr[-2000:]
    return line


def _policies(influx: Influx) -> None:
    """Policies that keep the past: the day is months ago for the server's clock."""
    influx.query(f'CREATE DATABASE "{DATABASE}"')
    for name in ("10m", "1h", "1d"):
        default = " DEFAULT" if name == "10m" else ""
        influx.query(f'CREATE RETENTION POLICY "{name}" ON "{DATABASE}" DURATION INF REPLICATION 1{default}')


def _history(folder: Path, day: Day) -> None:
    """What the collector knows when the day begins."""
    import pyarrow as pa

    from qad_dl.arrow import from_numpy

    write(day.run, folder / "world")
    rows = load_jobs(folder / "world" / "jobs.parquet", TICK)
    start = day.run.params.start
    before = seconds_of(rows) < (start + day.first * TICK.delta).astype(np.int64)
    store = Store.create(folder / "store")
    store.put(rows.filter(from_numpy(before, pa.bool_())))
    store.add_metadata(parse_cric(json.loads((folder / "world" / "cric.json").read_bytes()), "cric"), start)
    past = parse_downtimes((folder / "world" / "downtimes.csv").read_text(encoding="utf-8"), "downtimes")
    store.add_downtimes([down for down in past if down.start < start + day.first * TICK.delta])
    # The collector has been at work before: what InfluxDB was to be told of the weeks before, it knows.
    known = {"until": str(start + (day.first - 1) * TICK.delta), "waiting": []}
    (folder / "state" / "influxdb").mkdir(parents=True)
    (folder / "state" / "influxdb" / "written.json").write_text(json.dumps(dict.fromkeys(("10m", "1h", "1d"), known)))


def _config(folder: Path, bundle: Path, url: str, systems: Systems) -> None:
    secret = folder / "mattermost.url"
    secret.write_text(f"{systems.mattermost.url}/hooks/qad\n", encoding="utf-8")
    secret.chmod(0o600)
    text = f"""
store = "store"
bundles = ["{bundle.resolve()}"]
[source]
kind = "panda"
url = "{url}"
[cric]
url = "{url}"
[deadline]
seconds = 240
fetch_seconds = 20
[metrics]
textfile = "metrics/qad.prom"
[cap]
per_hour = 0
[sink.jsonl]
path = "told.jsonl"
[sink.influxdb]
url = "{systems.influxdb.url}"
database = "{DATABASE}"
[sink.alertmanager]
url = "{systems.alertmanager.url}"
[sink.mail]
host = "127.0.0.1"
port = {systems.mail.port}
sender = "qad@example.org"
to = ["shifter@example.org"]
[sink.mattermost]
url_file = "mattermost.url"
"""
    (folder / "collector.toml").write_text(text, encoding="utf-8")


def _written(played: Play) -> list[str]:
    """InfluxDB holds each tick's counts and verdicts."""
    wrong = []
    good = [played.at(p) for p, line in enumerate(played.lines) if line["rows"]]
    for measurement in ("jobs", "queue_anomaly"):
        found = played.influx.query(f'SELECT * FROM "10m"."{measurement}" GROUP BY *')
        times = {int(row[0]) // 10**9 // 600 * 600 for series in found for row in series.values}
        wrong += [f"InfluxDB lacks {measurement} of {t}" for t in good if int(t.astype(np.int64)) not in times]
    return wrong


def _told(played: Play, systems: Systems) -> list[str]:
    """Every incident and trouble reached every channel, once as something new."""
    opened = [line["incident"] for line in played.told if line["action"] == "opened"]
    letters = [(letter["Subject"], letter.get_body(("plain",)).get_content()) for _, letter in systems.mail.letters]
    new = [text for subject, text in letters if not AGAIN.match(subject)]
    wrong = [f"new in mail {n} times: {i}" for i in opened if (n := sum(i in text for text in new)) != 1]
    ids = [letter["Message-ID"] for _, letter in systems.mail.letters]
    wrong += [f"mail {i} came {ids.count(i)} times" for i in sorted(set(ids)) if ids.count(i) > 1]
    posts = systems.mattermost.texts
    wrong += [f"no post about {i}" for i in opened if not any(i in text for text in posts)]
    wrong += [f"post came {posts.count(t)} times: {t[:80]}" for t in sorted(set(posts)) if posts.count(t) > 1]
    paged = {a["labels"]["incident"] for _, post in systems.pager.posts for a in post["alerts"]}
    wrong += [f"Alertmanager never told of {i}" for i in opened if i not in paged and _lasted(played, i)]
    book = Book.read(played.folder / "state" / "incidents.json")
    going_on = sorted(i.id for found in book.incidents.values() for i in found if i.open)
    active = sorted(alert["labels"]["incident"] for alert in systems.alertmanager.alerts())
    return wrong + ([] if going_on == active else [f"Alertmanager has {active} as active, open are {going_on}"])


def _lasted(played: Play, incident: str) -> bool:
    """Whether it was open for more than the few seconds that Alertmanager takes to tell, in this fast time."""
    ticks = [position_of(played, line["tick"]) for line in played.told if line["incident"] == incident]
    return len(ticks) < 2 or ticks[-1] - ticks[0] > 3


def time_of(text: str) -> np.datetime64:
    return np.datetime64(text.rstrip("Z"), "s")


def position_of(played: Play, text: str) -> int:
    return int((time_of(text) - played.first) // TICK.delta)
