"""What Prometheus gets to know of a tick: a textfile for the node exporter, or a push to a gateway.

Every metric is a gauge of the last tick, written whole at its end, so that `qad_tick_success_timestamp_seconds` ages
when ticks stop: `serving/prometheus-rules.yml` turns that into the dead man's alert.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from qad_dl.atomic import replace_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    import requests

CONNECT_S: Final = 5.0
READ_S: Final = 10.0


class Gauge(NamedTuple):
    """One metric.

    Attributes:
        name: with its unit at the end.
        help: one line.
        values: labels, as (name, value) pairs, to the value.
    """

    name: str
    help: str
    values: Mapping[tuple[tuple[str, str], ...], float]

    @classmethod
    def single(cls, name: str, text: str, value: float) -> Gauge:
        """Without labels."""
        return cls(name, text, {(): value})

    @classmethod
    def by(cls, name: str, text: str, label: str, values: Mapping[str, float]) -> Gauge:
        """By one label."""
        return cls(name, text, {((label, key),): value for key, value in values.items()})


def format_gauges(gauges: Iterable[Gauge]) -> str:
    """The text format of Prometheus, version 0.0.4."""
    lines = []
    for gauge in gauges:
        lines += [f"# HELP {gauge.name} {_escape(gauge.help)}", f"# TYPE {gauge.name} gauge"]
        lines += [f"{gauge.name}{_labels(labels)} {value!r}" for labels, value in gauge.values.items()]
    return "\n".join(lines) + "\n"


def write_textfile(path: Path, gauges: Iterable[Gauge]) -> None:
    """Write the file that the node exporter reads, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, format_gauges(gauges).encode())
    path.chmod(0o644)  # the exporter is another user


def push(session: requests.Session, url: str, job: str, gauges: Iterable[Gauge]) -> None:
    """Put the metrics of `job` at a pushgateway in place of those of the last tick.

    Raises:
        requests.RequestException: it does not answer, or refuses.
    """
    answer = session.put(
        f"{url.rstrip('/')}/metrics/job/{job}",
        data=format_gauges(gauges).encode(),
        headers={"Content-Type": "text/plain; version=0.0.4"},
        timeout=(CONNECT_S, READ_S),
    )
    answer.raise_for_status()


def _labels(labels: Iterable[tuple[str, str]]) -> str:
    pairs = [f'{name}="{_escape(value)}"' for name, value in labels]
    return "{" + ",".join(pairs) + "}" if pairs else ""


def _escape(text: str) -> str:
    """As the format wants it in label values; in help texts quotes may be escaped, too."""
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
