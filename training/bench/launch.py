"""Start a program, wait for it, and write what it cost: `python -I -S launch.py FILE PROGRAM ARGUMENT...`.

The kernel counts the memory of whoever starts a program as the program's until that runs its own code. This process
needs hardly any, so that it can measure small ones; it imports next to nothing.
"""

from __future__ import annotations

import os
import sys
import time


def main() -> int:
    """Write wall seconds, processor seconds and peak bytes; exit as the program did."""
    out, *command = sys.argv[1:]
    began = time.monotonic()
    pid = os.posix_spawnp(command[0], command, os.environ)
    _, status, used = os.wait4(pid, 0)
    wall = time.monotonic() - began
    with open(out, "w", encoding="utf-8") as file:  # noqa: PTH123  # pathlib takes memory and time to import
        file.write(f"{wall!r} {used.ru_utime + used.ru_stime!r} {used.ru_maxrss * 1024}")
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(abs(main()))
