"""Measure the config repository: 10,000 domains on 200 hosts checked, formatted and compared with a branch.

    python bench/repository.py

Time as a ratio to what ruamel.yaml's C loader alone needs for the same file, pair by pair in one run;
memory as the peak of the process against the loader's. Status 1 where a target is missed.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import manager
from manager import DKCONF, ENVIRONMENT, LOAD_ALONE, ROOT, generated, ratio, row


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=bench", "-c", "user.email=bench@example.com")
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, stdout=subprocess.DEVNULL)


def peak(argv: Sequence[str]) -> int:
    """Return the peak memory of one run, in KiB: of the process itself, measured by a child that becomes it."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        subprocess.run(argv, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)
        os.write(writer, str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        value = int(answer.read())
    os.waitpid(child, 0)
    return value


def main() -> int:
    """Print the figures of one large repository."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "inventory.yaml"
        path.write_text(generated(10_000))
        git(folder, "init", "--quiet", "--initial-branch=main")
        git(folder, "add", ".")
        git(folder, "commit", "--quiet", "-m", "before")
        # The branch: every tenth domain's second selector goes on, one host loses its filter.
        lines = path.read_text().split("\n")
        second = [n for n, line in enumerate(lines) if "s2026b" in line]
        for n in second[::10]:
            lines[n] = lines[n].replace("published", "planned")
        path.write_text("\n".join(lines))
        alone = [sys.executable, "-c", LOAD_ALONE, str(path)]
        memory = peak(alone)
        for what, arguments, target in (
            ("check", ["check", str(path)], 2),
            ("check --against", ["check", str(path), "--against", "HEAD"], 4),
            ("fmt", ["fmt", str(path)], 4),
        ):
            argv = [*DKCONF, *arguments]
            got, ours, theirs = ratio(argv, alone, 3)
            row(f"{what} of 10,000 domains / the C loader alone", got, target, seconds=(ours, theirs))
            used = peak(argv)
            row(f"{what}: memory / the C loader alone", used / memory, 2 * target)
            print(f"{'':60}({used // 1024} MiB against {memory // 1024} MiB)")
    return int(manager.failed)


if __name__ == "__main__":
    sys.exit(main())
