"""The words of a message, and names that are shown as they are."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import pytest

from qad_dl.schema import INCIDENT_KINDS
from qad_dl.sinks.message import (
    CLOSED,
    DIGESTED,
    KINDS,
    OPENED,
    PASSED,
    REOPENED,
    UPDATED,
    digest,
    how_sure,
    link_to,
    shown,
    single,
)
from qad_dl.sinks.news import MONITOR, News
from tests.light.made_news import HOSTILE, closed, group, incident, news, trouble

REVIEW = "https://qad.example.org/review"


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_queue() -> None:
    message = single("k", OPENED, news(incident()), REVIEW)
    assert message.title == "[qad] CERN-PROD_1: starting at 0, activated high: pilots?"
    plain = message.plain()
    assert plain.startswith("CERN-PROD_1: since 2026-01-05 03:40 UTC (20 min).\n")
    assert "starting: 0 where about 310 were expected (low)" in plain
    assert "activated: 5,400 where about 1,230 were expected (high)" in plain
    assert "Likely kind: pilots_starve - no pilots arrive" in plain
    assert "a healthy queue scores as high once in 69 days (score 4.0)" in plain
    assert f"plot: {REVIEW}#queue=CERN-PROD_1&from=2026-01-04T15%3A40%3A00Z&to=2026-01-05T04%3A50%3A00Z" in plain


def test_a_group_leads_with_what_its_queues_share() -> None:
    message = single("k", OPENED, news(group()))
    assert message.title == (
        "[qad] harvester=CERN_central_A: 41 of 43 queues: starting at 0, activated high: harvester?"
    )
    assert "Queues, the worst first: Q40, Q39, " in message.plain()
    assert "and 31 more." in message.plain()
    assert "plot" not in message.plain()


@pytest.mark.parametrize(
    ("saying", "begins"),
    [(OPENED, "CERN"), (UPDATED, "Now: "), (CLOSED, "Over: "), (REOPENED, "Back: "), (PASSED, "Over already: ")],
)
def test_the_subject_says_what_happened(saying: str, begins: str) -> None:
    over = saying in {CLOSED, PASSED}
    message = single("k", saying, news(closed(incident()) if over else incident()))
    assert message.title.removeprefix("[qad] ").startswith(begins)
    assert ("from 2026-01-05 03:40 UTC to 2026-01-05 04:00 UTC (20 min)" in message.plain()) == over


def test_a_trouble_is_not_told_as_a_queue() -> None:
    message = single("k", OPENED, trouble())
    assert message.title == "[qad] the collector itself: frozen"
    assert "says nothing of any queue" in message.plain()
    assert "all stock counts are those of 03:30" in message.plain()


def test_what_is_expected_to_fall_is_said() -> None:
    assert "in a downtime" in single("k", OPENED, news(incident(expected=True))).plain()


def test_every_kind_has_words() -> None:
    assert set(KINDS) == {*INCIDENT_KINDS, MONITOR}


@pytest.mark.parametrize(
    ("score", "words"),
    [(1.0, "once in 2 hours"), (3.0, "once in 7 days"), (4.0, "once in 69 days"), (5.0, "once in 23 months"),
     (6.0, "once in 19 years"), (8.0, "less than once in 1000 years"), (300.0, "less than once in 1000 years")],
)  # fmt: skip
def test_a_score_in_words(score: float, words: str) -> None:
    assert how_sure(score) == words


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_shown_and_do_nothing(name: str) -> None:
    made = news(group(value=name, queues=(name, "Q2"), worst=(name,), of=2))
    message = single("k", OPENED, made, REVIEW)
    assert len(message.plain()) < 4000
    assert all(c.isprintable() for c in message.title)
    assert shown(name) in message.title
    calm = Tags()
    calm.feed(single("k", OPENED, news(group(queues=("Q1", "Q2"), worst=("Q1",), of=2)), REVIEW).html())
    tags = Tags()
    tags.feed(message.html())
    assert tags.tags == calm.tags
    assert shown(name) in tags.text
    assert json.loads(json.dumps(made.to_json())) == made.to_json()
    assert News.from_json(json.loads(json.dumps(made.to_json()))) == made
    assert "\n" not in link_to(made.incident, REVIEW)
    assert '"' not in link_to(made.incident, REVIEW)


@pytest.mark.parametrize("name", HOSTILE)
def test_in_markdown_a_name_is_code(name: str) -> None:
    text = single("k", OPENED, news(incident(name))).markdown()
    want = shown(name)
    fence = "`" * (1 + longest_run(want))
    padded = f" {want} " if want.startswith("`") or want.endswith("`") else want
    assert f"{fence}{padded}{fence}" in text
    assert "@" not in text.replace(f"{fence}{padded}{fence}", "")


def longest_run(text: str) -> int:
    best = run = 0
    for c in text:
        run = run + 1 if c == "`" else 0
        best = max(best, run)
    return best


def test_a_state_that_nobody_knows_is_a_name_too() -> None:
    made = incident()
    made = made._replace(figures=(made.figures[0]._replace(state="<b>@all"),))
    message = single("k", OPENED, news(made))
    assert "<b>" not in message.html()
    assert "`<b>@all`" in message.markdown()


def test_a_digest_counts_and_lists() -> None:
    told = [(OPENED, news(incident(f"Q{i}"))) for i in range(DIGESTED)] + [(CLOSED, news(closed(incident("Z"))))]
    message = digest("k", told, REVIEW)
    assert message.title == "[qad] 31 incidents: 30 going on, 1 over"
    assert "Q29" in message.plain()
    assert "and 1 more" in message.plain()


def test_what_is_new_to_the_bundle_is_said() -> None:
    alone = single("k", OPENED, news(incident(unknown_queues=("CERN-PROD_1",), unknown_states=("merging",))))
    assert "This queue is new to the bundle: it is scored as its group is, which is less sure." in alone.plain()
    assert "without a say in the score: jobs in state merging." in alone.plain()
    several = single("k", OPENED, news(group(unknown_queues=tuple(f"Q{i:02d}" for i in range(12)))))
    assert "12 of its 41 queues are new to the bundle and scored as the group is: Q00, Q01," in several.plain()
    assert "Q09 and 2 more." in several.plain()
    one = single("k", UPDATED, news(group(unknown_queues=("<b>",))))
    assert "One of its queues is new to the bundle" in one.plain()
    assert "<b>" not in one.html()
    assert "new to the bundle" not in single("k", OPENED, news(group())).plain()
