"""Read job history, CRIC metadata and downtimes into a store; the store is made if there is none.

All files are read and checked before anything is stored: a file that is refused leaves the store as it was. Rows
merge by time, series and state, and the last one counts, so that importing a file twice changes nothing.

  qad import STORE --jobs jobs.parquet --cric pandaqueue.json.gz --downtimes downtimes.csv
  qad import s3://BUCKET/PREFIX --jobs jobs.parquet
  qad import STORE --jobs 2026-*.csv.gz --scheduler tcp://HOST:8786
  qad import STORE --influxdb http://dbod.example.org:8086 --start 2026-11-16 --end 2026-11-23

An InfluxDB of QMonit's is read in pieces, each stored when it is whole: what was stopped goes on when it is started
again. Its policy 10m becomes the history, 1h and 1d the archives; its tags are the metadata, unless --cric is given.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qad_dl.cli.scheduler import add_scheduler_argument, workers_of

if TYPE_CHECKING:
    import argparse

    import numpy as np

    from qad_dl.cluster import Workers
    from qad_dl.import_parts import Found
    from qad_dl.influx.client import Influx
    from qad_dl.schema import Tick
    from qad_dl.store import Store


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `qad import`."""
    parser.add_argument(
        "store", metavar="STORE", help="the store: a folder, or an address like s3://BUCKET/PREFIX (docs/storage.md)"
    )
    parser.add_argument(
        "--jobs", type=Path, nargs="+", default=[], metavar="FILE", help="job history: .parquet, .csv or .csv.gz"
    )
    parser.add_argument("--cric", type=Path, metavar="FILE", help="CRIC's pandaqueue dump, JSON, plain or .gz")
    parser.add_argument(
        "--cric-time",
        metavar="T",
        help="time from which the dump holds (ISO 8601, UTC if no zone is given); "
        "default: the first tick imported with it, or now if it is imported alone",
    )
    parser.add_argument("--downtimes", type=Path, metavar="FILE", help="CSV: panda_queue,start,end,status")
    parser.add_argument(
        "--influxdb", metavar="URL", help="QMonit's InfluxDB; give --start and --end, a range [start, end)"
    )
    parser.add_argument("--start", metavar="T", help="first time to read from the InfluxDB")
    parser.add_argument("--end", metavar="T", help="time before which to stop")
    parser.add_argument("--database", default="monit_jobs", help="its name in the InfluxDB (default: %(default)s)")
    parser.add_argument("--user", default="", help="who reads it, if it wants to know")
    parser.add_argument("--password-file", type=Path, metavar="FILE", help="a file with the user's password")
    parser.add_argument(
        "--tick", type=int, metavar="MINUTES", help="length of a tick of a new store; default 10, must divide a day"
    )
    add_scheduler_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Do what is asked for, here or on workers."""
    cric_time = _check(args)
    with workers_of(args.scheduler) as workers:
        _import(args, cric_time, workers)
    return 0


def _import(args: argparse.Namespace, cric_time: np.datetime64 | None, workers: Workers | None) -> None:
    """Check everything, then store everything."""
    from qad_dl.downtimes import read_downtimes
    from qad_dl.import_parts import checked_rows
    from qad_dl.metadata import read_cric
    from qad_dl.objects import place_of
    from qad_dl.schema import Tick
    from qad_dl.store import Store

    wanted = None if args.tick is None else _tick(args.tick)
    found = Store.find(args.store, Tick() if args.influxdb else wanted)
    with checked_rows(args.jobs, found.tick if found else wanted or Tick(), place_of(args.store), workers) as rows:
        queues = read_cric(args.cric) if args.cric else None
        downtimes = read_downtimes(args.downtimes) if args.downtimes else None

        store = Store.create(args.store, wanted)
        if queues is not None:
            time = cric_time if cric_time is not None else _first_time(rows.found if rows else None)
            changed = store.add_metadata(queues, time)
            print(f"metadata: {len(queues):,} queues from {time}Z on; {_changed(changed)}")
        if downtimes is not None:
            print(f"downtimes: {len(downtimes):,} read; {_changed(store.add_downtimes(downtimes))}")
        if rows is not None:
            days = rows.put(store)
            print(f"jobs: {_summary(rows.found)}; {days:,} {'day' if days == 1 else 'days'} changed")
        if args.influxdb:
            _read_influxdb(args, store, metadata=queues is None)


def _read_influxdb(args: argparse.Namespace, store: Store, *, metadata: bool) -> None:
    """Read QMonit's history: ticks, hours and days."""
    from qad_dl.downsampling import LEVELS
    from qad_dl.errors import InputError
    from qad_dl.influx.client import Influx
    from qad_dl.influx.qmonit import TICK_POLICY
    from qad_dl.store.retention import archive
    from qad_dl.timeparse import parse_time

    start, end = (parse_time(getattr(args, name), f"--{name}") for name in ("start", "end"))
    influx = Influx(args.influxdb, args.database, args.user, _password(args.password_file))
    stores = {TICK_POLICY: store} | {level.name: archive(store, level) for level in LEVELS}
    found = [
        _read_policy(influx, to, policy, (start, end), metadata=metadata and to is store)
        for policy, to in stores.items()
    ]
    if not any(found):
        msg = f"{influx.name}: holds no points of jobs between {args.start} and {args.end}; see to --database"
        raise InputError(msg)


def _read_policy(
    influx: Influx, store: Store, policy: str, between: tuple[np.datetime64, np.datetime64], *, metadata: bool
) -> int:
    """Read one retention policy into a store, piece by piece, and say what came; returns the points."""
    from qad_dl.influx.history import read_history, span, take_in
    from qad_dl.progress import progress

    have = span(influx, store.tick, policy)
    if have is None:
        print(f"influxdb {policy}: holds no points")
        return 0
    start, end = max(between[0], have[0]), min(between[1], have[1] + store.tick.delta)
    points = rows = ignored = 0
    for piece in progress(read_history(influx, start, end, store.tick, policy), f"reading {policy}", unit="piece"):
        points += piece.rows.num_rows
        rows += take_in(store, piece, metadata=metadata)
        ignored += piece.ignored
    store.compact(end.astype("datetime64[D]"))
    lost = f"; {ignored:,} points are no counts and were left" if ignored else ""
    print(f"influxdb {policy}: {points:,} points, {rows:,} new rows{lost}")
    return points


def _password(path: Path | None) -> str:
    """The password in a file."""
    from qad_dl.influx.direct import read_password

    return "" if path is None else read_password(path, "--password-file")


def _check(args: argparse.Namespace) -> np.datetime64 | None:
    """Refuse arguments that do not go together; returns the time of `--cric-time`."""
    from qad_dl.errors import ConfigError
    from qad_dl.objects import is_address
    from qad_dl.timeparse import parse_time

    if not (args.jobs or args.cric or args.downtimes or args.influxdb):
        msg = "nothing to import; give --jobs, --cric, --downtimes or --influxdb"
        raise ConfigError(msg)
    if args.scheduler and (args.influxdb or not args.jobs):
        raise ConfigError("--scheduler is for the files of --jobs; all else is read by one process: leave it out")
    if args.scheduler and is_address(args.store):
        raise ConfigError("--scheduler: workers leave what they read in a folder of the store; import into a folder")
    _check_influxdb(args)
    if args.cric_time is None:
        return None
    if args.cric is None:
        msg = "--cric-time says from when a dump holds; give the dump with --cric"
        raise ConfigError(msg)
    return parse_time(args.cric_time, "--cric-time")


def _check_influxdb(args: argparse.Namespace) -> None:
    """`--influxdb` needs a range, and QMonit's ticks are of 10 minutes."""
    from qad_dl.errors import ConfigError
    from qad_dl.schema import TICK_MINUTES
    from qad_dl.timeparse import parse_time

    times = [parse_time(text, name) for name, text in (("--start", args.start), ("--end", args.end)) if text]
    if bool(args.influxdb) != bool(times) or len(times) == 1:
        raise ConfigError("--influxdb, --start and --end go together: give all of them, or none")
    if times and times[0] >= times[1]:
        msg = f"--start {args.start} is not before --end {args.end}; the range is [start, end)"
        raise ConfigError(msg)
    if args.influxdb and args.tick not in (None, TICK_MINUTES):
        msg = f"--tick {args.tick}: QMonit's ticks are of {TICK_MINUTES} minutes; leave it out with --influxdb"
        raise ConfigError(msg)


def _tick(minutes: int) -> Tick:
    """A tick of that length."""
    from qad_dl.errors import ConfigError
    from qad_dl.schema import Tick

    try:
        return Tick(minutes)
    except ValueError as error:
        msg = f"--tick: {error}; give a number of minutes like 5, 10 or 30"
        raise ConfigError(msg) from error


def _first_time(found: Found | None) -> np.datetime64:
    """The first tick of what was read, or now where nothing was."""
    from datetime import UTC, datetime

    import numpy as np

    return np.datetime64(datetime.now(UTC).replace(tzinfo=None), "s") if found is None else found.ticks[0]


def _summary(found: Found) -> str:
    """Rows, ticks, queues, states and span of what was read, in words."""
    from qad_dl.timeparse import format_time

    ticks, span = found.ticks, f"{format_time(found.ticks[0])} to {format_time(found.ticks[-1])}"
    queues, states = len(found.queues), len(found.states)
    return f"{found.rows:,} rows, {len(ticks):,} ticks, {queues:,} queues, {states:,} states, {span}"


def _changed(changed: bool) -> str:
    """How to say it."""
    return "stored" if changed else "nothing new"
