"""Times as users write them: ISO 8601, UTC where no zone is given."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from qad_dl.errors import ConfigError


def parse_time(text: str, what: str = "time") -> np.datetime64:
    """Read an ISO 8601 time as UTC `datetime64[s]` (fractions of a second are dropped).

    Args:
        text: for example `2026-11-23`, `2026-11-23 03:40`, `2026-11-23T03:40:00+01:00`.
        what: what the time is for; named in the error.

    Raises:
        ConfigError: `text` is not an ISO 8601 time.
    """
    try:
        parsed = datetime.fromisoformat(text.strip())
    except ValueError as error:
        msg = f"{what}: {text!r} is not an ISO 8601 time; write 2026-11-23T03:40 (UTC) or 2026-11-23T03:40+01:00"
        raise ConfigError(msg) from error
    aware = parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    return np.datetime64(aware.replace(tzinfo=None), "s")


def format_time(time: np.datetime64) -> str:
    """Write a UTC time as `2026-11-23T03:40:00Z`."""
    return f"{time.astype('datetime64[s]')}Z"
