"""Who is told what, when, and from which score on: the part of the collector's config that decides about messages.

The tick reads it with the rest of its config, `qad preview` alone, from the same file or from one that holds no more
than these sections:

```
budget = 0.01           [quiet]         [[route]]       [sink.mail]
                        [cap]           [rules]         to = [...]
```
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, time, tzinfo
from typing import TYPE_CHECKING, Any

from qad_dl.detection import DEFAULT_BUDGET
from qad_dl.followed import Rules
from qad_dl.sections import Reader, bad, read_document
from qad_dl.sinks.configured import SINKS, CapConfig, PolicyConfig, check_policy
from qad_dl.sinks.routing import Channel, Quiet, Route, channels_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from qad_dl.sinks.configured import QuietConfig


@dataclass(frozen=True)
class Policy:
    """What decides about messages, ready to use.

    Attributes:
        channels: all ends of all sinks.
        quiet: the quiet hours.
        per_hour: messages per channel and hour; 0 is no cap.
        rules: when an incident is told, and when it is over.
        budget: false alarm episodes per series and day.
        review_url: address of the review page.
    """

    channels: tuple[Channel, ...]
    quiet: Quiet = field(default_factory=Quiet)
    per_hour: int = CapConfig().per_hour
    rules: Rules = field(default_factory=Rules)
    budget: float = DEFAULT_BUDGET
    review_url: str = ""


def policy_of(config: PolicyConfig, sinks: Mapping[str, Sequence[str]]) -> Policy:
    """The policy with some sinks.

    Args:
        config: the sections.
        sinks: the recipients of each that is there; none where it has but one end.
    """
    own = {name: tuple(sinks[name]) for name in SINKS if name in sinks}
    quiet = config.quiet
    return Policy(
        channels_of(own, [Route(route.sink, route.match, route.to) for route in config.route]),
        Quiet(time.fromisoformat(quiet.start), time.fromisoformat(quiet.end), _zone(quiet), quiet.least_score),
        config.cap.per_hour,
        config.rules,
        config.budget,
        config.message.review_url,
    )


def read_policy(path: Path) -> Policy:
    """Read the policy of a collector's config; no other section of it is looked at, and no secret.

    Raises:
        ConfigError: one line with the file, the key, and what is wrong with it.
    """
    document = read_document(path)
    known = set(PolicyConfig._fields) - {"path"}
    given = {name: value for name, value in document.items() if name in known}
    config: PolicyConfig = Reader(path, {}).section(PolicyConfig, given, "")
    sinks = _sinks(path, document.get("sink", {}))
    check_policy(path, config, sinks)
    return policy_of(config, sinks)


def _sinks(path: Path, tables: Any) -> dict[str, tuple[str, ...]]:
    """Recipients by sink, of the tables [sink.NAME]."""
    if not isinstance(tables, dict):
        raise bad(path, "sink", "must be sections like [sink.mail]")
    sinks: dict[str, tuple[str, ...]] = {}
    for name in SINKS:
        if name in tables:
            to = tables[name].get("to", []) if isinstance(tables[name], dict) else None
            if not isinstance(to, list) or not all(isinstance(t, str) for t in to):
                raise bad(path, f"sink.{name}.to", "must be a list of recipients")
            sinks[name] = tuple(to)
    return sinks


def _zone(quiet: QuietConfig) -> tzinfo:
    """A time zone; UTC also where the machine has no list of them."""
    if quiet.timezone == "UTC" or quiet.start == quiet.end:
        return UTC
    from zoneinfo import ZoneInfo

    return ZoneInfo(quiet.timezone)
