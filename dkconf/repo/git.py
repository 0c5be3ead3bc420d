"""What we ask git, and how: a repository must not run code as whoever looks at it.

A repository's own configuration can name programs: fsmonitor, hooks, filters, text conversions, transports for
objects that a partial clone lacks. git runs as whoever may write to the repository (as root only if it is root's
alone), with those switched off, without anybody's own configuration, and with commands that read objects and names
only.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from dkconf.spec.repository import find_top, other_writer

TIMEOUT_SECONDS = 60  # git grep over a large work tree on a slow runner
_OFF = ("core.fsmonitor=false", "core.hooksPath=/dev/null", "core.untrackedCache=false", "protocol.allow=never")


@dataclass(frozen=True, slots=True)
class Repository:
    top: Path

    def run(self, *arguments: str) -> bytes | None:
        """Return what git says; None if it fails, cannot be run or takes too long."""
        other = other_writer(self.top)
        options = [part for setting in (*_OFF, f"safe.directory={self.top}") for part in ("-c", setting)]
        try:
            done = subprocess.run(
                ["git", "-C", str(self.top), "--no-pager", *options, *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                env={
                    "PATH": os.environ.get("PATH", os.defpath) if not other else "/usr/local/bin:/usr/bin:/bin",
                    "HOME": "/nonexistent",
                    "LC_ALL": "C",
                    "GIT_CONFIG_NOSYSTEM": "1",
                    "GIT_CONFIG_GLOBAL": "/dev/null",
                    "GIT_OPTIONAL_LOCKS": "0",
                    "GIT_NO_LAZY_FETCH": "1",
                    "GIT_TERMINAL_PROMPT": "0",
                },
                user=other[0] if other else None,
                group=other[1] if other else None,
                extra_groups=[] if other else None,
                timeout=TIMEOUT_SECONDS,
                check=False,
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout if done.returncode == 0 else None

    def line(self, *arguments: str) -> str:
        """Return the first line of what git says; "" if it fails."""
        octets = self.run(*arguments) or b""
        return octets.decode("utf-8", "replace").partition("\n")[0].strip()

    def commit(self, revision: str) -> str:
        """Return the full name of the commit that a revision means; "" if this clone has none."""
        return self.line("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")

    def merge_base(self, commit: str) -> str:
        """Return the commit where HEAD's branch left `commit`'s; "" if this clone does not reach back so far."""
        return self.line("merge-base", commit, "HEAD")

    def is_shallow(self) -> bool:
        return self.line("rev-parse", "--is-shallow-repository") == "true"

    def blob(self, commit: str, path: str) -> bytes | None:
        """Return a file's octets at a commit; None if it was not there. `path` is relative to the top."""
        return self.run("cat-file", "blob", f"{commit}:{path}")

    def blobs(self, commit: str, folder: str) -> dict[str, str]:
        """Return the object names of the files below a folder at a commit, by path relative to the top."""
        listing = self.run("ls-tree", "-r", "-z", "--full-tree", commit, "--", folder) or b""
        found = {}
        for entry in listing.split(b"\0"):
            head, _, path = entry.partition(b"\t")
            if path:
                found[os.fsdecode(path)] = head.split()[2].decode()
        return found

    def files(self) -> list[str]:
        """Return the files of the work tree that are tracked, or could be by `git add .`."""
        listing = self.run("ls-files", "-z", "--cached", "--others", "--exclude-standard") or b""
        return [os.fsdecode(path) for path in listing.split(b"\0") if path]

    def grep(self, text: str) -> list[tuple[str, int, int]]:
        """Return (path, line, column) of a text in those files, counted from 1; columns are octets."""
        found = []
        options = ("-n", "--column", "-z", "-F", "-a", "--untracked", "--no-textconv", "--no-color")
        for line in (self.run("grep", *options, "-e", text) or b"").split(b"\n"):
            parts = line.split(b"\0", 3)
            if len(parts) == 4:
                found.append((os.fsdecode(parts[0]), int(parts[1]), int(parts[2])))
        return found

    def keeps_out(self, path: str) -> bool:
        """Tell whether .gitignore keeps a path out."""
        return self.run("check-ignore", "--no-index", "--quiet", "--", path) is not None

    def marked(self, attribute: str, paths: list[str]) -> set[str]:
        """Return those of the paths that .gitattributes gives an attribute."""
        if not paths:
            return set()
        fields = (self.run("check-attr", "-z", attribute, "--", *paths) or b"").split(b"\0")
        return {os.fsdecode(p) for p, value in zip(fields[::3], fields[2::3], strict=False) if value == b"set"}


def find(folder: Path) -> Repository | None:
    """Return the repository that a folder lies in."""
    top = find_top(folder.resolve())
    return Repository(top) if top else None
