"""E-mail by SMTP. All messages on one incident are one thread, and one that is sent twice has one Message-ID."""

from __future__ import annotations

import hashlib
import smtplib
import ssl
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from typing import TYPE_CHECKING, Final

from qad_dl.errors import SinkAccessError, SinkDownError, SinkError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path

    from qad_dl.sinks.message import Message

TIMEOUT_S: Final = 30.0
TLS: Final = ("none", "starttls", "tls")


@dataclass(frozen=True)
class MailSink:
    """A mail server, and who is written to.

    Attributes:
        host, port: of the server.
        sender: the collector's address.
        to: recipients.
        clock: gives the time for `Date`, aware.
        user, password: where the server wants any.
        tls: one of `TLS`.
        ca_file: certificates to trust instead of the system's.
    """

    host: str
    port: int
    sender: str
    to: tuple[str, ...]
    clock: Callable[[], datetime]
    user: str = ""
    password: str = field(default="", repr=False)
    tls: str = "none"
    ca_file: Path | None = None

    def send(self, message: Message) -> str:
        """Send a message; recipients that the server refuses, in one line, or ''.

        Raises:
            SinkError: it is refused as a whole, or the server is not to be had.
        """
        with self._told(), self._connected() as server:
            refused = server.send_message(self.compose(message))
        if not refused:
            return ""
        return f"mail server {self._server}: refuses the recipients {', '.join(sorted(refused))}"

    def check(self) -> None:
        """See whether the server would take a message from us to all recipients, without sending one.

        Raises:
            SinkError: as `send`, and where it refuses a recipient.
        """
        with self._told(), self._connected() as server:
            server.ehlo_or_helo_if_needed()
            code, said = server.mail(self.sender)
            if code >= 400:
                raise smtplib.SMTPSenderRefused(code, said, self.sender)
            answers = {to: server.rcpt(to) for to in self.to}
            refused = {to: answer for to, answer in answers.items() if answer[0] >= 400}
            if refused:
                raise smtplib.SMTPRecipientsRefused(refused)
            server.rset()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What goes wrong in the block, in one line."""
        try:
            yield
        except (smtplib.SMTPAuthenticationError, smtplib.SMTPNotSupportedError) as error:
            msg = f"mail server {self._server}: refuses the user ({_said(error)})"
            raise SinkAccessError(msg) from None
        except (smtplib.SMTPRecipientsRefused, smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as error:
            msg = f"mail server {self._server}: refuses a message ({_said(error)})"
            raise SinkError(msg) from error
        except ssl.SSLCertVerificationError as error:
            msg = f"mail server {self._server}: its certificate is not trusted ({error.verify_message}); see ca_file"
            raise SinkAccessError(msg) from error
        except (OSError, smtplib.SMTPException) as error:
            msg = f"mail server {self._server}: {_said(error)}"
            raise SinkDownError(msg) from error

    def compose(self, message: Message) -> EmailMessage:
        """The mail: plain text and HTML."""
        mail = EmailMessage()
        mail["Subject"] = message.title
        mail["From"] = Address("queue anomaly detection", addr_spec=self.sender)
        mail["To"] = ", ".join(self.to)
        mail["Date"] = format_datetime(self.clock())
        mail["Message-ID"] = self._id(message.thread if message.first else message.key)
        if message.thread and not message.first:
            mail["In-Reply-To"] = mail["References"] = self._id(message.thread)
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday replies
        mail.set_content(message.plain())
        mail.add_alternative(message.html(), subtype="html")
        return mail

    def _connected(self) -> smtplib.SMTP:
        context = ssl.create_default_context(cafile=None if self.ca_file is None else str(self.ca_file))
        if self.tls == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(self.host, self.port, timeout=TIMEOUT_S, context=context)
        else:
            server = smtplib.SMTP(self.host, self.port, timeout=TIMEOUT_S)
        try:
            if self.tls == "starttls":
                server.starttls(context=context)
            if self.user:
                server.login(self.user, self.password)
        except BaseException:
            server.close()
            raise
        return server

    def _id(self, key: str) -> str:
        digest = hashlib.sha256(f"{key} {' '.join(self.to)}".encode(errors="surrogatepass")).hexdigest()[:32]
        return f"<{digest}@{self.sender.rpartition('@')[2]}>"

    @property
    def _server(self) -> str:
        return f"{self.host}:{self.port}"


def _said(error: Exception) -> str:
    text = " ".join(str(error).split())[:160]
    return text or type(error).__name__
