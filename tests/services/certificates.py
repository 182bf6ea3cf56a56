"""Certificates of a test's own, which nobody else trusts."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """
[ca]
default_ca = ours
[ours]
database = {folder}/index
serial = {folder}/serial
new_certs_dir = {folder}
default_md = sha256
policy = any
x509_extensions = names
[any]
commonName = supplied
[names]
subjectAltName = {name}
"""


def make_certificate(folder: Path, name: str = "IP:127.0.0.1", *, expired: bool = False) -> tuple[Path, Path]:
    """A certificate that has signed itself, and its key.

    Args:
        folder: where to.
        name: what it is for.
        expired: it ran out years ago.
    """
    folder.mkdir(parents=True, exist_ok=True)
    crt, key, request, config = (folder / f"server.{ending}" for ending in ("crt", "key", "csr", "cnf"))
    config.write_text(CONFIG.format(folder=folder, name=name))
    (folder / "index").write_text("")
    (folder / "serial").write_text("01\n")
    dates = "-startdate 20200101000000Z -enddate 20200201000000Z" if expired else "-days 2"
    ask = f"openssl req -new -newkey rsa:2048 -nodes -subj /CN=test -keyout {key} -out {request}"
    sign = f"openssl ca -selfsign -batch -notext {dates} -config {config} -keyfile {key} -in {request} -out {crt}"
    for command in (ask, sign):
        subprocess.run(command.split(), check=True, capture_output=True)
    return crt, key
