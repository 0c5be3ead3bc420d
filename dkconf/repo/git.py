"""What we ask git: commands that read objects and names only, so that a repository runs no code of its own."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from dkconf.git.ask import Asked, find_top

TIMEOUT_SECONDS = 60  # git grep over a large work tree on a slow runner


@dataclass(frozen=True, slots=True)
class Repository:
    git: Asked

    @property
    def top(self) -> Path:
        return self.git.top

    def run(self, *arguments: str, empty: int = 0) -> bytes | None:
        """Return what git says; None if it fails, cannot be run or takes too long; see `Asked.run`."""
        return self.git.run(*arguments, empty=empty)

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

    def files(self) -> list[str] | None:
        """Return the files of the work tree that are tracked, or could be by `git add .`; None: git failed."""
        listing = self.run("ls-files", "-z", "--cached", "--others", "--exclude-standard")
        if listing is None:
            return None
        return [os.fsdecode(path) for path in listing.split(b"\0") if path]

    def grep(self, text: str) -> list[tuple[str, int, int]] | None:
        """Return (path, line, column) of a text in those files, counted from 1, in octets; None if git failed."""
        found = []
        options = ("-n", "--column", "-z", "-F", "-a", "--untracked", "--no-textconv", "--no-color")
        said = self.run("grep", *options, "-e", text, empty=1)
        if said is None:
            return None
        for line in said.split(b"\n"):
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
    return Repository(Asked(top, TIMEOUT_SECONDS)) if top else None
