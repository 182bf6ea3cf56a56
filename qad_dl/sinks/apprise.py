"""Any other channel, by the library apprise (the extra `apprise`): Slack, Telegram, ntfy, SMS, ..."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from qad_dl.errors import ConfigError, SinkDownError

if TYPE_CHECKING:
    from qad_dl.sinks.message import Message


@dataclass(frozen=True)
class AppriseSink:
    """Channels by apprise's addresses.

    Attributes:
        urls: the addresses; they hold secrets.
    """

    urls: tuple[str, ...] = field(repr=False)

    def send(self, message: Message) -> str:
        """Send a message to all of them; '' since apprise says no more than that it went wrong.

        Raises:
            ConfigError: apprise is not installed, or does not know an address.
            SinkDownError: one of them did not take it.
        """
        if not self._channels().notify(title=message.title, body=message.plain(), body_format="text"):
            raise SinkDownError("apprise: a channel did not take a message; apprise's own log says which")
        return ""

    def check(self) -> None:
        """See whether apprise is here and knows all addresses; `ConfigError` if not. Nobody is asked."""
        self._channels()

    def _channels(self) -> Any:
        try:
            from apprise import Apprise
        except ImportError as error:
            msg = "sink.apprise: apprise is not installed; pip install -c constraints.txt 'qad-dl[apprise]'"
            raise ConfigError(msg) from error
        channels = Apprise()
        for number, url in enumerate(self.urls, 1):
            if not channels.add(url):
                msg = f"sink.apprise: apprise does not know the address on line {number} of urls"
                raise ConfigError(msg)
        return channels
