"""A day of ticks in fast time: PanDA and CRIC over HTTP, real sinks, faults by a timetable; and what came of it.

`make tick-demo` runs it on the full day (`python -m tests.services.tick_day OUT --bundle DIR`); a test runs six hours.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qad_dl.backtest import run_backtest
from qad_dl.downtimes import parse_downtimes
from qad_dl.history import load_jobs
from qad_dl.influx.client import Influx
from qad_dl.metadata import parse_cric
from qad_dl.rows import seconds_of
from qad_dl.scorer import Scorer
from qad_dl.simulator.output import write
from qad_dl.sinks.news import MONITOR
from qad_dl.store import Store
from serving.follow import Book, load_results
from tests.services.alertmanager import Alertmanager
from tests.services.fake_panda import Grid, serve
from tests.services.influxd import Influxd
from tests.services.panda_world import HOUR, PER_DAY, TICK, Day, make_day
from tests.services.programs import free_port
from tests.services.receivers import MailBox, WebhookServer
from tests.services.test_dashboards import panels_without_data

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from qad_dl.results import Results

ROOT = Path(__file__).resolve().parents[2]
START = np.datetime64("2026-01-05T00:00:00", "s")
DATABASE = "monit_jobs"
AGAIN = re.compile(r"\s*\[qad\] (Now|Over|Back): ")
"""Subjects of mails about what was told before; a long one may begin on a line of its own, after a blank."""

CLOSES = 4 * HOUR
"""An incident is closed this long after its end at the latest, unless the day ends before."""


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
    ticks = [_position(played, line["tick"]) for line in played.told if line["incident"] == incident]
    return len(ticks) < 2 or ticks[-1] - ticks[0] > 3


# --- what must have come of it ---


@dataclass(frozen=True)
class Outcome:
    """What became of an incident.

    Attributes:
        kind, field, value: what really happened.
        told: `field=value` as it was told.
        kind_told: likeliest kind.
        started, ended: ticks of the day.
        flagged, opened, closed: ticks of the day; None where it did not come to that.
        times: how often it was told as something new, but for parts that were folded into it.
        folded: parts that were told before they were known to be parts.
        again: how often it came back after it was closed.
    """

    kind: str
    field: str
    value: str
    told: str
    kind_told: str
    started: int
    ended: int
    flagged: int | None
    opened: int | None
    closed: int | None
    times: int
    folded: int
    again: int


def outcomes(played: Play, bundle: Path) -> tuple[list[Outcome], list[dict[str, Any]]]:
    """What became of each incident, and what was told beside them."""
    made = run_backtest(played.store, Scorer.load(bundle), played.first, played.at(played.ticks))
    opened = [line for line in played.told_of(monitor=False) if line["action"] == "opened"]
    results, mine = [], []
    for real in played.day.incidents:
        began = real.begin - played.day.first
        span = (played.at(began), played.at(real.end - played.day.first + 12))
        hits = [o for o in opened if set(o["queues"]) & set(real.queues) and span[0] <= _time(o["tick"]) < span[1]]
        mine += hits
        results.append(_outcome(played, made, real, began, hits))
    return results, [line for line in opened if line not in mine]


def _outcome(played: Play, made: Results, real: Any, began: int, hits: Sequence[Mapping[str, Any]]) -> Outcome:
    names = [key[0] for key in made.series]
    flagged = made.flagged[[names.index(queue) for queue in real.queues], began:].any(axis=0)
    last = [line for line in played.told if hits and line["incident"] == hits[0]["incident"]]
    parts = {line["incident"] for line in played.told if hits and line["folded"] == hits[0]["incident"]}
    closed = [line for line in last if line["action"] == "closed"]
    return Outcome(
        kind=real.kind,
        field=real.field,
        value=real.value,
        told=f"{last[-1]['field']}={last[-1]['value']}" if last else "",
        kind_told=str(last[-1]["kind"]) if last else "",
        started=began,
        ended=real.end - played.day.first,
        flagged=began + int(flagged.argmax()) if flagged.any() else None,
        opened=_position(played, hits[0]["tick"]) if hits else None,
        closed=_position(played, closed[-1]["tick"]) if closed else None,
        times=sum(line["incident"] not in parts for line in hits),
        folded=sum(line["incident"] in parts for line in hits),
        again=sum(line["action"] == "reopened" for line in last),
    )


def _time(text: str) -> np.datetime64:
    return np.datetime64(text.rstrip("Z"), "s")


def _position(played: Play, text: str) -> int:
    return int((_time(text) - played.first) // TICK.delta)


def judge(played: Play, bundle: Path) -> list[str]:
    """What is not as it should be, one line each; and the same scores as a backtest."""
    wrong = list(played.wrong)
    found, others = outcomes(played, bundle)
    for one in found:
        name = f"{one.kind} {one.field}={one.value}"
        stops = one.kind == "site_down"
        if one.times != 1:
            wrong.append(f"{name}: told {one.times} times")
            continue
        assert one.opened is not None
        if one.flagged is not None and one.opened > one.flagged + 2:
            wrong.append(f"{name}: told {one.opened - one.flagged} ticks after its first flag")
        if stops and one.opened > one.started + 3:
            wrong.append(f"{name}: told {one.opened - one.started} ticks after it stopped the queues")
        if one.told != f"{one.field}={one.value}":
            wrong.append(f"{name}: told as {one.told}")
        if one.closed is None and one.ended + CLOSES <= played.ticks:
            wrong.append(f"{name}: never closed")
    world, site = played.day.run.world, played.day.outage.site
    down = {n for n, fact in zip(world.names, world.facts, strict=True) if fact.get("atlas_site") == site}
    wrong += [f"alarm for the downtime: {o['value']}" for o in others if set(o["queues"]) <= down]
    wrong += _faults(played, others)
    keys = [line["key"] for line in played.told]
    wrong += [f"told twice: {key}" for key in sorted({k for k in keys if keys.count(k) > 1})]
    kept = load_results(played.folder / "state" / "results" / f"{bundle.name}.npz")
    made = run_backtest(played.store, Scorer.load(bundle), played.first, played.at(played.ticks))
    assert kept is not None
    np.testing.assert_allclose(kept.score, made.score, atol=1e-5)
    np.testing.assert_array_equal(kept.flagged, made.flagged)
    return wrong


def _faults(played: Play, others: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each fault of an outside system leads to its own self-alert, once, that is over after it; and to nothing else."""
    wrong = []
    monitor = played.told_of(monitor=True)
    for fault in played.faults:
        began = [
            line
            for line in monitor
            if line["value"] == fault.trouble and fault.begin <= _position(played, line["tick"]) < fault.end
        ]
        if [line["action"] for line in began] not in (["opened"], ["reopened"]):
            wrong.append(f"{fault.system} {fault.trap}: self-alerts {[line['action'] for line in began]}")
        source = fault.system in ("panda", "cric")
        wrong += [
            f"{fault.system} {fault.trap}: queue alert {line['value']}"
            for line in others
            if source and fault.begin <= _position(played, line["tick"]) <= fault.end + 1
        ]
    left = [line for line in monitor if line["action"] in ("opened", "reopened")]
    closed = [line for line in monitor if line["action"] == "closed"]
    if len(left) != len(closed):
        wrong.append(f"{len(left)} self-alerts, {len(closed)} of them over")
    return wrong


def report(played: Play, bundle: Path) -> str:
    """A table for people."""
    found, others = outcomes(played, bundle)
    rows = [("what happened", "began", "first flag", "told", "as", "closed", "folded in", "came back")]
    rows += [
        (
            f"{o.kind} {o.field}={o.value}",
            _clock(o.started),
            _clock(o.flagged),
            _clock(o.opened),
            f"{o.kind_told} {o.told}",
            _clock(o.closed),
            str(o.folded),
            str(o.again),
        )
        for o in found
    ]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    text = "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)
    monitor = [f"{line['action']} {line['value']}" for line in played.told_of(monitor=True)]
    seconds = [sum(line["seconds"].values()) for line in played.lines]
    beside = [f"{line['value']} ({line['kind']}, score {line['score']})" for line in others]
    return (
        f"{text}\n\nbeside these: {', '.join(beside) or 'nothing'}\nself-alerts: {', '.join(monitor)}\n"
        f"{played.ticks} ticks, median {np.median(seconds):.2f} s, slowest {max(seconds):.2f} s (without the start)"
    )


def _clock(position: int | None) -> str:
    return "-" if position is None else f"{position // HOUR:02d}:{position % HOUR * 60 // HOUR:02d}"


def main() -> int:
    """Play the full day and say what came of it."""
    parser = argparse.ArgumentParser(prog="tick-demo", description=__doc__)
    parser.add_argument("out", type=Path, help="folder, made anew")
    parser.add_argument("--bundle", type=Path, required=True, help="the bundle of `make demo`")
    parser.add_argument("--hours", type=int, default=24)
    args = parser.parse_args()
    shutil.rmtree(args.out, ignore_errors=True)
    args.out.mkdir(parents=True)
    began = time.monotonic()
    print("simulating the grid ...", flush=True)
    ticks = args.hours * PER_DAY // 24
    faults = [fault for fault in FULL if fault.end <= ticks]
    with (args.out / "ticks.jsonl").open("w", encoding="utf-8") as log:
        done = []

        def say(line: str) -> None:
            log.write(line + "\n")
            log.flush()
            done.append(line)
            if len(done) % HOUR == 0:
                print(f"{len(done)} of {ticks} ticks", flush=True)

        played = play(args.out, make_day(START), args.bundle, ticks, faults, say)
    print(f"\n{report(played, args.bundle)}\ntook {time.monotonic() - began:.0f} s")
    wrong = judge(played, args.bundle)
    print("\n".join(f"WRONG {line}" for line in wrong) or "all as it should be")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
