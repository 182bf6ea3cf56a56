"""The page itself: one HTML file that asks nobody for anything, works from `file://` and forbids itself the network."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from qad_dl.errors import ConfigError
from qad_dl.progress import progress
from qad_dl.review.data import build_index, choose_quanta, pack_all, ranking

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from qad_dl.downtimes import Downtime
    from qad_dl.incidents_file import Incident
    from qad_dl.metadata import Record
    from qad_dl.novel import Novel
    from qad_dl.results import Results
    from qad_dl.tuning.order import Order

SCRIPTS: Final = (
    *("codec.js", "words.js", "shade.js", "plots.js", "group.js"),
    *("labels.js", "teach.js", "list.js", "head.js", "compare.js", "form.js", "page.js"),
)
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


@dataclass(frozen=True)
class Content:
    """What a page shows, whoever carries it: the file itself, or a server.

    Attributes:
        index: what the list needs at once.
        blocks: packed text of each queue, in the order of the list.
    """

    index: Mapping[str, Any]
    blocks: tuple[str, ...]

    def index_json(self) -> str:
        """The index as JSON text."""
        return json_text(self.index)

    def version(self) -> str:
        """A digest of all of it: the same data, the same version."""
        digest = hashlib.sha256(self.index_json().encode("utf-8"))
        for block in self.blocks:
            digest.update(block.encode("ascii"))
        return digest.hexdigest()[:32]


@dataclass(frozen=True)
class Document:
    """A page and the policy that it holds itself to.

    Attributes:
        html: the page.
        policy: content security policy, which a server also sends as a header.
    """

    html: str
    policy: str


def gather(
    results: Results,
    metadata: Mapping[str, Record],
    downtimes: Sequence[Downtime],
    title: str,
    incidents: Sequence[Incident] = (),
    past: NDArray[np.float32] | None = None,
    labels: Sequence[Mapping[str, Any]] = (),
    unknown: Novel | None = None,
    taught: Order | None = None,
) -> Content:
    """What the page of some results shows; the same arguments give the same content.

    Args:
        results: scores with details.
        metadata: queue -> its metadata at the end of the range.
        downtimes: declared downtimes.
        title: what is shown, in a line.
        incidents: what was found in the range.
        past: hourly means of the week before (`past.week_before`).
        labels: events of labels that are known already (docs/interfaces.md).
        unknown: what the bundle that scored them was not trained on.
        taught: the order of incidents that reviewers taught; by score where it is None.

    Raises:
        InputError: the results have no details, no series or no ticks.
    """
    order = ranking(results)
    index, _ = build_index(results, metadata, downtimes, order, incidents, unknown, taught)
    quanta = choose_quanta(results, order, past)
    blocks = progress(pack_all(results, order, quanta, past), "page", total=len(order), unit=" queues")
    steps = {name: [quantum.unit, quantum.linear] for name, quantum in quanta.items()}
    return Content({**index, "quanta": steps, "title": title, "labels": list(labels)}, tuple(blocks))


def static_page(content: Content, uplot_js: str, uplot_css: str) -> Document:
    """The page as one file that needs no server.

    Args:
        content: what it shows.
        uplot_js: uPlot's script (`load_uplot`).
        uplot_css: its style sheet.
    """
    packed = "".join(f'<script type="text/plain" id="d{row}">{b}</script>\n' for row, b in enumerate(content.blocks))
    script_text, style_text = script(uplot_js), style(uplot_css)
    data = f'<script type="application/json" id="index">{content.index_json()}</script>'
    parts = {"TITLE": html_text(str(content.index["title"])), "META": "", "INDEX": data, "PACKED": packed}
    return _document(parts, script_text, style_text, connect="'none'")


def live_page(title: str, uplot_js: str, uplot_css: str, csrf: str, author: str = "") -> Document:
    """The page as a server gives it: it asks the same server for its data and its labels, and nobody else.

    Args:
        title: what is shown, until the index has come.
        uplot_js: uPlot's script (`load_uplot`).
        uplot_css: its style sheet.
        csrf: what the page sends as `X-QAD-CSRF` with all that it writes.
        author: the user that the server knows; where it knows none the page asks for a name.
    """
    named = {"qad-csrf": csrf, "qad-author": author}
    meta = "\n".join(f'<meta name="{name}" content="{attribute(value)}">' for name, value in named.items())
    parts = {"TITLE": html_text(title), "META": meta, "INDEX": "", "PACKED": ""}
    return _document(parts, script(uplot_js), style(uplot_css), connect="'self'")


def script(uplot_js: str) -> str:
    """All script of the page; in one strict function of our own, so that nothing of it is global."""
    ours = "\n".join(own(name) for name in SCRIPTS)
    return plain(f"{uplot_js}\n(async () => {{\n'use strict';\n{ours}\n}})();\n")


def style(uplot_css: str) -> str:
    """All style of the page."""
    return plain(f"{uplot_css}\n{own('page.css')}")


def _document(parts: Mapping[str, str], script_text: str, style_text: str, connect: str) -> Document:
    """Fill the template; script and style are allowed by their hash, and everything else is forbidden."""
    policy = (
        f"default-src 'none'; script-src '{digest(script_text)}'; style-src '{digest(style_text)}'; "
        f"connect-src {connect}; img-src data:; base-uri 'none'; form-action 'none'"
    )
    filled = {**parts, "POLICY": policy, "STYLE": style_text, "SCRIPT": script_text}
    # Text and names in turn; filled in one pass, so that nothing filled in is filled again.
    pieces = own("page.html").split("@@")
    return Document("".join(filled[piece] if i % 2 else piece for i, piece in enumerate(pieces)), policy)


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


def attribute(text: str) -> str:
    """`text` for an attribute in double quotes."""
    return html_text(text).replace('"', "&quot;")
