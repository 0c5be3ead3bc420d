"""The generations of a host: `STATE/generations/000042/{manifest.json,files/...}`, the link `STATE/current`.

A generation holds what a rollback needs without network, git or inventory: the managed files, dkconf's
block of sendmail.mc, the sendmail.cf that was judged, owner, mode and time of each, the filters with
their state, the services, and who applied what. It never holds a private key, only fingerprints. Numbers
only grow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from dkconf.desired.state import DesiredState
from dkconf.errors import DkconfError
from dkconf.host.system import System
from dkconf.plan import forms
from dkconf.plan.actual import FileDigest, FileState, LastApplied
from dkconf.plan.codec import from_json, to_json
from dkconf.plan.redact import has_private_key

KEPT = 20
"""Generations kept beside the pinned ones."""
NEW = ".new"
"""Ends the name of a generation that is not in force yet."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """One generation without its files' contents."""

    number: int
    created: str
    """UTC, ISO 8601."""
    actor: str
    """Who applied: user, and the user behind sudo."""
    command: str
    """apply, rollback 5, disable-filter NAME ..."""
    desired: DesiredState
    files: Mapping[str, FileDigest]
    mtimes: Mapping[str, int]
    """Path -> modification time in nanoseconds, as installed."""
    previous: int = 0
    """The generation in force before; 0 = none."""
    block: str = ""
    overrides: Mapping[str, bool] = field(default_factory=dict)
    inventory: str = ""
    inventory_digest: str = ""
    git_commit: str = ""
    git_dirty: bool = False
    plan_digest: str = ""
    sendmail_argv: tuple[str, ...] = ()
    running: Mapping[str, bool] = field(default_factory=dict)
    dkconf_version: str = ""
    format: int = forms.MANIFEST.format


class Generations:
    """The generations below one state directory."""

    def __init__(self, system: System, state_dir: str) -> None:
        self._system = system
        self.state_dir = state_dir
        self.directory = f"{state_dir}/generations"
        self._current = f"{state_dir}/current"
        self._counter = f"{self.directory}/last"

    def numbers(self) -> tuple[int, ...]:
        """Return the numbers of all complete generations, ascending."""
        names = [n for n in self._system.listdir(self.directory) if n.isdigit()]
        return tuple(int(n) for n in names if self._system.read(f"{self.directory}/{n}/manifest.json"))

    def current(self) -> int:
        """Return the number of the generation in force, 0 if there is none."""
        name = self._system.link(self._current).rpartition("/")[2]
        return int(name) if name.isdigit() else 0

    def next_number(self) -> int:
        """Return the number that the next generation gets; never one that was used before."""
        counter = self._system.read(self._counter)
        used = int(counter.content) if counter and counter.content.strip().isdigit() else 0
        return max((used, self.current(), *self.numbers())) + 1

    def pinned(self) -> frozenset[int]:
        """Return the numbers that are never removed."""
        return frozenset(n for n in self.numbers() if self._system.read(f"{self._path(n)}/pinned"))

    def pin(self, number: int, pinned: bool) -> None:
        """Keep generation `number` for good, or let it grow old again."""
        self.manifest(number)
        if pinned:
            self._write(f"{self._path(number)}/pinned", b"")
        else:
            self._system.remove(f"{self._path(number)}/pinned")

    def manifest(self, number: int) -> Manifest:
        """Return the manifest of generation `number`.

        Raises:
            NewerForm: A newer dkconf made it.
            DkconfError: There is no such generation, or it is damaged.
        """
        found = self._system.read(f"{self._path(number)}/manifest.json")
        if found is None:
            have = ", ".join(map(str, self.numbers())) or "none"
            raise DkconfError(f"no generation {number} on this host; there are: {have}")
        _, data = forms.parsed(forms.MANIFEST, f"{self._path(number)}/manifest.json", found.content)
        return from_json(Manifest, data)

    def content(self, number: int, path: str) -> bytes | None:
        """Return what generation `number` holds for `path`, None if it does not hold it."""
        found = self._system.read(f"{self._path(number)}/files{path}")
        return found.content if found else None

    def desired(self, number: int) -> DesiredState:
        """Return the state that generation `number` stands for, files' contents included."""
        wanted = self.manifest(number).desired
        files = []
        for file in wanted.files:
            content = self.content(number, file.path)
            if content is None:
                raise DkconfError(f"{self._path(number)}: damaged: {file.path} is missing")
            files.append(replace(file, content=content))
        return replace(wanted, files=tuple(files))

    def last_applied(self) -> LastApplied | None:
        """Return the generation in force for a comparison, None if there is none."""
        number = self.current()
        if number == 0:
            return None
        manifest = self.manifest(number)
        return LastApplied(number, self.desired(number), manifest.files, manifest.block, manifest.overrides)

    def store(self, manifest: Manifest, contents: Mapping[str, bytes]) -> None:
        """Write a whole generation, which `publish` makes one: until then it is 000042.new.

        Raises:
            DkconfError: A file holds a private key.
        """
        for path, content in contents.items():
            if has_private_key(content):
                raise DkconfError(
                    f"{path}: holds a private key, and generations never do; keep keys in the key directory"
                )
        # Made before anything else, so that a number is not used again after a failure.
        self._system.make_private(self.directory)
        self._write(self._counter, str(manifest.number).encode())
        top = self._path(manifest.number) + NEW
        for path in sorted(contents):
            self._system.make_private(f"{top}/files{path}".rpartition("/")[0])
            self._write(f"{top}/files{path}", contents[path])
        self._system.make_private(top)
        slim = replace(
            manifest,
            desired=replace(manifest.desired, files=tuple(replace(f, content=b"") for f in manifest.desired.files)),
        )
        self._write(f"{top}/manifest.json", forms.octets(forms.MANIFEST, to_json(slim)))

    def publish(self, number: int) -> None:
        """Make the stored generation `number` one of the host's, in one step."""
        if number and self._system.is_directory(self._path(number) + NEW):
            self._system.rename(self._path(number) + NEW, self._path(number))

    def set_current(self, number: int) -> None:
        """Put generation `number` in force; 0 = none."""
        if number:
            self._system.symlink(self._current, f"generations/{number:06d}")
        else:
            self._system.remove(self._current)

    def remove(self, number: int) -> None:
        """Remove generation `number`, whole or half written; its manifest goes first."""
        for top in (self._path(number), self._path(number) + NEW):
            if self._system.is_directory(top):
                self._system.remove(f"{top}/manifest.json")
                self._system.remove_tree(top)

    def prune(self) -> tuple[int, ...]:
        """Remove what is older than the last `KEPT`; return the numbers. Pinned and current ones stay.

        Half written ones, left by a run that died, go too.
        """
        numbers = self.numbers()
        stay = set(numbers[-KEPT:]) | self.pinned() | {self.current()}
        gone = tuple(n for n in numbers if n not in stay)
        names = (n.removesuffix(NEW) for n in self._system.listdir(self.directory))
        broken = {int(n) for n in names if n.isdigit()} - set(numbers)
        for number in (*gone, *sorted(broken)):
            self.remove(number)
        return gone

    def sweep(self) -> None:
        """Remove generations that a run which died had stored and not put in force."""
        for name in self._system.listdir(self.directory):
            if name.endswith(NEW):
                self._system.remove_tree(f"{self.directory}/{name}")

    def key_paths(self) -> frozenset[str]:
        """Return the paths of all private keys that a kept generation names; they must never be deleted."""
        return frozenset(k.path for n in self.numbers() for k in self.manifest(n).desired.keys)

    def _path(self, number: int) -> str:
        return f"{self.directory}/{number:06d}"

    def _write(self, path: str, content: bytes) -> None:
        self._system.write(path, FileState(content, 0o600, "0", "0"))
