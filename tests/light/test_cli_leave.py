"""A command ends at once: with its exit code, and with all that it said."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

SAYS = "from qad_dl.cli import leave; print('said', end=''); leave({code})"


def test_what_was_said_is_out_and_nothing_else_runs() -> None:
    code = "import atexit; atexit.register(print, 'taken apart'); " + SAYS.format(code=3)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, "said", "")


def test_a_reader_that_has_gone_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in `qad score ... | head`."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # what is said waits until the end
    code = "import sys; sys.stdin.read(); " + SAYS.format(code=0)
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stdin is not None
        process.stdin.close()  # only now does it say anything
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert process.returncode == 0
