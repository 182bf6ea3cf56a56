"""The page itself: one HTML file that asks nobody for anything, works from `file://` and forbids itself the network."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from qad_dl.errors import ConfigError
from qad_dl.progress import progress
from qad_dl.review.data import build_index, choose_quanta, pack_all, ranking

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qad_dl.downtimes import Downtime
    from qad_dl.metadata import Record
    from qad_dl.results import Results

SCRIPTS: Final = ("codec.js", "words.js", "shade.js", "plots.js", "list.js", "page.js")
"""Our scripts, in the order in which they build on each other."""


def load_uplot() -> tuple[str, str]:
    """The script and the style sheet of uPlot, as the installed package `uplot-python` ships them.

    Raises:
        ConfigError: the package is not installed or does not hold them.
    """
    spec = importlib.util.find_spec("uplot")  # found, not imported: importing it would start IPython
    places = list(spec.submodule_search_locations or []) if spec else []
    static = Path(places[0]) / "static" if places else Path("uplot/static")
    script, style = static / "uPlot.iife.js", static / "uPlot.min.css"
    if not (script.is_file() and style.is_file()):
        msg = "review: the plots need the package uplot-python; install it with pip install 'qad-dl[review]'"
        raise ConfigError(msg)
    return script.read_text(encoding="utf-8"), style.read_text(encoding="utf-8")


def build_page(
    results: Results,
    metadata: Mapping[str, Record],
    downtimes: Sequence[Downtime],
    title: str,
    uplot_js: str,
    uplot_css: str,
) -> str:
    """Build the page of a backtest; the same arguments give the same page.

    Args:
        results: scores with details.
        metadata: queue -> its metadata at the end of the range.
        downtimes: declared downtimes.
        title: what is shown, in a line.
        uplot_js: uPlot's script (`load_uplot`).
        uplot_css: its style sheet.

    Raises:
        InputError: the results have no details, no series or no ticks.
    """
    order = ranking(results)
    index, fields = build_index(results, metadata, downtimes, order)
    quanta = choose_quanta(results, fields, order)
    blocks = progress(pack_all(results, fields, order, quanta), "page", total=len(order), unit=" queues")
    packed = "".join(f'<script type="text/plain" id="d{row}">{block}</script>\n' for row, block in enumerate(blocks))
    steps = {name: [quantum.unit, quantum.linear] for name, quantum in quanta.items()}
    return render(
        {**index, "quanta": steps, "title": title}, packed, own("page.html"), script(uplot_js), style(uplot_css)
    )


def script(uplot_js: str) -> str:
    """All script of the page; in one strict function of our own, so that nothing of it is global."""
    ours = "\n".join(own(name) for name in SCRIPTS)
    return plain(f"{uplot_js}\n(() => {{\n'use strict';\n{ours}\n}})();\n")


def style(uplot_css: str) -> str:
    """All style of the page."""
    return plain(f"{uplot_css}\n{own('page.css')}")


def render(index: Mapping[str, Any], packed: str, template: str, script_text: str, style_text: str) -> str:
    """Fill the template; script and style are allowed by their hash, and everything else is forbidden."""
    policy = (
        f"default-src 'none'; script-src '{digest(script_text)}'; style-src '{digest(style_text)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    parts = {
        "POLICY": policy,
        "TITLE": html_text(str(index["title"])),
        "STYLE": style_text,
        "INDEX": json_text(index),
        "SCRIPT": script_text,
        "PACKED": packed,
    }
    pieces = template.split(
        "@@"
    )  # text and names in turn; filled in one pass, so that nothing filled in is filled again
    return "".join(parts[piece] if i % 2 else piece for i, piece in enumerate(pieces))


def own(name: str) -> str:
    """A file of this package, as text."""
    return files("qad_dl.review").joinpath(name).read_text(encoding="utf-8")


def plain(text: str) -> str:
    """`text` with the line ends that a browser makes of it, since it hashes what it read.

    Raises:
        ConfigError: the text would end its own element.
    """
    lowered = text.lower()
    if "</script" in lowered or "</style" in lowered or "<!--" in lowered:
        msg = "review: the script or style of the installed uplot-python holds an HTML tag; install the pinned version"
        raise ConfigError(msg)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def digest(text: str) -> str:
    """The source expression that allows `text` in a content security policy."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def json_text(value: Mapping[str, Any]) -> str:
    """`value` as JSON that no HTML parser takes for a tag, whatever people wrote into names; NaN is refused."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def html_text(text: str) -> str:
    """`text` for an HTML element."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
