"""One tick of the collector: fetch, judge, keep, score, tell. Started every ten minutes by a timer or by cron.

    python -m serving.tick --config /etc/qad/collector.toml

A tick that was killed is finished by the next one. Exit codes: 0 done (a sink that is down is told and tried again), 2
config, 3 source unreachable, 4 bundle invalid, 1 a fault of the program.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from qad_dl.arrow import save_memory
from qad_dl.bundles import label_of
from qad_dl.cli import guarded, leave
from qad_dl.downtimes import DOWN
from qad_dl.errors import ConfigError, InfluxError
from qad_dl.rows import seconds_of
from qad_dl.sources.files import DONE, REFUSED, put_away
from qad_dl.sources.snapshot import FAILED, OK
from qad_dl.store import Store
from qad_dl.store.retention import keep_up
from qad_dl.timeparse import format_time, parse_time
from serving.collect import Request, collect
from serving.config import read_config
from serving.deadline import DeadlineError, deadline
from serving.evaluate import evaluate
from serving.follow import Book, follow_all, follow_troubles, stopped_news
from serving.lock import Holder, boot_id, locked, since_boot
from serving.metrics import push, write_textfile
from serving.report import Report
from serving.scratch import scratch
from serving.state import Clocks, Progress, State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qad_dl.influx.sink import InfluxSink
    from qad_dl.metadata import Record
    from qad_dl.sinks.news import News
    from serving.config import Config
    from serving.metrics import Gauge
    from serving.state import Collected
    from serving.telling import Telling

SOURCE_CODE: Final = 3
BUNDLE_CODE: Final = 4

_WEEK: Final = np.timedelta64(7, "D")

FLEETING: Final = frozenset({"status", "last_modified", "lastmod", "state_update", "comment", "comment_", "probe"})
"""Fields of CRIC's records that change every day and that no score looks at."""

OLDEST_TICKS: Final = 1008
"""Ticks that were missed longer ago than a week are not scored any more: nobody wants to be told of them."""


def main(argv: Sequence[str] | None = None) -> int:
    """Read the arguments, do the tick, give the exit code."""
    parser = argparse.ArgumentParser(
        prog="serving.tick", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the collector's config, TOML")
    parser.add_argument("--at", metavar="T", help="do this tick (ISO 8601, floored) instead of the one of now")
    parser.add_argument("--dry-run", action="store_true", help="fetch, judge and score; keep nothing, tell nobody")
    args = parser.parse_args(argv)
    return guarded(lambda: start(args.config, args.at, dry_run=args.dry_run), "serving.tick")


def start(config_path: Path, at: str | None, *, dry_run: bool) -> int:
    """Do one tick, unless somebody else is at work."""
    save_memory()
    config = read_config(config_path)
    clocks = Clocks(time.time(), since_boot(), boot_id())
    now = np.datetime64(int(clocks.wall), "s") if at is None else parse_time(at, "--at")
    state = State(config.state.path)
    with locked(state.lock, format_time(now), config.deadline.seconds) as held:
        if isinstance(held, Holder):
            print(f"serving.tick: {_at_work(held)}; nothing was done")
            return 0
        store = Store.create(config.store)
        report = Report(store.tick.floor(now), simulated=at is not None)
        if held.took_over is not None:
            report.trouble("hung", f"{_at_work(held.took_over)}; it hung and was killed")
        if at is None:
            _look_at_clock(state.progress(), clocks, report)
        if dry_run:
            with scratch(store, state) as (store, state):
                _work(config, store, state, clocks, report)
                said = _telling(config, state, report).preview()
            print("\n".join([*said, report.line()]))
        else:
            _do(config, store, state, clocks, report)
    return report.code


def _do(config: Config, store: Store, state: State, clocks: Clocks, report: Report) -> None:
    """Work within the deadline, then tell how it went, whatever happened."""
    try:
        with deadline(config.deadline.seconds):
            collected = _work(config, store, state, clocks, report)
            if collected is not None:
                put_away(map(Path, collected.taken), DONE)
                put_away(map(Path, collected.refused), REFUSED)
            _deliver(config, store, state, report)
            _tell_troubles(config, state, report, over=collected is not None)
    except DeadlineError as error:
        report.trouble("deadline", str(error), error.exit_code)
        state.leave(report.troubles)
    except BaseException as error:
        report.trouble("fault", f"{type(error).__name__}: {error}", getattr(error, "exit_code", 1))
        state.leave(report.troubles)
        raise
    finally:
        _publish(config, state, report)


def _work(config: Config, store: Store, state: State, clocks: Clocks, report: Report) -> Collected | None:
    """Fetch, judge, keep, score, follow: all that must be done once for each tick; None where it is done already."""
    progress, left = state.progress(), state.kept()
    sink = _influx_sink(config, store, state)
    if left is not None:
        _keep(store, left, sink)  # of a tick that was killed; nobody would give us its counts again
        if left.tick != report.tick and left.verdict != OK:
            report.trouble(left.verdict, left.text)
    collected = left if left is not None and left.tick == report.tick else None
    if collected is None and not _due(progress, report):
        return None
    if collected is None:
        with report.step("fetch"):
            collected = collect(Request(config, store, report.tick, clocks, progress, state.path, report.simulated))
        state.keep(collected)
    report.add_collected(collected)
    state.source_log.add(collected.logged())
    if collected.verdict != OK:
        report.trouble(collected.verdict, collected.text, SOURCE_CODE if collected.verdict == FAILED else 0)
    report.troubles.update(collected.troubles)
    with report.step("store"):
        _keep(store, collected, sink)
    _score(config, store, state, report, _first(store, progress, report.tick))
    counted = collected.counted
    good = report.tick if counted else progress.good if progress else None
    fetched = collected.clocks if counted else progress.fetched if progress else None
    state.set_progress(Progress(report.tick, good, collected.clocks, fetched))
    state.drop()
    return collected


def _keep(store: Store, collected: Collected, sink: InfluxSink | None) -> None:
    """Store what was fetched; storing it twice changes nothing."""
    if sink is not None:
        times = np.unique(seconds_of(collected.rows)).view("datetime64[s]")
        if len(times) and times[0] < collected.tick:
            sink.late(times[times < collected.tick])  # before they are stored: a kill between the two loses nothing
    if collected.queues is not None and _differ(store.metadata(collected.tick).at(collected.tick), collected.queues):
        store.add_metadata(collected.queues, collected.tick)
    if collected.downtimes is not None and collected.queues is not None:
        store.declare_downtimes(collected.downtimes, DOWN, collected.queues, collected.tick)
    if collected.rows.num_rows:
        store.append(collected.rows)


def _differ(old: Mapping[str, Record], new: Mapping[str, Record]) -> bool:
    """Whether metadata are worth a dump: a status goes with the rows, and who touched a record when is no news."""
    if old.keys() != new.keys():
        return True
    return any(_lasting(old[queue]) != _lasting(record) for queue, record in new.items())


def _lasting(record: Record) -> dict[str, str]:
    return {field: value for field, value in record.items() if field not in FLEETING}


def _score(config: Config, store: Store, state: State, report: Report, first: np.datetime64) -> None:
    """Score the new ticks and follow the incidents through them."""
    with report.step("score"):
        evaluation = evaluate(store, state, config.bundles, first, report.tick, config.budget)
    report.add_evaluation(evaluation)
    for path, text in evaluation.invalid:
        report.trouble(f"bundle {label_of(path)}", text, BUNDLE_CODE)
    for path, text in evaluation.refused:
        report.trouble(f"tune {label_of(path)}", text, ConfigError.exit_code)
    with report.step("incidents"):
        book, news = follow_all(state, Book.read(state.incidents), evaluation.scored, report.tick, config.rules)
        _queue(state, news)
        book.write(state.incidents)
    report.incidents = {part.label: len(book.open(part.label)) for part in evaluation.scored}
    sink = _influx_sink(config, store, state)
    if sink is not None:
        for part in evaluation.scored:
            for at in part.results.times:
                sink.stage(part.results, at, part.label, part.metadata)


def _due(progress: Progress | None, report: Report) -> bool:
    """Whether the tick is still to be done; one before the newest that is done never is."""
    if progress is None or report.tick > progress.done:
        return True
    if report.tick == progress.done:
        report.verdict, report.text = "done", f"{format_time(report.tick)} is done already"
    else:
        report.verdict = "clock"
        report.text = f"the clock says {format_time(report.tick)}, but {format_time(progress.done)} is done already"
        report.trouble("clock", f"{report.text}; nothing is collected until then: see to the clock (chronyc tracking)")
    return False


def _first(store: Store, progress: Progress | None, tick: np.datetime64) -> np.datetime64:
    """The first tick that is still to be scored: the one after the newest that is done."""
    if progress is None:
        return tick
    return max(progress.done + store.tick.delta, tick - OLDEST_TICKS * store.tick.delta)


def _look_at_clock(progress: Progress | None, clocks: Clocks, report: Report) -> None:
    """Notice that the wall clock was set since the last tick."""
    jumped = clocks.jumped(progress.clocks) if progress is not None else 0.0
    if jumped:
        report.trouble("clock", f"the clock was set {abs(jumped):.0f} s {'forward' if jumped > 0 else 'back'}")


def _deliver(config: Config, store: Store, state: State, report: Report) -> None:
    """Tell people, write back, keep up: each goes on where it stopped, whatever stopped it."""
    with report.step("tell"):
        _tell(config, state, report, Book.read(state.incidents))
    until = time.monotonic() + config.deadline.seconds / 4
    with report.step("retention"):  # before InfluxDB: hours, days and averages that are written come from it
        keep_up(store, report.tick, config.retention.keep, until)
    sink = _influx_sink(config, store, state)
    if sink is not None:
        with report.step("influxdb"):
            _write_back(sink, store, report, until)


def _influx_sink(config: Config, store: Store, state: State) -> InfluxSink | None:
    """The sink of the config, with its folder in this state: a dry run has another."""
    if config.sink.influxdb is None:
        return None
    from serving.influx import influx_sink  # loaded where there is one, with its HTTP client

    sink = influx_sink(config, store)
    return None if sink is None else replace(sink, folder=state.influxdb)


def _write_back(sink: InfluxSink, store: Store, report: Report, until: float) -> None:
    """Write to InfluxDB what is waiting; one that is down or refuses is a trouble, and tried again."""
    try:
        flushed = sink.flush(report.tick, store.metadata(report.tick - _WEEK), until)
        report.pending["influxdb"] = flushed.waiting
    except InfluxError as error:
        report.trouble("influxdb", str(error))


def _tell_troubles(config: Config, state: State, report: Report, *, over: bool) -> None:
    """Tell the collector's own troubles through the same sinks as incidents."""
    troubles = {**state.left(), **report.troubles}
    book, news = follow_troubles(Book.read(state.incidents), troubles, report.tick, over=over)
    stopped = state.stopped()
    if stopped is not None:  # the dead man's watch told that ticks had stopped; this one says that they go on
        news.append(stopped_news(stopped, "ticks go on", over=report.tick))
    _queue(state, news)
    book.write(state.incidents)
    state.told()
    state.set_stopped(None)
    _tell(config, state, report, book)


def _queue(state: State, news: Sequence[News]) -> None:
    """Put news into the outbox, if there are any."""
    if news:
        from serving.telling import queue

        queue(state, news)


def _tell(config: Config, state: State, report: Report, book: Book) -> None:
    """Tell people what waits; a sink that is down is a trouble, and tried again at the next tick."""
    if not config.recipients and not state.news_waits:
        return
    until = time.monotonic() + config.deadline.seconds / 8
    delivered = _telling(config, state, report).deliver(book, until, report.troubles)
    report.pending.update(delivered.pending)
    report.troubles.update(delivered.troubles)


def _telling(config: Config, state: State, report: Report) -> Telling:
    from serving.telling import Telling  # with all that makes messages; many a tick has nothing to say

    return Telling(config, state, float(report.tick.astype(np.int64)) if report.simulated else time.time())


def _publish(config: Config, state: State, report: Report) -> None:
    """The log line and the metrics."""
    now = time.time()
    succeeded = state.succeeded(now if report.code == 0 else None)
    gauges = report.gauges(now, succeeded)
    if config.metrics.textfile:
        try:
            write_textfile(config.metrics.textfile, gauges)
        except OSError as error:
            state.leave({"metrics": f"{config.metrics.textfile}: cannot be written ({error.strerror or error})"})
    if config.metrics.pushgateway:
        state.leave(_push(config.metrics.pushgateway, gauges))
    print(report.line(), flush=True)


def _push(url: str, gauges: Sequence[Gauge]) -> dict[str, str]:
    """Push the metrics; a gateway that is down is a trouble and no fault."""
    import requests

    try:
        with requests.Session() as session:
            push(session, url, "qad_tick", gauges)
    except requests.RequestException as error:
        return {"metrics": f"{url}: {' '.join(str(error).split())[:160]}"}
    return {}


def _at_work(holder: Holder) -> str:
    return f"process {holder.pid} has been at work on {holder.tick} for {holder.age_s:.0f} s"


if __name__ == "__main__":
    leave(main())
