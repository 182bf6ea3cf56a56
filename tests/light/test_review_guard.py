"""Who is answered, who may write: the rules by themselves."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from qad_dl.errors import StoreError
from serving.config import read_config
from serving.review.guard import Guard, RefusedError, origin_of, read_secret

if TYPE_CHECKING:
    from pathlib import Path

LEAST = (
    'store = "s"\nbundles = ["b"]\n[source]\nkind = "panda"\n[message]\nreview_url = "https://QAD.example.org/page"\n'
)
PROXIED = '[review]\nuser_header = "X-User"\nproxies = ["192.0.2.0/24", "2001:db8::7"]\norigins = ["https://h:8443"]\n'


def guard(folder: Path, more: str = "") -> Guard:
    path = folder / "c.toml"
    path.write_text(LEAST + more)
    return Guard.of(read_config(path, {}), b"s" * 32)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://QAD.example.org/page", "https://qad.example.org"),
        ("https://h:443", "https://h"),
        ("http://h:443/x", "http://h:443"),
        ("http://[::1]:80/", "http://[::1]"),
    ],
)
def test_an_origin_is_written_as_browsers_do(url: str, origin: str) -> None:
    assert origin_of(url) == origin


def test_on_one_machine_its_own_names_count(tmp_path: Path) -> None:
    rules = guard(tmp_path)
    for host in ("127.0.0.1:8085", "LOCALHOST:8085", "[::1]:8085", "qad.example.org"):
        rules.enter("127.0.0.1", host)
    for host in ("", "127.0.0.1", "127.0.0.1:80", "qad.example.org.evil", "evil:8085"):
        with pytest.raises(RefusedError) as caught:
            rules.enter("127.0.0.1", host)
        assert caught.value.status == 421
    assert rules.origins == {
        *(f"http://{host}:8085" for host in ("127.0.0.1", "localhost", "[::1]")),
        "https://qad.example.org",
    }


def test_behind_a_proxy_only_it_is_answered_and_only_its_address_is_the_page_s(tmp_path: Path) -> None:
    rules = guard(tmp_path, PROXIED)
    assert rules.origins == {"https://qad.example.org", "https://h:8443"}
    for peer in ("192.0.2.200", "2001:db8::7", "::ffff:192.0.2.9"):
        rules.enter(peer, "qad.example.org")
    for peer in ("127.0.0.1", "192.0.3.1", "2001:db8::8"):
        with pytest.raises(RefusedError) as caught:
            rules.enter(peer, "qad.example.org")
        assert caught.value.status == 403


def test_the_name_is_the_proxy_s(tmp_path: Path) -> None:
    rules = guard(tmp_path, PROXIED)
    assert rules.user({"X-User": " ada "}.__getitem__) == "ada"
    assert rules.user(lambda _name: "") == ""
    assert rules.user({"X-User": "Jürgen".encode().decode("latin-1")}.__getitem__) == "Jürgen"
    for name in ("ada, eve", "\xff", "a\x7fb", "x" * 201):
        with pytest.raises(RefusedError) as caught:
            rules.user({"X-User": name}.__getitem__)
        assert caught.value.status == 401
    assert guard(tmp_path).user({"X-User": "ada"}.__getitem__) == ""


def test_a_token_is_good_for_its_user_alone(tmp_path: Path) -> None:
    rules = guard(tmp_path, PROXIED)
    asked = {"Origin": "https://h:8443", "X-QAD-CSRF": rules.token("ada"), "Sec-Fetch-Site": "same-origin"}
    rules.write(asked.__getitem__, "ada")
    rules.write({**asked, "Sec-Fetch-Site": ""}.__getitem__, "ada")
    for changed, user, status in (
        ({}, "eve", 403),
        ({"X-QAD-CSRF": rules.token("")}, "", 401),
        ({"X-QAD-CSRF": ""}, "ada", 403),
        ({"X-QAD-CSRF": "\xff"}, "ada", 403),
        ({"Origin": "null"}, "ada", 403),
        ({"Origin": ""}, "ada", 403),
        ({"Sec-Fetch-Site": "cross-site"}, "ada", 403),
    ):
        with pytest.raises(RefusedError) as caught:
            rules.write({**asked, **changed}.__getitem__, user)
        assert caught.value.status == status


def test_the_secret_is_made_once_and_for_nobody_else_s_eyes(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "secret"
    secret = read_secret(path)
    assert (len(secret), read_secret(path)) == (32, secret)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [item.name for item in path.parent.iterdir()] == ["secret"]
    path.write_bytes(b"short")
    with pytest.raises(StoreError, match="is no secret of this server; remove it"):
        read_secret(path)
    with pytest.raises(StoreError, match="cannot be read or made"):
        read_secret(path / "below")
