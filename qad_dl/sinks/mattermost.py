"""Mattermost: an incoming webhook."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from qad_dl.sinks.message import Message
    from qad_dl.sinks.post import Poster

LONGEST: Final = 4000
"""Characters of a post that every version of Mattermost takes."""


@dataclass(frozen=True)
class MattermostSink:
    """A webhook.

    Attributes:
        poster: its address.
        channel: instead of the webhook's own; that where it is empty.
    """

    poster: Poster
    channel: str = ""

    def send(self, message: Message) -> str:
        """Post a message; '' since there is nothing to complain of.

        Raises:
            SinkError: it is refused, or nobody answers.
        """
        text = message.markdown()
        if len(text) > LONGEST:  # at the end of a paragraph, so that no code span stays open
            text = text[: text.rindex("\n\n", 0, LONGEST - 2)] + "\n\n…"
        self.poster.post({"text": text, **({"channel": self.channel} if self.channel else {})})
        return ""

    def check(self) -> None:
        """See whether it is there; whether it knows the webhook shows only when one posts. Raises as `send`."""
        self.poster.check(readable=False)
