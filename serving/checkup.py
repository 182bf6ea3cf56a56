"""What the doctor (`serving.doctor`) looks at: a check for each system that the config names."""

from __future__ import annotations

import getpass
import os
import shutil
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from qad_dl.bundles import label_of
from qad_dl.errors import InfluxDownError, SourceError
from qad_dl.influx.history import span
from qad_dl.labels import LabelLog
from qad_dl.schema import Tick
from qad_dl.scorer import Scorer
from qad_dl.sources.cric import Cache
from qad_dl.sources.files import read_dropped
from qad_dl.sources.http import open_session
from qad_dl.sources.panda import fetch_jobs
from qad_dl.store import Store
from qad_dl.timeparse import format_time
from qad_dl.tuning.file import tune_of, tune_path
from serving.compiled import uncompiled
from serving.config import PANDA_URL
from serving.cric import Cric, cric_session
from serving.influx import influx_source, influx_target
from serving.lock import read_holder
from serving.telling import Telling
from serving.visit import DOWN, GOES_ON, NOTE, PATIENCE_S, WELL, WRONG, Finding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from serving.visit import Visit

STALE_S: Final = 1800.0
"""A newest tick that is older is worth a word."""

FREE_BYTES: Final = 1 << 30
CLOCK_S: Final = 60.0
"""Clocks that differ by more put counts into a wrong tick."""


# --- what is on this machine ---


def look_at_program(_: Visit) -> Iterator[Finding]:
    """Whether the modules of a tick are compiled once, or by every tick again."""
    place = Path(__file__).parents[1]
    left = [path for package in ("qad_dl", "serving") for path in uncompiled(place / package)]
    if left:
        text = f"{place}: {len(left)} modules, {left[0].name} among them, are compiled by every tick again"
        how = f"as whoever may write there: {sys.executable} -m compileall -q qad_dl serving"
        yield Finding("program", NOTE, f"{text}; {how}")
    else:
        yield Finding("program", WELL, f"{place}: compiled")


def look_at_store(visit: Visit) -> Iterator[Finding]:
    """The history: whether it can be read and written, how far it goes, and whether the disk is full."""
    path = visit.config.store
    yield from _writable("store", path)
    store = Store.find(path)
    known = store.span() if store else None
    if store is None or known is None:
        yield Finding("store", NOTE, f"{path}: has no history yet; bring some in with `qad import`, or wait")
    else:
        first, last = known
        queues = len({queue for queue, _, _ in store.known_series(last + store.tick.delta)})
        text = f"{path}: {queues} queues, {format_time(first)} to {format_time(last)}"
        age = visit.now - _seconds(last)
        stale = age > STALE_S
        yield Finding("store", NOTE if stale else WELL, text + (f"; the newest tick was {_ago(age)}" if stale else ""))
    free = shutil.disk_usage(_existing(path)).free
    if free < FREE_BYTES:
        yield Finding("store", WRONG, f"{path}: only {free >> 20} MB are free on its disk; make room", 2)


def look_at_state(visit: Visit) -> Iterator[Finding]:
    """What ticks have left: when the last one ended well, what the last day's snapshots were, what waits."""
    state, path = visit.state, visit.config.state.path
    yield from _writable("state", path)
    progress = state.progress()
    if progress is None:
        yield Finding("state", NOTE, f"{path}: no tick has been done yet")
        return
    ended = state.succeeded(None)
    age = max(0.0, visit.now - ended)
    text = f"a tick last ended well {_ago(age)}" if ended else "no tick has ended well yet"
    late = not ended or age > STALE_S
    yield Finding("state", NOTE if late else WELL, text + ("; is the timer started?" if late else ""))
    holder = read_holder(state.lock)
    if holder is not None and holder.alive:
        yield Finding("state", NOTE, f"process {holder.pid} is at work on {holder.tick} since {holder.age_s:.0f} s")
    now = _time(visit.now)
    counted = Counter(entry.verdict for entry in state.source_log.read(now - np.timedelta64(1, "D"), now))
    if counted:
        words = ", ".join(f"{n} {verdict}" for verdict, n in counted.most_common())
        yield Finding("state", WELL if set(counted) <= {"ok"} else NOTE, f"snapshots of the last 24 h: {words}")


def bundle_check(path: Path) -> Callable[[Visit], Iterator[Finding]]:
    """A check of one bundle: whether it can be loaded and started, and how it is tuned."""

    def check(visit: Visit) -> Iterator[Finding]:
        bundle = Scorer.load(path.resolve()).started().bundle
        end = bundle.manifest.get("training", {}).get("end", "?")
        yield Finding(f"bundle {label_of(path)}", WELL, f"{path}: {bundle.name}, trained on history until {end}")
        tune = tune_of(path, bundle.name)
        if tune is not None:
            yield Finding(f"bundle {label_of(path)}", WELL, f"{tune_path(path)}: {tune.words()}")

    return check


def look_at_labels(visit: Visit) -> Iterator[Finding]:
    """The labels, where reviewers have said anything yet."""
    path = visit.config.review.labels
    if path.exists():
        labels = LabelLog(path).read()
        yield from _writable("review", path.parent)
        yield Finding("review", WELL, f"{path}: {len(labels.in_force)} labels in force, {labels.version} events")


def look_at_metrics(visit: Visit) -> Iterator[Finding]:
    """The textfile's folder, and the pushgateway."""
    metrics = visit.config.metrics
    if metrics.textfile is not None:
        yield from _writable("metrics", metrics.textfile.parent)
    if metrics.pushgateway:
        url = metrics.pushgateway.rstrip("/") + "/-/ready"
        try:
            visit.client(open_session()).get(url, lambda answer: answer)
        except SourceError as error:
            yield Finding("metrics", DOWN, f"{error}; ticks go on")
            return
    if metrics.textfile is None and not metrics.pushgateway:
        yield Finding("metrics", NOTE, "none: nobody notices from outside when the ticks stop, but for qad-deadman")
    else:
        yield Finding("metrics", WELL, str(metrics.textfile or metrics.pushgateway))


def look_at_clock(visit: Visit) -> Iterator[Finding]:
    """Our clock beside those of the servers that were asked."""
    if not visit.clocks:
        return
    host, ahead = max(visit.clocks.items(), key=lambda item: abs(item[1]))
    if abs(ahead) <= CLOCK_S:
        yield Finding("clock", WELL, f"within {abs(ahead):.0f} s of those of {len(visit.clocks)} servers")
        return
    where = "behind" if ahead > 0 else "ahead of"
    text = f"{abs(ahead):.0f} s {where} that of {host}: counts fall into the wrong tick; see chronyc tracking"
    yield Finding("clock", WRONG, text, 2)


# --- sources ---


def look_at_panda(visit: Visit) -> Iterator[Finding]:
    """The counts of now."""
    source = visit.config.source
    url, began = source.url or PANDA_URL, time.monotonic()
    token = source.token.reveal() if source.token else ""
    cells = fetch_jobs(visit.client(open_session(source.ca_file)), url, 10, token).cells
    visit.queues = {cell[0] for cell in cells}
    jobs = sum(cell[4] for cell in cells)
    seconds = time.monotonic() - began
    yield Finding("source", WELL, f"{url}: {len(visit.queues)} queues, {jobs:,.0f} jobs, in {seconds:.1f} s")


def look_at_source_influxdb(visit: Visit) -> Iterator[Finding]:
    """QMonit's database: whether it has points, and how new they are."""
    influx = influx_source(visit.config.source).before(time.monotonic() + PATIENCE_S)
    version = influx.version()
    store = Store.find(visit.config.store)
    known = span(influx, store.tick if store else Tick())
    if known is None:
        yield Finding("source", WRONG, f"{influx.name}: has no points of `10m`.`jobs`; see to source.database", 3)
        return
    age = visit.now - _seconds(known[1])
    text = f"{influx.name}, version {version}: {format_time(known[0])} to {format_time(known[1])}"
    stale = age > STALE_S
    yield Finding("source", NOTE if stale else WELL, text + (f"; nothing new since {_ago(age)}" if stale else ""))


def look_at_files(visit: Visit) -> Iterator[Finding]:
    """The folder: whether its files can be read and put away."""
    folder = visit.config.folder
    store = Store.find(visit.config.store)
    tick = store.tick if store else Tick()
    dropped = read_dropped(folder, tick, _time(visit.now))
    yield from _writable("source", folder)
    for _, text in dropped.refused:
        yield Finding("source", NOTE, f"will be refused: {text}")
    yield Finding("source", WELL, f"{folder}: {len(dropped.read)} files wait, with {dropped.rows.num_rows} counts")


SOURCES: Final[dict[str, Callable[[Visit], Iterator[Finding]]]] = {
    "panda": look_at_panda,
    "influxdb": look_at_source_influxdb,
    "files": look_at_files,
}


def look_at_cric(visit: Visit) -> Iterator[Finding]:
    """Metadata and downtimes, asked for anew, where they are configured."""
    cric = visit.config.cric
    if cric is None:
        return
    client = visit.client(cric_session(cric))
    said = Cric(cric, visit.config.downtimes, client, Cache(visit.scratch, visit.now)).ask(_time(visit.now))
    for name, text in said.troubles.items():
        yield Finding(name, WRONG, text, SourceError.exit_code)
    if said.queues is None:
        return
    statuses = Counter(record.get("status", "?") for record in said.queues.values())
    words = ", ".join(f"{n} {status}" for status, n in statuses.most_common(4))
    downs = "" if said.downtimes is None else f"; {len(said.downtimes)} declared downtimes"
    yield Finding("cric", WELL, f"{cric.url}: {len(said.queues)} queues ({words}){downs}")
    unknown = sorted(visit.queues - said.queues.keys())
    if unknown:
        shown = ", ".join(unknown[:3]) + (", ..." if len(unknown) > 3 else "")
        yield Finding("cric", NOTE, f"knows nothing of {len(unknown)} of the source's queues ({shown})")


# --- sinks ---


def look_at_influxdb(visit: Visit) -> Iterator[Finding]:
    """The database that is written to, where there is one."""
    sink = visit.config.sink.influxdb
    if sink is None:
        return
    influx = influx_target(sink).before(time.monotonic() + PATIENCE_S)
    try:
        version = influx.version()
        names = {row[0] for series in influx.query("SHOW DATABASES") for row in series.values}
    except InfluxDownError as error:
        yield Finding("sink.influxdb", DOWN, f"{error}; {GOES_ON}")
        return
    text = "" if influx.database in names else "; the database will be made by the first tick"
    yield Finding("sink.influxdb", NOTE if text else WELL, f"{influx.name}, version {version}{text}")


def sink_check(name: str) -> Callable[[Visit], Iterator[Finding]]:
    """A check of one channel by which people are told; nobody is told anything."""

    def check(visit: Visit) -> Iterator[Finding]:
        for text in Telling(visit.config, visit.state, visit.now).check(name):
            yield Finding(f"sink.{name}", WELL, text)

    return check


def _writable(system: str, path: Path) -> Iterator[Finding]:
    """A complaint where this user cannot write into a folder, or make it."""
    there = _existing(path)
    if not os.access(there, os.W_OK | os.X_OK):
        text = f"{path}: {getpass.getuser()} may not write into {there}, which belongs to {_owner(there)}"
        yield Finding(system, WRONG, f"{text}; start it as that user, or chown it", 2)
    elif path.is_dir() and path.stat().st_uid != os.getuid():
        text = f"{path}: belongs to {_owner(path)}, and this is {getpass.getuser()}: ticks must run as one and the same"
        yield Finding(system, NOTE, text)


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above that is there."""
    return next(folder for folder in (path, *path.absolute().parents) if folder.is_dir())


def _owner(path: Path) -> str:
    try:
        return path.owner()
    except KeyError:
        return f"user {path.stat().st_uid}"


def _time(now: float) -> np.datetime64:
    return np.datetime64(int(now), "s")


def _seconds(time: np.datetime64) -> float:
    return float(time.astype("datetime64[s]").astype(np.int64))


def _ago(seconds: float) -> str:
    minutes = seconds / 60
    if minutes < 120:
        return f"{minutes:.0f} min ago"
    return f"{minutes / 60:.0f} h ago" if minutes < 2880 else f"{minutes / 1440:.0f} days ago"
