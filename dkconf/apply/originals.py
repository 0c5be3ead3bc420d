"""The files that were there before dkconf first took them: `STATE/original/`. `release` puts them back.

A path is kept once, when it first becomes managed; later contents are those of generations.
"""

from __future__ import annotations

from dataclasses import dataclass

from dkconf.errors import DkconfError
from dkconf.host.system import System
from dkconf.plan import forms
from dkconf.plan.actual import FileState
from dkconf.plan.codec import from_json, to_json
from dkconf.plan.redact import has_private_key


@dataclass(frozen=True, slots=True)
class Original:
    """One file as it was found; `there` False = the path was free."""

    there: bool
    mode: int = 0
    owner: str = ""
    group: str = ""
    mtime_ns: int = 0
    copy: str = ""


class Originals:
    """The found files below one state directory."""

    def __init__(self, system: System, state_dir: str) -> None:
        self._system = system
        self.directory = f"{state_dir}/original"
        self._index = f"{self.directory}/index.json"

    def all(self) -> dict[str, Original]:
        """Return every kept path with what was found there."""
        found = self._system.read(self._index)
        if found is None:
            return {}
        number, data = forms.parsed(forms.ORIGINALS, self._index, found.content)
        kept = data if number == 1 else data.get("files")
        if not isinstance(kept, dict):
            raise DkconfError(f"{self._index}: damaged: no list of files")
        return {path: from_json(Original, value) for path, value in kept.items()}

    def keep(self, found: dict[str, FileState | None]) -> None:
        """Keep those paths that were not kept before.

        Raises:
            DkconfError: A file holds a private key; it is not copied.
        """
        known = self.all()
        new = {path: state for path, state in found.items() if path not in known}
        if not new:
            return
        for path, state in new.items():
            if state is not None and has_private_key(state.content):
                raise DkconfError(f"{path}: holds a private key; move it to the key directory first")
        self._system.make_private(self.directory)
        for path, state in sorted(new.items()):
            if state is None:
                known[path] = Original(False)
                continue
            copy = f"{len(known):04d}"
            self._put(f"{self.directory}/{copy}", state.content)
            known[path] = Original(True, state.mode, state.owner, state.group, state.mtime_ns, copy)
        self._put(self._index, forms.octets(forms.ORIGINALS, {"files": to_json(known)}))

    def state(self, path: str) -> FileState | None:
        """Return the file as it was found; None if the path was free or is not known."""
        original = self.all().get(path)
        if original is None or not original.there:
            return None
        copy = self._system.read(f"{self.directory}/{original.copy}")
        if copy is None:
            raise DkconfError(f"{self.directory}: damaged: the copy of {path} is missing")
        return FileState(copy.content, original.mode, original.owner, original.group, original.mtime_ns)

    def forget(self) -> None:
        """Remove all: after `release` the host's files are its own again."""
        self._system.remove_tree(self.directory)

    def _put(self, path: str, content: bytes) -> None:
        self._system.write(path, FileState(content, 0o600, "0", "0"))
