"""The words: which queue or group, since when, what is high or low against what was expected, how sure, and why.

A message is built once, as paragraphs of pieces of which some are names from outside, and written as plain text, HTML
or Markdown. Names are escaped by each of them in its own way and shown as they are: control characters are shown by
their escapes, and what is longer than `LONGEST` is cut with a mark.
"""

from __future__ import annotations

import html
import re
import unicodedata
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlencode, urlsplit

import numpy as np

from qad_dl.incidents_file import QUEUE_FIELD
from qad_dl.schema import TICK_MINUTES
from qad_dl.sinks.news import MONITOR
from qad_dl.timeparse import format_time

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qad_dl.followed import Figure, Followed
    from qad_dl.sinks.news import News

LONGEST: Final = 200
"""Characters of a name that are shown."""

LISTED: Final = 10
"""Queues of a group that are listed by name."""

DIGESTED: Final = 30
"""Incidents that a digest lists one by one."""

OPENED, UPDATED, CLOSED, REOPENED, PASSED = "opened", "updated", "closed", "reopened", "passed"
"""What a message says of an incident; `passed` is one that was over before anybody was told."""

HEADINGS: Final[Mapping[str, str]] = {
    OPENED: "",
    UPDATED: "Now: ",
    CLOSED: "Over: ",
    REOPENED: "Back: ",
    PASSED: "Over already: ",
}

KINDS: Final[Mapping[str, tuple[str, str]]] = {
    "site_down": ("site down?", "the site stopped working: jobs no longer finish"),
    "pilots_starve": ("pilots?", "no pilots arrive, at the site's CE or from the harvester: jobs wait as activated"),
    "harvester_down": ("harvester?", "a harvester instance submits no pilots: all its queues starve"),
    "black_hole": ("black-hole node?", "a broken worker node takes job after job and fails them at once"),
    "bad_task": ("bad task?", "jobs of one task fail wherever they run: the queues are not to blame"),
    "storage_writes": ("storage?", "the storage refuses writes: output piles up behind finished work"),
    "transfer_backlog": ("transfers?", "transfers of output lag behind (FTS or the nucleus)"),
    "input_stuck": ("input transfers?", "input does not arrive: jobs wait as assigned"),
    "frontier": ("frontier or CVMFS?", "jobs fail early: conditions data or software cannot be had"),
    "brokerage_stop": ("brokerage?", "the brokerage sends no new jobs"),
    "slots_lost": ("slots lost?", "the batch system gives fewer slots than before"),
    "central": ("central services?", "a central service has a problem: many queues at once"),
    "rollout": ("new version?", "failures came with a new pilot or container version"),
    "other": ("", ""),
    MONITOR: ("", ""),
}
"""Per kind the likely cause as a question, and in a sentence."""


class Name(NamedTuple):
    """A piece of text that comes from outside."""

    text: str


class Link(NamedTuple):
    """An address, and what it is called."""

    url: str
    text: str


Paragraph = tuple["str | Name | Link", ...]


class Message(NamedTuple):
    """What one message says.

    Attributes:
        key: the same for the same news.
        subject: one line.
        paragraphs: the body.
        thread: key that all messages on one incident share; '' where it is a digest.
        first: whether it begins the thread.
    """

    key: str
    subject: Paragraph
    paragraphs: tuple[Paragraph, ...]
    thread: str = ""
    first: bool = False

    @property
    def title(self) -> str:
        """The subject as plain text."""
        return _plain(self.subject)

    def plain(self) -> str:
        """The body as plain text."""
        return "\n\n".join(_plain(paragraph) for paragraph in self.paragraphs) + "\n"

    def html(self) -> str:
        """The body as an HTML document."""
        body = "\n".join(f"<p>{_html(paragraph)}</p>" for paragraph in self.paragraphs)
        return (
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"></head>'
            f'<body style="font-family: sans-serif">\n{body}\n</body></html>\n'
        )

    def markdown(self) -> str:
        """Subject and body as Markdown."""
        return "\n\n".join([f"**{_markdown(self.subject)}**", *(_markdown(p) for p in self.paragraphs)])


def single(key: str, saying: str, news: News, review_url: str = "") -> Message:
    """The message on one incident.

    Args:
        key: of the message.
        saying: one of `HEADINGS`.
        news: the newest of the incident.
        review_url: address of the review page; no link where it is empty.
    """
    told = _of_monitor(saying, news) if news.incident.kind == MONITOR else _of_queues(saying, news, review_url)
    return Message(key, ("[qad] ", *headline(saying, news)), told, news.name, saying in {OPENED, PASSED})


def digest(key: str, told: Sequence[tuple[str, News]], review_url: str = "") -> Message:
    """The message on several incidents at once.

    Args:
        key: of the message.
        told: what is said of each, and its newest news; the most important first.
        review_url: address of the review page.
    """
    going = sum(news.incident.open for _, news in told)
    subject = (f"[qad] {_count(len(told), 'incident')}: {going} going on, {len(told) - going} over",)
    lines: list[Paragraph] = [
        ("- ", *headline(saying, news), f", {_when(news.incident)}", *_link(news.incident, review_url, " "))
        for saying, news in told[:DIGESTED]
    ]
    if len(told) > DIGESTED:
        lines.append((f"- and {len(told) - DIGESTED} more, of lower rank",))
    return Message(key, subject, (("These came together, or in quiet hours:",), *lines))


def headline(saying: str, news: News) -> Paragraph:
    """Who and what, in one line."""
    incident = news.incident
    if incident.kind == MONITOR:
        return (HEADINGS[saying], "the collector itself: ", Name(incident.value))
    what = [piece for figure in incident.figures for piece in (", ", *_short(figure))][1:]
    if not what:
        what = [Name(incident.state), f" {incident.direction}"] if incident.state else ["unusual"]
    cause = KINDS.get(incident.kind, ("", ""))[0]
    return (HEADINGS[saying], *_who(incident), ": ", *what, f": {cause}" if cause and incident.open else "")


def how_sure(score: float, minutes: int = TICK_MINUTES) -> str:
    """What a score means: how long a healthy queue takes, in the mean, to have one as high (interfaces, section 5)."""
    hours = 10.0 ** min(score, 9.0) * minutes / 60
    for unit, length, most in (("hour", 1.0, 48.0), ("day", 24.0, 24 * 90.0), ("month", 730.5, 24 * 730.0)):
        if hours < most:
            return f"once in {_count(max(1, round(hours / length)), unit)}"
    years = hours / 8766
    return f"once in {_count(round(years), 'year')}" if years < 1000 else "less than once in 1000 years"


def shown(text: str, longest: int = LONGEST) -> str:
    r"""A name for people to read: control characters by their escapes, `\n`; cut where it is very long."""
    cut = text if len(text) <= longest else f"{text[:longest]}… ({len(text)} characters)"
    return "".join(c if unicodedata.category(c)[0] != "C" else _escaped(c) for c in cut)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def link_to(incident: Followed, review_url: str) -> str:
    """Address of an incident on the review page, from 12 h before it; '' without a review page.

    It also names the worst queue, which a page that does not hold the incident shows in its place.
    """
    if not review_url or not incident.queues:
        return ""
    queue = incident.worst[0] if incident.worst else incident.queues[0]
    if len(queue) > LONGEST:
        return review_url  # no channel takes such an address; the page lists the queue
    start, end = incident.start - np.timedelta64(12, "h"), incident.last + np.timedelta64(1, "h")
    page = review_url if urlsplit(review_url).path else f"{review_url}/"  # Alertmanager takes no other
    time = {"from": format_time(start), "to": format_time(end)}
    view = {"incident": incident.id, "worst": queue, **time} if incident.group else {"queue": queue, **time}
    return f"{page}#{urlencode(view)}"


def _of_queues(saying: str, news: News, review_url: str) -> tuple[Paragraph, ...]:
    incident = news.incident
    paragraphs: list[Paragraph] = [(*_who(incident), f": {_when(incident)}.")]
    paragraphs += [_sentence(figure) for figure in incident.figures]
    cause = KINDS.get(incident.kind, ("", ""))[1]
    if cause:
        paragraphs.append((f"Likely kind: {incident.kind} - {cause}.",))
    paragraphs.append((f"How sure: a healthy queue scores as high {how_sure(incident.score)}", *_together(incident)))
    if news.place is not None:
        paragraphs.append((f"Reviewers called about {100 * news.place.chance:.0f} % of such incidents a problem.",))
    if incident.expected:
        paragraphs.append(("Not online or in a downtime: falls are expected and do not count here.",))
    if incident.group:
        paragraphs.append(_queues(incident))
    paragraphs += _unknown(incident)
    if saying == REOPENED:
        paragraphs.append((f"It was over and has come back {_count(incident.reopened, 'time')}.",))
    paragraphs += [link] if (link := _link(incident, review_url, "")) else []
    return (*paragraphs, ("Incident ", Name(incident.id), ", bundle ", Name(news.label)))


def _of_monitor(saying: str, news: News) -> tuple[Paragraph, ...]:
    incident = news.incident
    state = "is over" if saying in {CLOSED, PASSED} else "goes on"
    return (
        ("The collector has a trouble of its own, which says nothing of any queue: ", Name(incident.value), "."),
        (Name(news.text),),
        (f"It {state}: {_when(incident)}.",),
        ("Incident ", Name(incident.id)),
    )


def _who(incident: Followed) -> Paragraph:
    if not incident.group:
        return () if incident.field == MONITOR else _own_name(incident)
    return (incident.field, "=", Name(incident.value), f": {len(incident.queues)} of {_of(incident)} queues")


def _own_name(incident: Followed) -> Paragraph:
    return (Name(incident.value),) if incident.field == QUEUE_FIELD else (incident.field, "=", Name(incident.value))


def _of(incident: Followed) -> int:
    """Queues with the value; members that have moved to another one since still count."""
    return max(incident.of, len(incident.queues))


def _when(incident: Followed) -> str:
    end = incident.last + np.timedelta64(TICK_MINUTES, "m")
    length = _duration(int((end - incident.start).astype(np.int64)) // 60)
    if incident.open:
        return f"since {_moment(incident.start)} ({length})"
    return f"from {_moment(incident.start)} to {_moment(end)} ({length})"


def _together(incident: Followed) -> Paragraph:
    if not incident.group:
        return (f" (score {incident.score:.1f}).",)
    return (f" (highest score {incident.score:.1f}), and here {len(incident.queues)} do it together.",)


def _queues(incident: Followed) -> Paragraph:
    ranked = [*incident.worst, *(q for q in incident.queues if q not in set(incident.worst))]
    return ("Queues, the worst first: ", *_listed(ranked), ".")


def _listed(names: Sequence[str]) -> Paragraph:
    """The first of some names, and how many more there are."""
    pieces = [piece for name in names[:LISTED] for piece in (", ", Name(name))][1:]
    more = len(names) - LISTED
    return (*pieces, f" and {more} more") if more > 0 else tuple(pieces)


def _unknown(incident: Followed) -> list[Paragraph]:
    """What the bundle was not trained on: what it says of that is worth less."""
    found: list[Paragraph] = []
    queues, states = incident.unknown_queues, incident.unknown_states
    if queues and len(incident.queues) == 1:
        found.append(("This queue is new to the bundle: it is scored as its group is, which is less sure.",))
    elif queues:
        of = f"{len(queues)} of its {len(incident.queues)} queues are" if len(queues) > 1 else "One of its queues is"
        found.append((f"{of} new to the bundle and scored as the group is: ", *_listed(queues), "."))
    if states:
        found.append(("New to the bundle, and without a say in the score: jobs in state ", *_listed(states), "."))
    return found


def _link(incident: Followed, review_url: str, before: str) -> Paragraph:
    url = link_to(incident, review_url)
    return (before, Link(url, "plot")) if url else ()


def _short(figure: Figure) -> Paragraph:
    return (Name(figure.state), " at 0" if round(figure.observed) == 0 else f" {figure.direction}")


def _sentence(figure: Figure) -> Paragraph:
    told = f": {_jobs(figure.observed)} where about {_jobs(figure.expected)} were expected ({figure.direction})"
    return (Name(figure.state), told)


def _jobs(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}".removesuffix(".0")


def _count(number: int, unit: str) -> str:
    return f"{number} {unit}{'' if number == 1 else 's'}"


def _moment(time: np.datetime64) -> str:
    return f"{str(time.astype('datetime64[m]')).replace('T', ' ')} UTC"


def _duration(minutes: int) -> str:
    hours, left = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    return " ".join(
        part for part in (f"{hours} h" if hours else "", f"{left} min" if left or not hours else "") if part
    )


def _plain(paragraph: Paragraph) -> str:
    return "".join(
        shown(p.text) if isinstance(p, Name) else f"{p.text}: {p.url}" if isinstance(p, Link) else p for p in paragraph
    )


def _html(paragraph: Paragraph) -> str:
    def written(piece: str | Name | Link) -> str:
        if isinstance(piece, Name):
            return f"<code>{html.escape(shown(piece.text))}</code>"
        if isinstance(piece, Link):
            return f'<a href="{html.escape(piece.url)}">{html.escape(piece.text)}</a>'
        return html.escape(piece)

    return "".join(map(written, paragraph))


def _markdown(paragraph: Paragraph) -> str:
    def written(piece: str | Name | Link) -> str:
        if isinstance(piece, Name):
            return _code(shown(piece.text))
        if isinstance(piece, Link):
            return f"[{piece.text}](<{piece.url.replace('<', '%3C').replace('>', '%3E')}>)"
        return re.sub(r"([\\`*_\[\]#|~<>])", r"\\\1", piece)

    return "".join(map(written, paragraph))


def _code(text: str) -> str:
    """A code span: nothing in it is a mention, a link or HTML. Its fence is longer than any run of ` inside."""
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    padding = " " if text.startswith("`") or text.endswith("`") or not text.strip() else ""
    return f"{fence}{padding}{text}{padding}{fence}"
