"""A day of ticks in fast time: PanDA and CRIC over HTTP, real sinks, faults by a timetable; and what came of it.

`make tick-demo` runs it on the full day (`python -m tests.services.tick_day OUT --bundle DIR`); a test runs six hours.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path

from tests.services.panda_world import HOUR, PER_DAY, make_day
from tests.services.tick_day_judged import judge, report
from tests.services.tick_day_played import FULL, START, play


def main() -> int:
    """Play the full day and say what came of it."""
    parser = argparse.ArgumentParser(prog="tick-demo", description=__doc__)
    parser.add_argument("out", type=Path, help="folder, made anew")
    parser.add_argument("--bundle", type=Path, required=True, help="the bundle of `make demo`")
    parser.add_argument("--hours", type=int, default=24)
    args = parser.parse_args()
    shutil.rmtree(args.out, ignore_errors=True)
    args.out.mkdir(parents=True)
    began = time.monotonic()
    print("simulating the grid ...", flush=True)
    ticks = args.hours * PER_DAY // 24
    faults = [fault for fault in FULL if fault.end <= ticks]
    with (args.out / "ticks.jsonl").open("w", encoding="utf-8") as log:
        done = []

        def say(line: str) -> None:
            log.write(line + "\n")
            log.flush()
            done.append(line)
            if len(done) % HOUR == 0:
                print(f"{len(done)} of {ticks} ticks", flush=True)

        played = play(args.out, make_day(START), args.bundle, ticks, faults, say)
    print(f"\n{report(played, args.bundle)}\ntook {time.monotonic() - began:.0f} s")
    wrong = judge(played, args.bundle)
    print("\n".join(f"WRONG {line}" for line in wrong) or "all as it should be")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
