"""`make bench`: every benchmark in turn, or those named: filter, resolver, manager, repository."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PARTS = ("manager", "repository", "resolver", "filter")


def main(argv: list[str]) -> int:
    """Run the parts one after another, so that none disturbs the other; return the worst status."""
    wrong = [name for name in argv if name not in PARTS]
    if wrong:
        print(f"no benchmark {wrong[0]}; take of {', '.join(PARTS)}", file=sys.stderr)
        return 64
    worst = 0
    for name in argv or PARTS:
        print(f"== {name}", flush=True)
        done = subprocess.run([sys.executable, str(Path(__file__).with_name(f"{name}.py"))], check=False)
        worst = max(worst, done.returncode)
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
