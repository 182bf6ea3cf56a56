"""A hundred hostile requests: each is refused for what is wrong with it, and the labels are as they were.

Every request is a good one but for one thing, so that it is that thing which is refused.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import socket
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from serving.review.server import REQUEST_S
from tests.light.made_labels import INCIDENT, QUEUE, new_id, put, undo
from tests.services.test_review_live import make_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.services.review_server import ReviewServer

ADA, SCRIPT = new_id(), "<script>alert(1)</script>"
GIVEN = put(label=ADA, author="ada")
SURROGATE = "\ud800"


@dataclass(frozen=True)
class Hostile:
    """One request.

    Attributes:
        what: is wrong with it.
        status: that it may be answered with; nothing at all, the connection being closed, is an answer too.
        line: the first line.
        headers: others than the good ones; None leaves one out, a tuple gives it several times.
        body: in place of a good event.
    """

    what: str
    status: tuple[int, ...]
    line: str = "POST /labels HTTP/1.1"
    headers: tuple[tuple[str, str | tuple[str, ...] | None], ...] = ()
    body: bytes | None = None


def header(what: str, status: int, **headers: str | tuple[str, ...] | None) -> Hostile:
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Hostile(f"{what}: {headers}"[:90], (status,), headers=named)


def body(what: str, content: Any, *status: int) -> Hostile:
    sent = content if isinstance(content, bytes) else json.dumps(content).encode()
    return Hostile(what, status or (400,), body=sent)


def line(first: str, *status: int) -> Hostile:
    return Hostile(first[:60], status or (400, 404, 405), line=first)


ORIGINS = [
    header("origin", 403, Origin=value)
    for value in (
        None,
        "",
        "null",
        "file://",
        "http://evil.example",
        "https://127.0.0.1:PORT",
        "http://127.0.0.1",
        "http://127.0.0.1:1",
        "http://0.0.0.0:PORT",
        "http://127.0.0.1:PORT.evil.example",
        "http://evil.example:PORT",
        "http://127.0.0.1:PORT@evil.example",
        "http://evil.example#http://127.0.0.1:PORT",
        "http://127.0.0.1:PORT/",
        "chrome-extension://abcdefgh",
        ("http://127.0.0.1:PORT", "http://evil.example"),
    )
]
SITES = [
    header("site", 403, Sec_Fetch_Site=value)
    for value in ("cross-site", "same-site", "none", "same-origin, cross-site", ("same-origin", "cross-site"))
]
TOKENS = [
    header("token", 403, X_QAD_CSRF=value)
    for value in (None, "", "undefined", "0" * 64, "TOKEN0", "TOKE", "*", "\xe9" * 64, ("TOKEN", "TOKEN"))
] + [
    Hostile("token in the address", (403,), "POST /labels?X-QAD-CSRF=TOKEN HTTP/1.1", (("X-QAD-CSRF", None),)),
    Hostile("token in a cookie", (403,), headers=(("X-QAD-CSRF", None), ("Cookie", "X-QAD-CSRF=TOKEN"))),
    Hostile("token with _", (403,), headers=(("X-QAD-CSRF", None), ("X_QAD_CSRF", "TOKEN"))),
]
HOSTS = [
    header("host", 421, Host=value)
    for value in (
        None,
        "",
        "evil.example",
        "evil.example:PORT",
        "127.0.0.1",
        "127.0.0.1:PORT.evil.example",
        "127.0.0.1:PORT@evil.example",
        ("127.0.0.1:PORT", "evil.example"),
    )
] + [
    Hostile("forwarded", (403,), headers=(("X-Forwarded-Host", "evil"), ("Origin", "http://evil"))),
    Hostile("host of HTTP/1.0", (421,), line="POST /labels HTTP/1.0", headers=(("Host", None),)),
]
KINDS = [
    header("type", 415, Content_Type=value)
    for value in (
        None,
        "",
        "text/plain",
        "text/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonp",
        "application/json; charset=utf-16",
        "application/json; charset=utf-7",
    )
] + [Hostile("gzip", (415,), headers=(("Content-Encoding", "gzip"),), body=gzip.compress(json.dumps(put()).encode()))]
METHODS = [
    *(line(f"{method} /labels HTTP/1.1", 405) for method in ("GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS")),
    *(line(f"{method} /labels HTTP/1.1", 400, 405, 501) for method in ("TRACE", "CONNECT", "post", "PO ST", "LABEL")),
    *(line(f"POST {path} HTTP/1.1", 405) for path in ("/", "/index.json", "/queue/0", "/labels.json", "/healthz")),
    *(line(f"DELETE {path} HTTP/1.1", 405) for path in ("/labels.json", "/queue/0")),
    Hostile("override", (405,), "GET /labels HTTP/1.1", (("X-HTTP-Method-Override", "POST"),)),
]
PATHS = [
    line(f"{method} {path} HTTP/1.1", *status)
    for method, path, *status in (
        ("GET", "/../../../../etc/passwd"),
        ("GET", "/queue/../../collector/collector.toml"),
        ("GET", "/queue/%2e%2e%2f%2e%2e%2fetc%2fpasswd"),
        ("GET", "/queue/0%00.json"),
        ("GET", "/queue/99999999999999999999999999"),
        ("GET", "/labels.jsonl"),
        ("GET", "/labels.jsonl.secret"),
        ("GET", "/..\\..\\collector.toml"),
        ("GET", "//etc/passwd"),
        ("GET", "/static/../page.html"),
        ("POST", "/labels/"),
        ("POST", "/labels/../labels/x"),
        ("POST", "/labels%00"),
        ("POST", "/labels.jsonl"),
        ("POST", "/" + "x" * 40_000, 431),
        ("POST", "http://127.0.0.1:1/labels", 400),
        ("POST", "http://evil.example/labels", 400),
    )
]
BODIES = [
    body("nothing", b""),
    body("no JSON", b"op=put&word=problem"),
    body("half an event", json.dumps(put()).encode()[:-9]),
    body("a list of events", [put(), put()]),
    body("a number", 7),
    body("nothing known", {}),
    body("deep", b"[" * 50_000 + b"]" * 50_000),
    body("deep in an event", b'{"a":' * 20_000 + b"1" + b"}" * 20_000),
    body("a key twice", json.dumps(put()).encode()[:-1] + b', "author": "eve"}'),
    body("no UTF-8", json.dumps(put()).encode().replace(b"ada", b"\xff\xfe")),
    body("UTF-16", json.dumps(put()).encode("utf-16")),
    body("not a number", json.dumps(put()).encode().replace(b'"problem"', b"NaN")),
    body("half a character", put(comment=SURROGATE)),
    body("a zero byte", put(comment="a\x00b")),
    body("terminal codes", put(comment="\x1b]0;owned\x07")),
    body("no author", put(author="")),
    body("an author of two lines", put(author='ada\nserving.review: put x by "eve"')),
    body("an author backwards", put(author="ada\u202e")),
    body("a long comment", put(comment="x" * 5000)),
    body("a prototype", put(__proto__={"op": "put"})),
    body("a path for an id", put(id="../../../etc/passwd")),
    body("a path for a label", put(label="..%2f..")),
    body("SQL for an id", put(id="'; DROP TABLE labels; --")),
    body("a word that is none", put(word="problem'--")),
    body("a kind that is none", put(kind=SCRIPT)),
    body("a list for a name", put({**QUEUE, "panda_queue": ["Q1"]})),
    body("a range backwards", put({**QUEUE, "start": QUEUE["end"], "end": QUEUE["start"]})),
    body("for ever", put({**QUEUE, "end": "9999-12-31T23:59:59Z"})),
    body("queues without end", put({**INCIDENT, "queues": [f"Q{i}" for i in range(5001)]})),
    body("another's label", put(label=ADA, author="eve"), 409),
    body("another's label undone", undo(ADA, author="eve"), 409),
    body("an id used twice", {**GIVEN, "word": "expected"}, 409),
    body("nothing to undo", undo(new_id()), 409),
    Hostile(
        "a script without a token",
        (403,),
        headers=(("X-QAD-CSRF", None),),
        body=json.dumps(put(comment=SCRIPT)).encode(),
    ),
    Hostile(
        "another user by a header",
        (400,),
        headers=(("X-Remote-User", "root"),),
        body=json.dumps(put(author=None)).encode(),
    ),
]
FRAMES = [
    header("length", 413, Content_Length="1048577"),
    header("length", 413, Content_Length="99999999999999999999"),
    header("length", 400, Content_Length="-1"),
    header("length", 400, Content_Length="0x10"),
    header("length", 400, Content_Length="1,2"),
    Hostile("two lengths", (400,), headers=(("Content-Length", ("5", "500")),)),
    Hostile("a body that is too long", (413,), body=b'"' + b"x" * (1 << 20) + b'"'),
    Hostile(
        "chunks without end",
        (413,),
        headers=(("Content-Length", None), ("Transfer-Encoding", "chunked")),
        body=b"40000\r\n" + b"x" * 0x40000 + b"\r\n" + (b"40000\r\n" + b"x" * 0x40000 + b"\r\n") * 4 + b"0\r\n\r\n",
    ),
    Hostile(
        "a chunk that is none",
        (400,),
        headers=(("Content-Length", None), ("Transfer-Encoding", "chunked")),
        body=b"zz\r\n{}\r\n0\r\n\r\n",
    ),
    *(
        Hostile(f"coding {coding}", (400, 501), headers=(("Transfer-Encoding", coding),))
        for coding in ("gzip", "xchunked", "chunked, identity")
    ),
    header("a large header", 431, X_Large="x" * 40_000),
    Hostile("a thousand headers", (431,), headers=tuple((f"X-{i}", "x" * 40) for i in range(1000))),
    Hostile("a header without a name", (400,), headers=(("", "x"),)),
    Hostile("a header of two lines", (400,), headers=(("X-A", "b\r\n c: d\re"),)),
    Hostile("a zero byte in a header", (400, 403), headers=(("Origin", "http://127.0.0.1:PORT\x00"),)),
    line("rubbish", 400, 404, 405, 421),
    line("POST  /labels HTTP/1.1", 400, 404, 405),
    Hostile("another protocol", (400,), line="\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
]
ALL = [*ORIGINS, *SITES, *TOKENS, *HOSTS, *KINDS, *METHODS, *PATHS, *BODIES, *FRAMES]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReviewServer]:
    server = make_server(tmp_path_factory.mktemp("hostile")).start()
    assert server.post(GIVEN).status_code == 200
    yield server
    server.stop()


@pytest.fixture(scope="module")
def token(server: ReviewServer) -> str:
    return server.token()


def composed(hostile: Hostile, port: int, token: str) -> bytes:
    """The bytes of a request."""
    content = json.dumps(put()).encode() if hostile.body is None else hostile.body
    good: dict[str, str | tuple[str, ...] | None] = {
        "Host": "127.0.0.1:PORT",
        "Origin": "http://127.0.0.1:PORT",
        "X-QAD-CSRF": "TOKEN",
        "Content-Type": "application/json",
        "Content-Length": str(len(content)),
        "Connection": "close",
    }
    lines = [hostile.line]
    for name, value in {**good, **dict(hostile.headers)}.items():
        values = value if isinstance(value, tuple) else () if value is None else (value,)
        lines += [f"{name}: {item}" for item in values]
    text = "\r\n".join(lines).replace("PORT", str(port))
    if "TOKE" in text:  # whole, longer, or cut
        text = re.sub("TOKEN?", lambda found: token[: 64 - 5 + len(found[0])], text)
    return text.encode("latin-1") + b"\r\n\r\n" + content


def answer_to(port: int, content: bytes) -> tuple[int | None, str]:
    """Status and text of the answer; None where the connection is closed without one."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        try:
            connection.sendall(content)
            connection.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError, OSError):
            pass  # it has heard enough
        received = b""
        try:
            while piece := connection.recv(65536):
                received += piece
        except ConnectionResetError:
            pass
    found = re.match(rb"HTTP/1\.\d (\d{3}) ", received)
    return (int(found[1]) if found else None), received.decode("latin-1")


def test_there_are_a_hundred() -> None:
    assert len({hostile.what for hostile in ALL}) == len(ALL) >= 100


@pytest.mark.parametrize("hostile", ALL, ids=lambda h: h.what[:60])
def test_it_is_refused_and_the_labels_are_as_they_were(server: ReviewServer, token: str, hostile: Hostile) -> None:
    before = server.labels.read_bytes()
    status, text = answer_to(server.port, composed(hostile, server.port, token))
    assert status in {*hostile.status, None}, text
    assert status is not None or hostile in FRAMES, "no answer"
    assert server.labels.read_bytes() == before
    assert "text/html" not in text
    assert "root:" not in text
    assert "Traceback" not in text


def test_a_good_request_is_not_refused_by_the_same_means(server: ReviewServer, token: str) -> None:
    before = server.log.read().version
    for number, good in enumerate(
        (
            Hostile("good", (200,)),
            header("good", 200, Sec_Fetch_Site="same-origin"),
            header("good", 200, Host="localhost:PORT", Origin="http://localhost:PORT"),
            header("good", 200, Content_Type="application/json; charset=UTF-8"),
            body("a script in a comment", put(comment=SCRIPT)),
        ),
        1,
    ):
        status, text = answer_to(server.port, composed(good, server.port, token))
        assert status == 200, text
        assert server.log.read().version == before + number
    listed = server.get("/labels.json")
    assert SCRIPT in listed.text  # as JSON, of which no browser makes a page
    assert listed.headers["Content-Type"].startswith("application/json")
    assert listed.headers["X-Content-Type-Options"] == "nosniff"


def trickle(port: int, content: bytes, at: int, pause: float, stop: threading.Event) -> None:
    """Send all but the end of a request: up to a place at once, then byte by byte, until the connection is closed."""
    with socket.create_connection(("127.0.0.1", port), timeout=90) as connection, contextlib.suppress(OSError):
        connection.sendall(content[:at])
        connection.settimeout(pause)
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                if connection.recv(1024) == b"":
                    return
            if at < len(content) - 1:
                connection.sendall(content[at : at + 1])
                at += 1


def test_slow_requests_are_given_up_and_hold_nobody_up(server: ReviewServer, token: str) -> None:
    before = server.labels.read_bytes()
    whole = composed(Hostile("slow", ()), server.port, token)
    stop = threading.Event()
    ways = [(20, 2.0), (len(whole) - 300, 2.0), (len(whole) - 300, 200.0), (1, 200.0)]  # in the header, in the body
    threads = [
        threading.Thread(target=trickle, args=(server.port, whole, *way, stop), daemon=True) for way in ways * 15
    ]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    time.sleep(1)
    for _ in range(10):
        assert server.get("/healthz").status_code == 200
    assert time.monotonic() - began < 6
    for thread in threads:
        thread.join(max(0, began + REQUEST_S + 20 - time.monotonic()))
    left = sum(thread.is_alive() for thread in threads)
    stop.set()
    assert left == 0
    assert server.labels.read_bytes() == before


def test_nothing_of_it_was_a_fault_and_the_log_is_ours(server: ReviewServer) -> None:
    assert server.get("/healthz").json()["status"] == "ok"
    lines = server.said.splitlines()
    assert lines
    assert [item for item in lines if not item.startswith("serving.review: ")] == []
    assert not [item for item in lines if "refused: 500" in item]
    assert not [item for item in lines if not item.isprintable()]
    assert not [item for item in lines if item.startswith("serving.review: put x")]
