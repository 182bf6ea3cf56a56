"""The sections of the collector's config that decide about messages, and what each of them can be.

They are read by every tick; what is made of them (`qad_dl.sinks.policy`) only where there is somebody to be told.
"""

from __future__ import annotations

import re
from collections.abc import Mapping  # noqa: TC003  # looked up where the section is read
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from qad_dl.detection import DEFAULT_BUDGET
from qad_dl.errors import ConfigError
from qad_dl.followed import Rules
from qad_dl.sections import bad, one_of

if TYPE_CHECKING:
    from collections.abc import Sequence

SINKS: Final = ("jsonl", "alertmanager", "mattermost", "apprise", "mail")
"""Sinks that tell, in the order in which they do."""

RULES_MOST: Final = 1008
"""No rule looks further back than the scores that a tick keeps, a week."""


class MessageConfig(NamedTuple):
    """`[message]`: what is told.

    Attributes:
        review_url: address of the review page, for links; no link where it is empty.
    """

    review_url: str = ""


class QuietConfig(NamedTuple):
    """`[quiet]`: hours in which only what is severe is told at once; the rest waits for their end.

    Attributes:
        start, end: time of day, `22:00`; the same for both is never.
        timezone: whose time of day.
        least_score: from this score on it is told all the same.
    """

    start: str = "00:00"
    end: str = "00:00"
    timezone: str = "UTC"
    least_score: float = 8.0


class CapConfig(NamedTuple):
    """`[cap]`: at most so many messages; what is more comes as one digest.

    Attributes:
        per_hour: messages per channel and hour; 0 is no cap.
    """

    per_hour: int = 12


class RouteConfig(NamedTuple):
    """`[[route]]`: who is told what. All routes that match count, and nobody is told twice.

    A sink without a route is told everything. The collector's own troubles go to a sink's own recipients, unless one
    of its routes matches everything or `kind = "monitor"`.

    Attributes:
        sink: `mail`, `mattermost`, `alertmanager`, `jsonl` or `apprise`.
        match: metadata that a queue of the incident must have, for example `{cloud = "DE"}`, all of them; or `kind`,
            `bundle`, `panda_queue`. Everything where empty.
        to: recipients (mail), channel (mattermost); those of the sink where empty.
    """

    sink: str
    match: Mapping[str, str] = MappingProxyType({})
    to: tuple[str, ...] = ()


class PolicyConfig(NamedTuple):
    """The sections that make up a policy.

    Attributes:
        budget: false alarm episodes per queue and day that flags are set to.
        path: the file.
    """

    budget: float = DEFAULT_BUDGET
    rules: Rules = Rules()
    message: MessageConfig = MessageConfig()
    quiet: QuietConfig = QuietConfig()
    cap: CapConfig = CapConfig()
    route: tuple[RouteConfig, ...] = ()
    path: Path = Path()


def check_policy(path: Path, config: PolicyConfig, sinks: Mapping[str, Sequence[str]]) -> None:
    """What one key alone does not show.

    Args:
        path: the file, for messages.
        config: the sections.
        sinks: the recipients of each that is there.

    Raises:
        ConfigError: routes name sinks that are not given, hours are no hours, rules cannot be met.
    """
    if not 0 < config.budget <= 1:
        raise bad(path, "budget", f"is {config.budget}; give episodes per queue and day, 0.01 or so")
    if not 0 <= config.cap.per_hour <= 10000:
        raise bad(path, "cap.per_hour", f"is {config.cap.per_hour}; it can be 0 to 10000")
    for number, route in enumerate(config.route, 1):
        told = tuple(name for name in SINKS if name in sinks)
        one_of(path, f"route {number}: sink", route.sink, told, "nothing: no sink is given")
    asked = [("sink.mail.to", to) for to in sinks.get("mail", ())]
    asked += [("route: to", to) for route in config.route if route.sink == "mail" for to in route.to]
    for key, address in asked:
        check_mail_address(path, key, address)
    _check_quiet(path, config.quiet)
    check_rules(f"{path}: rules.", config.rules)


def check_mail_address(path: Path, key: str, address: str) -> None:
    """Check that mail can be sent there.

    Raises:
        ConfigError: it is no address.
    """
    if not re.fullmatch(r"[^@\s<>,;]+@[^@\s<>,;]+", address):
        raise bad(path, key, f"is {address!r}; write an address like name@example.org")


def _check_quiet(path: Path, quiet: QuietConfig) -> None:
    for name in ("start", "end"):
        if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", getattr(quiet, name)):
            raise bad(path, f"quiet.{name}", f"is {getattr(quiet, name)!r}; write a time like 22:00")
    if quiet.start == quiet.end:  # a host without time zones does without quiet hours
        return
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        ZoneInfo(quiet.timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        msg = f"is {quiet.timezone!r}, which is no time zone; write one like Europe/Zurich"
        raise bad(path, "quiet.timezone", msg) from error


def check_rules(where: str, rules: Rules) -> None:
    """Check that rules can be met.

    Args:
        where: what stands before the name of a rule in a message.
        rules: any.

    Raises:
        ConfigError: one is out of its range.
    """
    least = {"n": 1, "m": rules.n, "sure": 0, "least_jobs": 0, "recovery": 1, "longest": rules.recovery}
    least["memory"] = rules.longest
    for name, low in least.items():
        value = getattr(rules, name)
        if not low <= value <= RULES_MOST:
            msg = f"{where}{name} is {value}; it can be {low} to {RULES_MOST}"
            raise ConfigError(msg)
