"""What is to be told waits in the outbox, one file for each piece of news, until every sink has had it."""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, Any

from qad_dl.atomic import create_file, replace_file
from qad_dl.timeparse import format_time

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from serving.config import Config
    from serving.follow import News


def queue(folder: Path, news: Iterable[News], config: Config) -> None:
    """Put news into the outbox; news that is there already stays as it is."""
    folder.mkdir(parents=True, exist_ok=True)
    sinks = [name for name in ("jsonl",) if getattr(config.sink, name) is not None]
    for item in news:
        digest = hashlib.sha256(item.key.encode()).hexdigest()[:16]
        name = f"{format_time(item.tick).replace(':', '')}-{digest}.json"
        create_file(folder / name, json.dumps({"sinks": sinks, "told": _told(item)}, ensure_ascii=False).encode())


def deliver(folder: Path, config: Config) -> dict[str, int]:
    """Give every sink what waits for it, oldest first; how much is left for each."""
    left: dict[str, int] = {}
    for path in sorted(folder.glob("2*.json")) if folder.is_dir() else ():
        item = json.loads(path.read_bytes())
        if config.sink.jsonl is not None and "jsonl" in item["sinks"]:
            _append(config.sink.jsonl.path, item["told"])
            item["sinks"].remove("jsonl")
        for sink in item["sinks"]:
            left[sink] = left.get(sink, 0) + 1
        if item["sinks"]:
            replace_file(path, json.dumps(item, ensure_ascii=False).encode())
        else:
            path.unlink()
    return left


def _told(item: News) -> dict[str, Any]:
    return {
        "key": item.key,
        "bundle": item.label,
        "tick": format_time(item.tick),
        "action": item.transition.action,
        "text": item.text,
        **{"incident" if k == "id" else k: v for k, v in item.transition.incident.to_json().items()},
    }


def _append(path: Path, told: dict[str, Any]) -> None:
    """Add a line, unless it is the last already: we may have been killed just after we wrote it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(told, ensure_ascii=False) + "\n"
    with path.open("a+", encoding="utf-8") as file:
        file.seek(0)
        lines = file.readlines()
        if lines and lines[-1] == line:
            return
        if lines and not lines[-1].endswith("\n"):
            file.write("\n")
        file.write(line)
        file.flush()
        os.fsync(file.fileno())
