"""What would this have sent me? Any budget, rules and routes against past weeks, with no side effect.

Replays the range tick by tick by the collector's own code: how many messages a day, to whom, and, with --incidents, of
which known incidents and when. Several --budget stand side by side, from one backtest. Routes, quiet hours, the cap,
the rules and a budget are read from the collector's config, or from a file that has no more than these sections;
without --config everybody is told everything, at most 12 messages an hour.

  qad preview STORE --bundle DIR --start 2026-01-05 --end 2026-01-12 --budget 0.1 --budget 0.01 --budget 0.001
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from qad_dl.cli.store import add_store_argument
from qad_dl.cli.table import aligned

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping, Sequence

    from qad_dl.followed import Rules
    from qad_dl.histories import History
    from qad_dl.incidents_file import Incident
    from qad_dl.preview import Preview, Side
    from qad_dl.preview_hits import Heard
    from qad_dl.preview_tape import Sent
    from qad_dl.scorer import Scorer
    from qad_dl.sinks.policy import Policy
    from qad_dl.tuning.file import Tune

NEVER: Final = "-"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_store_argument(parser)
    parser.add_argument(
        "--bundle", type=Path, action="append", required=True, metavar="DIR", help="trained bundle; may be repeated"
    )
    parser.add_argument("--start", required=True, metavar="T", help="first tick, ISO 8601, UTC if no zone is given")
    parser.add_argument("--end", required=True, metavar="T", help="one past the last tick")
    parser.add_argument("--config", type=Path, metavar="FILE", help="the collector's config, or a part of one")
    parser.add_argument(
        "--budget",
        type=float,
        action="append",
        metavar="B",
        help="false alarm episodes per queue and day (the config's, else 0.01); may be repeated",
    )
    parser.add_argument(
        "--rule",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="when an incident is told and when it is over, in place of the config's [rules]: n, m, sure, least_jobs, "
        "recovery, longest; may be repeated",
    )
    parser.add_argument(
        "--group",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="only what concerns a queue with this metadata; may be repeated, then all must hold",
    )
    parser.add_argument(
        "--tune",
        type=Path,
        metavar="FILE",
        help="what `qad tune --out` wrote, in place of what is applied to the bundle",
    )
    parser.add_argument("--incidents", type=Path, metavar="FILE", help="CSV of known incidents")
    parser.add_argument("--format", choices=("table", "json"), default="table", help="how to print (default: table)")


def run(args: argparse.Namespace) -> int:
    """Replay the range under each budget and print."""
    from qad_dl.bundles import label_of
    from qad_dl.errors import ConfigError
    from qad_dl.histories import open_history
    from qad_dl.incidents_file import read_incidents
    from qad_dl.preview import Setting, preview
    from qad_dl.scorer import Scorer
    from qad_dl.timeparse import parse_time

    start, end = parse_time(args.start, "--start"), parse_time(args.end, "--end")
    store = open_history(args.store)
    policies = read_policies(args, store)
    scorers = {label_of(path): Scorer.load(path.resolve()) for path in args.bundle}
    if len(scorers) < len(args.bundle):
        raise ConfigError("--bundle: two of them have the same name; they are told apart by it")
    known = of_group(read_incidents(args.incidents), args.group, store) if args.incidents else ()
    tunes = {label_of(path): tune for path in args.bundle if (tune := _tune(path, scorers, args.tune)) is not None}
    if args.tune and not tunes:
        msg = f"--tune {args.tune}: is for none of the bundles"
        raise ConfigError(msg)
    done = preview(store, scorers, [Setting(policy, tunes) for policy in policies], start, end, known)
    print(json.dumps(as_json(done), indent=1, allow_nan=False) if args.format == "json" else table(done))
    return 0


def _tune(path: Path, scorers: Mapping[str, Scorer], proposed: Path | None) -> Tune | None:
    """What is tuned for the bundle in a folder: as proposed, or as it is applied."""
    from qad_dl.bundles import label_of
    from qad_dl.tuning.file import read_tune, tune_of

    name = scorers[label_of(path)].bundle.name
    return tune_of(path, name) if proposed is None else read_tune(proposed, name)


def read_policies(args: argparse.Namespace, store: History) -> list[Policy]:
    """One policy for each budget, from the config and what the command line says in its place."""
    from qad_dl.preview import restricted
    from qad_dl.sinks.configured import check_rules
    from qad_dl.sinks.policy import Policy, read_policy
    from qad_dl.sinks.routing import Channel

    everybody = (Channel("everybody"),)
    policy = read_policy(args.config) if args.config else Policy(everybody)
    if not policy.channels:
        policy = replace(policy, channels=everybody)
    rules = _with_rules(policy.rules, args.rule)
    check_rules("--rule ", rules)
    channels = restricted(policy.channels, _group(args.group, store))
    policy = replace(policy, rules=rules, channels=channels)
    return [replace(policy, budget=budget) for budget in args.budget or [policy.budget]]


def _with_rules(rules: Rules, given: Sequence[str]) -> Rules:
    from qad_dl.errors import ConfigError

    known = rules._asdict()
    for text in given:
        name, _, value = text.partition("=")
        if name not in known:
            msg = f"--rule {text!r}: no such rule; give one of {', '.join(known)}, like n=3"
            raise ConfigError(msg)
        try:
            rules = rules._replace(**{name: type(known[name])(value)})
        except ValueError:
            msg = f"--rule {text!r}: {value!r} is no {'number' if isinstance(known[name], float) else 'whole number'}"
            raise ConfigError(msg) from None
    return rules


def _group(given: Sequence[str], store: History) -> dict[str, str]:
    """Metadata that are asked for; some queue must have each of them."""
    from qad_dl.errors import ConfigError
    from qad_dl.incidents_file import QUEUE_FIELD

    dumps = store.metadata().dumps
    group = {}
    for text in given:
        field, sep, value = text.partition("=")
        there = any(({QUEUE_FIELD: queue} | dict(r)).get(field) == value for dump in dumps for queue, r in dump.items())
        if not sep or not there:
            msg = f"--group {text!r}: no queue of {store.name} has it; write FIELD=VALUE, as CRIC spells both"
            raise ConfigError(msg)
        group[field] = value
    return group


def of_group(incidents: Sequence[Incident], given: Sequence[str], store: History) -> list[Incident]:
    """The incidents that hit a queue of the group."""
    from qad_dl.incidents_file import QUEUE_FIELD, hit_queues

    group, metadata = _group(given, store), store.metadata()

    def belongs(incident: Incident) -> bool:
        records = metadata.at(incident.start)
        hit = ({QUEUE_FIELD: queue} | dict(records.get(queue, {})) for queue in hit_queues(incident, metadata))
        return any(group.items() <= record.items() for record in hit)

    return [incident for incident in incidents if not group or belongs(incident)]


def as_json(done: Preview) -> dict[str, Any]:
    """The object of `--format json`."""
    from qad_dl.timeparse import format_time

    return {
        "start": format_time(done.start),
        "end": format_time(done.end),
        "days": done.days,
        "rules": done.sides[0].policy.rules._asdict(),
        "budgets": {f"{side.policy.budget:g}": _side_json(side, done) for side in done.sides},
    }


def _side_json(side: Side, done: Preview) -> dict[str, Any]:
    days = _by_day(side)
    return {
        "thresholds": dict(side.thresholds),
        "incidents": len(side.opened),
        "not_known": None if side.strange is None else len(side.strange),
        "messages": len(side.messages),
        "messages_a_day": len(side.messages) / done.days,
        "busiest_day": max(days.items(), key=lambda day: (day[1], day[0]), default=(None, 0)),
        "by_day": days,
        "by_channel": {c.name: sum(s.to == c.name for s in side.sent) for c in side.policy.channels},
        "waiting": side.waiting,
        "sent": [_sent_json(sent) for sent in side.sent],
        "known": [_heard_json(heard) for heard in side.heard],
    }


def _sent_json(sent: Sent) -> dict[str, Any]:
    from qad_dl.timeparse import format_time

    incidents = sorted({news.name for news in sent.news})
    return {"at": format_time(sent.at), "to": sent.to, "subject": sent.subject, "incidents": incidents}


def _heard_json(heard: Heard) -> dict[str, Any]:
    from qad_dl.timeparse import format_time

    incident = heard.incident
    return {
        "incident": incident.incident,
        "kind": incident.kind,
        "field": incident.field,
        "value": incident.value,
        "queues": heard.queues,
        "start": format_time(incident.start),
        "end": format_time(incident.end),
        "told": None if heard.message is None else format_time(heard.message.at),
        "delay_min": heard.delay_min,
        "to": {name: format_time(sent.at) for name, sent in sorted(heard.first.items())},
    }


def table(done: Preview) -> str:
    """For people: budgets side by side, then days, then the known incidents."""
    parts = [_heading(done), _figures(done), _days(done)]
    if any(side.heard for side in done.sides):
        parts.append(_known(done))
    return "\n\n".join(parts)


def _heading(done: Preview) -> str:
    from qad_dl.timeparse import format_time

    rules = done.sides[0].policy.rules
    return (
        f"{format_time(done.start)} to {format_time(done.end)}, {done.days:.1f} days\n"
        f"told after {rules.n} of {rules.m} ticks, or at once from {rules.sure:g} above the threshold; "
        f"from {rules.least_jobs:g} jobs; over after {rules.recovery} ticks"
    )


def _figures(done: Preview) -> str:
    from qad_dl.preview_tape import PEOPLE

    sides = done.sides
    labels = sides[0].thresholds
    rows = [
        _row("false episodes a queue-day", sides, lambda s: f"{s.policy.budget:g}"),
        *((f"flagged from, {label}", *(f"{s.thresholds[label]:.2f}" for s in sides)) for label in labels),
        _row("incidents", sides, lambda s: str(len(s.opened))),
        _row("messages a day", sides, lambda s: f"{len(s.messages) / done.days:.1f}"),
        _row("  on the busiest day", sides, lambda s: str(max(_by_day(s).values(), default=0))),
        _row("  at the busiest hour", sides, lambda s: str(max(_by_hour(s).values(), default=0))),
    ]
    for channel in sides[0].policy.channels:
        what = "" if channel.sink in PEOPLE else (" (alerts)" if channel.sink == "alertmanager" else " (lines)")
        rows.append((f"to {channel.name}{what}", *(str(_to(side, channel.name)) for side in sides)))
    rows.append(_row("news held at the end", sides, lambda s: str(s.waiting)))
    if any(side.heard for side in sides):
        rows += [
            _row("known incidents told", sides, lambda s: f"{sum(bool(h.first) for h in s.heard)} of {len(s.heard)}"),
            _row("  median delay, minutes", sides, _median_delay),
            _row("incidents that are none of them", sides, lambda s: str(len(s.strange or ()))),
        ]
    return aligned(rows)


def _row(name: str, sides: Sequence[Side], cell: Callable[[Side], str]) -> tuple[str, ...]:
    return (name, *(cell(side) for side in sides))


def _to(side: Side, name: str) -> int:
    return sum(sent.to == name for sent in side.sent)


def _median_delay(side: Side) -> str:
    from statistics import median

    delays = [heard.delay_min for heard in side.heard if heard.delay_min is not None]
    return f"{median(delays):.0f}" if delays else NEVER


def _by_day(side: Side) -> dict[str, int]:
    """Messages by UTC day; days without one are not listed."""
    return dict(sorted(Counter(str(sent.at)[:10] for sent in side.messages).items()))


def _by_hour(side: Side) -> Mapping[tuple[str, str], int]:
    """Messages by channel and hour."""
    return Counter((sent.to, str(sent.at)[:13]) for sent in side.messages)


def _days(done: Preview) -> str:
    counted = [_by_day(side) for side in done.sides]
    first, last = done.start.astype("datetime64[D]"), (done.end - 1).astype("datetime64[D]")
    days = [str(first + i) for i in range(int((last - first).astype(int)) + 1)]
    rows = [("messages on", *("" for _ in counted)), *((day, *(str(c.get(day, 0)) for c in counted)) for day in days)]
    return aligned(rows)


def _known(done: Preview) -> str:
    """Each known incident, and after how many minutes somebody would have been told."""
    from qad_dl.timeparse import format_time

    rows = [("known incident", "kind", "what", "start", "queues", *("told after" for _ in done.sides), "whom")]
    for several in zip(*(side.heard for side in done.sides), strict=True):
        incident = several[0].incident
        what = f"{incident.field}={incident.value}" if incident.field else "|".join(incident.queues)
        delays = [NEVER if h.delay_min is None else f"{h.delay_min:.0f} min" for h in several]
        whom = sorted({name for heard in several for name in heard.first})
        first = (incident.incident, incident.kind, what, format_time(incident.start), str(several[0].queues))
        rows.append((*first, *delays, ", ".join(whom)))
    return aligned(rows, left=4)
