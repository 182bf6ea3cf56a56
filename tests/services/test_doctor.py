"""`python -m serving.doctor`: every system of the config is looked at, and what is wrong is one clear line each."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qad_dl.labels import LabelLog, event_of
from qad_dl.scorer import Scorer
from qad_dl.simulator.params import WorldParams
from qad_dl.simulator.run import Run, run
from qad_dl.tuning.file import Thresholds, Tune, tune_path, write_tune
from serving import checkup, doctor
from tests.light.made_labels import put
from tests.services.certificates import make_certificate
from tests.services.collector import FIRST, Collector, make_collector
from tests.services.fake_panda import Grid, serve
from tests.services.influxd import Influxd
from tests.services.programs import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.services.alertmanager import Alertmanager
    from tests.services.receivers import MailBox, WebhookServer

ROOT = Path(__file__).resolve().parents[2]
MAIL = 'host = "127.0.0.1"\nport = {port}\nsender = "qad@example.org"\nto = ["ops@example.org"]'


@pytest.fixture(scope="module")
def world() -> Run:
    start = np.datetime64("2026-01-05T00:00:00", "s")
    return run(WorldParams(days=2, queues=8, seed=3, start=start, incidents=False, missed=0, holes=0, frozen=0))


@pytest.fixture
def grid(world: Run) -> Grid:
    return Grid(world, tick=150)


@pytest.fixture
def url(grid: Grid) -> Iterator[str]:
    with serve(grid) as address:
        yield address


def panda(url: str, more: str = "") -> dict[str, str]:
    return {"source": f'kind = "panda"\nurl = "{url}"\n{more}', "cric": f'url = "{url}"'}


def start(program: str, config: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"serving.{program}", "--config", str(config), *more]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


def examine(collector: Collector, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    code = doctor.examine(collector.config)
    return code, capsys.readouterr().out.splitlines()


def of(lines: list[str], system: str, level: str = "") -> list[str]:
    """Lines of a system at a level."""
    return [line for line in lines if line[6:].startswith(f"{system} ") and line.startswith(level)]


@pytest.mark.program("influxd")
@pytest.mark.program("prometheus-alertmanager")
def test_where_all_is_well(
    tmp_path: Path, url: str, influxd: Influxd, alertmanager: Alertmanager, mailbox: MailBox, webhook: WebhookServer
) -> None:
    sinks = {
        "sink.influxdb": f'url = "{influxd.url}"\ndatabase = "not_there_yet"',
        "sink.alertmanager": f'url = "{alertmanager.url}"',
        "sink.mail": MAIL.format(port=mailbox.port),
        "sink.mattermost": 'url_file = "hook"',
        "metrics": 'textfile = "metrics/qad.prom"',
    }
    collector = make_collector(tmp_path / "collector", {**panda(url), **sinks})
    (collector.folder / "hook").write_text(f"{webhook.url}/hooks/secret-word\n")
    (collector.folder / "hook").chmod(0o600)
    before = {path: path.stat().st_mtime_ns for path in collector.folder.rglob("*")}
    done = start("doctor", collector.config)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[-1] == "all is well"
    for system in ("config", "bundle bundle", "source", "cric", "sink.alertmanager", "sink.mail", "sink.mattermost"):
        assert [line[:6] for line in of(lines, system)] == ["ok    "], system
    assert of(lines, "sink.influxdb", "note") == [line for line in lines if "made by the first tick" in line]
    assert of(lines, "clock", "ok")
    assert of(lines, "store", "note")  # its history ends long ago
    assert "secret-word" not in done.stdout
    assert not mailbox.letters
    assert not webhook.posts
    assert "not_there_yet" not in str(influxd.database("x").query("SHOW DATABASES"))
    assert {path: path.stat().st_mtime_ns for path in collector.folder.rglob("*")} == before


@pytest.mark.parametrize(
    ("trap", "said", "code"),
    [("down", "cannot be reached|broke off", 3), ("unsuccessful", "ORA-01034", 3), ("forbidden", "HTTP 403", 3)],
)
def test_a_source_that_cannot_be_had(
    tmp_path: Path, grid: Grid, url: str, capsys: pytest.CaptureFixture[str], trap: str, said: str, code: int
) -> None:
    collector = make_collector(tmp_path / "collector", panda(url))
    grid.panda = trap
    found, lines = examine(collector, capsys)
    assert found == code
    (line,) = of(lines, "source", "WRONG")
    assert any(word in line for word in said.split("|"))
    assert of(lines, "cric", "ok")  # the others are looked at all the same
    assert lines[-1] == "1 wrong, 0 down"


def test_cric_that_cannot_be_had(tmp_path: Path, grid: Grid, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    collector = make_collector(tmp_path / "collector", panda(url))
    grid.cric = "login"
    code, lines = examine(collector, capsys)
    assert code == 3
    assert "something else than JSON: '<html>" in of(lines, "cric", "WRONG")[0]


def test_queues_that_cric_does_not_know(
    tmp_path: Path, grid: Grid, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    collector = make_collector(tmp_path / "collector", panda(url))
    grid.cric = "few"
    code, lines = examine(collector, capsys)
    assert code == 0
    assert "of the source's queues (" in of(lines, "cric", "note")[0]


def test_a_bundle_that_was_changed(tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    collector = make_collector(tmp_path / "collector", panda(url))
    (collector.folder / "bundle" / "model.onnx").write_bytes(b"no model")
    code, lines = examine(collector, capsys)
    assert code == 4
    assert "model.onnx: was changed" in of(lines, "bundle bundle", "WRONG")[0]


def test_what_is_tuned_is_told_and_what_does_not_fit_is_wrong(
    tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    collector = make_collector(tmp_path / "collector", panda(url))
    bundle = collector.folder / "bundle"
    own = Thresholds("cloud", {"DE": 0.5})
    write_tune(tune_path(bundle), Tune(Scorer.load(bundle).bundle.name, start="a", end="b", thresholds=own))
    _, lines = examine(collector, capsys)
    assert "thresholds of 1 values of cloud from labels of a to b" in of(lines, "bundle bundle", "ok")[1]
    write_tune(tune_path(bundle), Tune("ffffffffffff"))
    code, lines = examine(collector, capsys)
    assert code == 2
    assert "was made for bundle ffffffffffff" in of(lines, "bundle bundle", "WRONG")[0]


def test_sinks_that_are_down_stop_nothing(tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    sinks = {
        "sink.influxdb": f'url = "http://127.0.0.1:{port}"',
        "sink.alertmanager": f'url = "http://127.0.0.1:{port}"',
        "sink.mail": MAIL.format(port=port),
        "metrics": f'pushgateway = "http://127.0.0.1:{port}"',
    }
    collector = make_collector(tmp_path / "collector", {**panda(url), **sinks})
    code, lines = examine(collector, capsys)
    assert code == 0
    for system in sinks:
        assert of(lines, system, "down"), system
    assert lines[-1] == "0 wrong, 4 down"


def test_a_recipient_that_the_mail_server_refuses(
    tmp_path: Path, url: str, mailbox: MailBox, capsys: pytest.CaptureFixture[str]
) -> None:
    mailbox.unknown.add("ops@example.org")
    config = {**panda(url), "sink.mail": MAIL.format(port=mailbox.port)}
    code, lines = examine(make_collector(tmp_path / "collector", config), capsys)
    assert code == 2
    assert "550" in of(lines, "sink.mail", "WRONG")[0]


@pytest.mark.program("influxd")
def test_an_influxdb_that_refuses_the_password(tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    server = Influxd(tmp_path / "influxd", free_port()).start(auth=True)
    try:
        sink = f'url = "{server.url}"\nuser = "qad"\npassword_env = "SECRET"'
        collector = make_collector(tmp_path / "collector", {**panda(url), "sink.influxdb": sink})
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SECRET", "wrong-word")
            code, lines = examine(collector, capsys)
    finally:
        server.stop()
    assert code == 2
    (line,) = of(lines, "sink.influxdb", "WRONG")
    assert "refuses the user 'qad'" in line
    assert "wrong-word" not in "\n".join(lines)


@pytest.mark.parametrize("ahead_s", [3600, -3600])
def test_a_clock_that_is_wrong(
    tmp_path: Path, grid: Grid, url: str, capsys: pytest.CaptureFixture[str], ahead_s: int
) -> None:
    grid.ahead_s = ahead_s
    code, lines = examine(make_collector(tmp_path / "collector", panda(url)), capsys)
    assert code == 2
    (line,) = of(lines, "clock", "WRONG")
    assert ("s behind that of" if ahead_s > 0 else "s ahead of that of") in line


def test_labels_are_counted_and_a_damaged_file_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    collector = make_collector(tmp_path / "collector")
    assert of(examine(collector, capsys)[1], "review") == []
    path = collector.folder / "labels.jsonl"
    LabelLog(path).add(event_of(put(), "event"))
    assert "1 labels in force, 1 events" in of(examine(collector, capsys)[1], "review", "ok")[0]
    path.write_bytes(path.read_bytes() + b"rubbish\n")
    code, lines = examine(collector, capsys)
    assert (code, "line 3: is no JSON" in of(lines, "review", "WRONG")[0]) == (2, True)


def test_folders_that_this_user_may_not_write(
    tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    collector = make_collector(tmp_path / "collector", panda(url))
    monkeypatch.setattr(os, "access", lambda path, _: Path(path).name != "store")  # root may everything
    code, lines = examine(collector, capsys)
    assert code == 2
    assert "may not write into" in of(lines, "store", "WRONG")[0]


def test_modules_that_every_tick_compiles_again(
    tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    collector = make_collector(tmp_path / "collector", panda(url))
    monkeypatch.setattr(checkup, "uncompiled", lambda folder: iter([folder / "tick.py"]))
    code, lines = examine(collector, capsys)
    assert code == 0
    (note,) = of(lines, "program", "note")
    assert "2 modules, tick.py among them, are compiled by every tick again" in note
    assert "-m compileall -q qad_dl serving" in note


def test_a_disk_that_is_full(
    tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    collector = make_collector(tmp_path / "collector", panda(url))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 10**12 - 5, 5))
    code, lines = examine(collector, capsys)
    assert code == 2
    assert "only 0 MB are free" in of(lines, "store", "WRONG")[0]


def test_what_ticks_have_left_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    collector = make_collector(tmp_path / "collector")  # a source of files
    collector.drop(FIRST)
    (collector.folder / "in" / "bad.csv").write_text("no,jobs\n1,2\n")
    code, lines = examine(collector, capsys)
    assert code == 0
    assert "no tick has been done yet" in of(lines, "state", "note")[0]
    assert "1 files wait" in of(lines, "source", "ok")[0]
    assert "will be refused" in of(lines, "source", "note")[0]
    collector.run(FIRST)
    _, lines = examine(collector, capsys)
    assert "a tick last ended well 0 min ago" in of(lines, "state", "ok")[0]


@pytest.mark.program("influxd")
def test_an_influxdb_as_the_source(tmp_path: Path, influxd: Influxd, capsys: pytest.CaptureFixture[str]) -> None:
    influx = influxd.created()
    influx.query(f'CREATE RETENTION POLICY "10m" ON "{influx.database}" DURATION INF REPLICATION 1')
    config = {"source": f'kind = "influxdb"\nurl = "{influxd.url}"\ndatabase = "{influx.database}"'}
    collector = make_collector(tmp_path / "collector", config)
    code, lines = examine(collector, capsys)
    assert code == 3
    assert "has no points" in of(lines, "source", "WRONG")[0]
    influx.write(["jobs,panda_queue=Q,job_status=running jobs=5.0 1767571200000000001"], "10m")
    code, lines = examine(collector, capsys)
    assert code == 0
    assert "nothing new since" in of(lines, "source", "note")[0]


# --- a wrong certificate, a wrong token, a typo, a secret that others may read: one clear line each ---


@pytest.mark.parametrize("program", ["tick", "doctor"])
@pytest.mark.parametrize(
    ("name", "expired", "trusted", "said"),
    [
        ("IP:127.0.0.1", False, False, "its certificate is not trusted (self-signed certificate): name the authority"),
        ("DNS:another.example", False, True, "is not valid for '127.0.0.1'"),
        ("IP:127.0.0.1", True, True, "(certificate has expired)"),
    ],
)
def test_a_wrong_certificate(
    tmp_path: Path, grid: Grid, program: str, name: str, expired: bool, trusted: bool, said: str
) -> None:
    certificate = make_certificate(tmp_path, name, expired=expired)
    with serve(grid, certificate) as url:
        more = f'ca_file = "{certificate[0]}"' if trusted else ""
        collector = make_collector(tmp_path / "collector", {"source": panda(url, more)["source"]})
        done = start(program, collector.config)
    assert done.returncode == 3
    (line,) = [line for line in done.stdout.splitlines() if said in line]
    assert f"{url}/api/v1/" in line
    assert done.stderr == ""
    assert not grid.asked


def test_a_right_certificate(tmp_path: Path, grid: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(make_certificate(tmp_path / "other")[0]))
    with serve(grid, certificate) as url:
        trust = f'ca_file = "{certificate[0]}"'
        config = {"source": panda(url, trust)["source"], "cric": f'url = "{url}"\n{trust}'}
        done = start("doctor", make_collector(tmp_path / "collector", config).config)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("program", ["tick", "doctor"])
def test_a_wrong_token(tmp_path: Path, grid: Grid, url: str, program: str) -> None:
    grid.token = "right"
    collector = make_collector(tmp_path / "collector", {"source": panda(url, 'token_file = "token"')["source"]})
    (collector.folder / "token").write_text("wrong-secret\n")
    (collector.folder / "token").chmod(0o600)
    done = start(program, collector.config)
    assert done.returncode == 3
    said = "HTTP 403 '403 Forbidden: token is not valid': see to the token"
    assert len([line for line in done.stdout.splitlines() if said in line]) == 1
    assert "wrong-secret" not in done.stdout + done.stderr


@pytest.mark.parametrize("program", ["tick", "doctor", "deadman"])
def test_a_typo_in_the_config(tmp_path: Path, program: str) -> None:
    collector = make_collector(tmp_path / "collector", {"sink.jsonl": 'pth = "told.jsonl"'})
    done = start(program, collector.config)
    assert done.returncode == 2
    assert done.stdout == ""
    where = f"{collector.config}: sink.jsonl.pth is not known; did you mean path?"
    assert done.stderr == f"serving.{program}: {where}\n"


@pytest.mark.parametrize("program", ["tick", "doctor", "deadman"])
def test_a_secret_that_others_may_read(tmp_path: Path, program: str) -> None:
    collector = make_collector(tmp_path / "collector", {"sink.mattermost": 'url_file = "hook"'})
    hook = collector.folder / "hook"
    hook.write_text("https://chat.example.org/hooks/secret-word")
    hook.chmod(0o644)
    done = start(program, collector.config)
    assert done.returncode == 2
    assert done.stdout == ""
    said = f"{collector.config}: sink.mattermost.url_file names {hook}, which others may read: chmod 600 {hook}"
    assert done.stderr == f"serving.{program}: {said}\n"
