"""The collector's config: what is read, and what is refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from qad_dl.errors import ConfigError
from qad_dl.followed import Rules
from qad_dl.sections import Secret
from qad_dl.sinks.policy import read_policy
from serving.config import Config, read_config

ROOT = Path(__file__).resolve().parents[2]
LEAST = 'store = "store"\nbundles = ["b"]\n[source]\nkind = "panda"\n'
MAIL = "[sink.mail]\nhost = 'h'\nsender = 's@h'\nto = ['t@h']\n"


def read(tmp_path: Path, text: str, **environment: str) -> Config:
    path = tmp_path / "collector.toml"
    path.write_text(text, encoding="utf-8")
    return read_config(path, environment)


def test_the_example_is_valid() -> None:
    config = read_config(ROOT / "serving" / "example.toml", {})
    assert config.source.kind == "panda"
    assert config.sink.mail is not None
    assert [route.match for route in config.route] == [{}, {"cloud": "DE"}]


def test_the_page_listens_on_this_machine_and_elsewhere_behind_a_proxy(tmp_path: Path) -> None:
    review = read(tmp_path, LEAST).review
    assert (review.host, review.loopback, review.labels) == ("127.0.0.1", True, tmp_path / "labels.jsonl")
    for host in ("localhost", "127.0.0.2", "::1"):
        assert read(tmp_path, LEAST + f"[review]\nhost = '{host}'\n").review.loopback
    proxied = "[review]\nhost = '::'\nuser_header = 'X-User'\nproxies = ['192.0.2.0/24']\norigins = ['https://h']\n"
    assert not read(tmp_path, LEAST + proxied).review.loopback
    url = "[message]\nreview_url = 'https://h/qad'\n"
    assert read(tmp_path, LEAST + url + "[review]\nuser_header = 'X-User'\n").review.user_header == "X-User"


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    config = read(tmp_path, LEAST)
    assert (config.store, config.bundles) == (tmp_path / "store", (tmp_path / "b",))
    assert config.state.path == tmp_path / "state"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LEAST.replace("store =", "stoer ="), "stoer is not known; did you mean store?"),
        (
            LEAST.replace('"store"', '"s3://bucket/x"'),
            "store is an address; the collector keeps its",
        ),
        (LEAST + "[sink.mial]\n", "sink.mial is not known; did you mean mail?"),
        (LEAST + "urll = 'x'\n", "source.urll is not known; did you mean url?"),
        (LEAST.replace('"panda"', '"pandas"'), "source.kind is 'pandas'; it can be panda, influxdb, files"),
        (LEAST.replace('"panda"', '"files"'), "source.url is missing"),
        (LEAST.replace('bundles = ["b"]\n', ""), "bundles is missing"),
        (LEAST.replace('["b"]', "[]"), "bundles names no bundle"),
        (LEAST.replace('["b"]', '"b"'), "bundles is a text; it must be a list"),
        (LEAST + "[deadline]\nseconds = 900\n", "deadline.seconds must be above 0 and below 600"),
        (LEAST + "[deadline]\nseconds = true\n", "deadline.seconds is a truth value; it must be a number"),
        (LEAST + "[sink.mail]\nhost = 'h'\nsender = 's'\nto = ['t']\npassword = 'x'\n", "write password_file"),
        (LEAST + "[sink.mattermost]\n", "sink.mattermost.url is missing; it is a secret"),
        (LEAST + "[sink.mattermost]\nurl_env = 'NOT_THERE'\n", "names NOT_THERE, which is not set"),
        (LEAST + "[sink.mattermost]\nurl_file = 'nowhere'\n", "cannot be read"),
        (LEAST + "[[route]]\nsink = 'mail'\n", "route 1: sink is 'mail'; it can be nothing: no sink is given"),
        (LEAST + "[quiet]\nstart = '25:00'\n", "quiet.start is '25:00'; write a time like 22:00"),
        (LEAST + "[[[", "cannot be read as TOML"),
        ('sink = "mail"\n' + LEAST, "sink is a text; it must be a section"),
        ('path = "x"\n' + LEAST, "path is not known"),
        (LEAST.replace('["b"]', '["a/b", "c/b"]'), "bundles names two folders called 'b'"),
        (LEAST + "url = 'pandaserver.cern.ch'\n", "source.url is 'pandaserver.cern.ch'; write an address like https"),
        (LEAST + "url = 'https://h:port'\n", "source.url is 'https://h:port'; write an address"),
        (LEAST + "[sink.influxdb]\nurl = 'http://me:pass@h'\n", "sink.influxdb.url holds a user or a password"),
        (LEAST + "[cric]\nurl = 'https://h/?json'\n", "cric.url is 'https://h/?json'; leave out what begins with ?"),
        (LEAST + "[metrics]\npushgateway = 'h:9091'\n", "metrics.pushgateway is 'h:9091'; write an address"),
        (LEAST + "ca_file = 'nowhere.pem'\n", "nowhere.pem: cannot be read (No such file or directory)"),
        (LEAST + "ca_file = 'collector.toml'\n", "collector.toml: no certificate in PEM form"),
        (LEAST + "[cric]\nclient_key = 'k'\n", "cric.client_cert is missing"),
        (LEAST + "[retention]\nticks = -1\n", "retention.ticks is -1; it can be 0 to 36500"),
        (LEAST + "[review]\nport = 0\n", "review.port is 0; it can be 1 to 65535"),
        (LEAST + "[review]\ndays = 0\n", "review.days is 0; it can be 1 to 60"),
        (LEAST + "[review]\nhost = 'qad.example.org'\n", "review.host is 'qad.example.org'; give an address of this"),
        (LEAST + "[review]\nhost = '0.0.0.0'\n", "review.host is '0.0.0.0', and user_header is not given: everybody"),
        (LEAST + "[review]\nhost = '::'\n", "review.host is '::', and user_header is not given"),
        (
            LEAST + "[review]\nhost = '192.0.2.1'\nuser_header = 'X-User'\n",
            "review.proxies is missing; on 192.0.2.1 it",
        ),
        (LEAST + "[review]\nuser_header = 'X_User'\n", "review.user_header is 'X_User'; write a header like"),
        (LEAST + "[review]\nuser_header = 'X-User'\n", "review.origins is missing; give the address under which"),
        (LEAST + "[review]\nproxies = ['proxy']\n", "review.proxies names 'proxy'; give addresses or networks"),
        (LEAST + "[review]\norigins = ['qad']\n", "review.origins is 'qad'; write an address like https"),
        (LEAST + "[review]\norigins = ['https://h/p']\n", "review.origins is 'https://h/p'; leave out what follows"),
        (LEAST + "[review]\nbundle = 'c'\n", "review.bundle is 'c'; it can be b"),
        (
            LEAST + "[quiet]\nend = '06:00'\ntimezone = 'Europe/Genf'\n",
            "quiet.timezone is 'Europe/Genf', which is no time",
        ),
        (LEAST + MAIL.replace("s@h", "me"), "sink.mail.sender is 'me'; write an address like name@example.org"),
        (LEAST + "[rules]\nn = 0\n", "rules.n is 0; it can be 1 to 1008"),
        (LEAST + "[rules]\nn = 4\n", "rules.m is 3; it can be 4 to 1008"),
        (LEAST + "[rules]\nrecovery = 99\n", "rules.longest is 36; it can be 99 to 1008"),
        (LEAST + "[rules]\nrecover = 9\n", "rules.recover is not known; did you mean recovery?"),
        (LEAST + MAIL + "tls = 'yes'\n", "sink.mail.tls is 'yes'; it can be none, starttls, tls"),
    ],
)
def test_a_fault_is_one_line_that_names_file_and_key(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    line = str(caught.value)
    assert said in line
    assert str(tmp_path / "collector.toml") in line
    assert "\n" not in line


def test_the_policy_is_the_same_with_and_without_the_rest_of_the_file(tmp_path: Path) -> None:
    said = "[rules]\nn = 3\nm = 5\n[quiet]\nstart = '22:00'\nend = '06:00'\n[cap]\nper_hour = 4\n" + MAIL
    said += "[sink.jsonl]\npath = 'told.jsonl'\n[[route]]\nsink = 'mail'\nmatch = {cloud = 'DE'}\nto = ['de@h']\n"
    whole = read(tmp_path, "budget = 0.03\n" + LEAST + said).policy
    (tmp_path / "part.toml").write_text("budget = 0.03\n" + said, encoding="utf-8")
    part = read_policy(tmp_path / "part.toml")
    assert part == whole
    assert (part.rules.n, part.rules.m, part.per_hour, part.budget) == (3, 5, 4, 0.03)
    assert [channel.name for channel in part.channels] == ["jsonl", "mail de@h", "mail t@h"]
    assert read_policy(ROOT / "serving" / "example.toml").rules == Rules()


def test_a_policy_that_cannot_be_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "part.toml"
    for text, said in (
        ("[[route]]\nsink = 'mail'\n", "route 1: sink is 'mail'; it can be nothing: no sink is given"),
        ("sink = 1\n", "sink must be sections like [sink.mail]"),
        ("[sink.mail]\nto = 'me@h'\n", "sink.mail.to must be a list of recipients"),
        ("[sink.mail]\nto = ['me']\n", "sink.mail.to is 'me'; write an address"),
        ("budget = 0\n", "budget is 0"),
        ("[cap]\nper_hour = -1\n", "cap.per_hour is -1"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError, match=r"part\.toml") as caught:
            read_policy(path)
        assert said in str(caught.value)


def test_a_password_in_an_address_is_not_shown(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, LEAST + "url = 'ftp://me:secret-word@host'\n")
    assert "secret-word" not in str(caught.value)


def test_a_private_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(0o644)
    with pytest.raises(ConfigError, match=r"cric.client_key names .*key.pem, which others may read: chmod 600"):
        read(tmp_path, LEAST + "[cric]\nclient_cert = 'cert.pem'\nclient_key = 'key.pem'\n")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config(tmp_path / "nothing.toml")


def test_secrets_come_from_files_of_mode_600_or_the_environment(tmp_path: Path) -> None:
    secret = tmp_path / "hook"
    secret.write_text("https://chat.example.org/hooks/abc\n")
    text = LEAST + '[sink.mattermost]\nurl_file = "hook"\n'
    secret.chmod(0o640)
    with pytest.raises(ConfigError, match="which others may read: chmod 600"):
        read(tmp_path, text)
    secret.chmod(0o600)
    for config in (
        read(tmp_path, text),
        read(tmp_path, LEAST + '[sink.mattermost]\nurl_env = "H"\n', H="https://x/abc"),
    ):
        assert config.sink.mattermost is not None
        assert config.sink.mattermost.url.reveal().endswith("abc")
        assert "abc" not in repr(config)
        assert "abc" not in str(config.sink.mattermost.url)
    secret.write_text("")
    with pytest.raises(ConfigError, match="which is empty"):
        read(tmp_path, text)


def test_a_secret_shows_itself_to_nobody() -> None:
    assert str(Secret("abc")) == "(secret)"
    assert "abc" not in f"{Secret('abc')!r}{Secret('abc')}"
