"""What a run is about to change, on disk before the first change: so that the next run can undo or finish it.

    active      nothing is decided: the whole tree goes back to what it was
    committed   checked and healthy: what is left to do is finished
    confirming  healthy, and goes back by itself unless `dkconf confirm` comes before the deadline

`STATE/journal/journal.json` holds each file's state before and after, and `STATE/journal/pre/` the
octets from before. A private key's octets are never copied: only its mode and owner are ever changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from dkconf.desired.state import HostPaths, Service
from dkconf.errors import DkconfError
from dkconf.host.machine import Sendmail
from dkconf.host.system import TEMPORARY, System
from dkconf.plan import forms
from dkconf.plan.actual import FileDigest, FileState
from dkconf.plan.codec import from_json, to_json

T = TypeVar("T")
Phase = Literal["active", "committed", "confirming"]
UNKNOWN = "no reason was noted"


@dataclass(frozen=True, slots=True)
class FileStep:
    """One path of a run: how it was, how it is to be."""

    path: str
    pre: FileDigest | None
    """None = it was not there."""
    pre_mtime_ns: int
    post: FileDigest | None
    """None = it goes."""
    sendmail: bool = False
    """sendmail.mc, sendmail.cf or the fragment: sendmail must be told, and goes first on the way back."""
    attributes_only: bool = False
    """Mode and owner change, the content is never read (private keys)."""
    copy: str = ""
    """Name in pre/ of the octets from before; "" if there were none, or none may be copied."""


@dataclass(frozen=True, slots=True)
class ServiceStep:
    """One filter that is started, or told of new settings."""

    service: Service
    was_running: bool
    socket: str = ""
    restart: bool = False
    """It runs, and takes its new settings (and on the way back the old ones) by a restart only."""


@dataclass(frozen=True, slots=True)
class Outstanding:
    """What follows when the host is healthy (and confirmed): draining, stopping, clearing away."""

    generation: int = 0
    paths: HostPaths | None = None
    stop: tuple[ServiceStep, ...] = ()
    remove: tuple[str, ...] = ()
    """Files of filters that are gone."""
    written: Mapping[str, FileDigest] = field(default_factory=dict)
    """How those files were last written by dkconf; one that was edited since stays."""
    hup_time: float = 0.0
    """When sendmail was told; its children from before may still call the filter."""
    drain_timeout_seconds: int = 600
    drain: bool = True
    scripts: Mapping[str, Service] = field(default_factory=dict)
    """Start scripts among those files, and whose they are: before a script goes, nothing at boot may name it."""
    units: Service | None = None
    """A unit file goes: the manager of this service has to read its units again."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """When an unconfirmed change goes back."""

    boot_id: str
    boottime: float
    """Seconds since boot, asleep or awake: a clock that jumps does not move it."""
    wall: float
    """For people: seconds since the epoch."""
    seconds: int


@dataclass(frozen=True, slots=True)
class Journal:
    """One run."""

    phase: Phase
    run: str
    """A random name, so that a watcher knows its own run."""
    command: str
    actor: str
    generation: int
    previous: int
    paths: HostPaths
    files: tuple[FileStep, ...]
    directories: tuple[str, ...] = ()
    """Made by this run, in the order of making."""
    services: tuple[ServiceStep, ...] = ()
    tells_sendmail: bool = True
    moves: bool = True
    """`current` moves to `generation` (0 = to none); False: it stays as it is."""
    sendmail_argv: tuple[str, ...] = ()
    """The command that starts sendmail again; see `sendmail_ran`."""
    sendmail_ran: bool | None = None
    """Whether it ran when the change began. None: the journal is by a dkconf that took `sendmail_argv` from the pid
    file, which others than root may have written."""
    sendmail_full_path: bool = True
    after: Outstanding = field(default_factory=Outstanding)
    deadline: Deadline | None = None
    units: bool = False
    overrides: Mapping[str, bool] = field(default_factory=dict)
    """Set against the inventory when this change is in force."""
    overrides_before: Mapping[str, bool] = field(default_factory=dict)
    platform: str = "debian"
    users: tuple[str, ...] = ()
    """System users that this run makes."""
    scripts: Mapping[str, Service] = field(default_factory=dict)
    """Start scripts that this run brings, and whose they are."""
    inventory_edit: tuple[str, ...] = ()
    """(path, host, filter, "on" or "off"): what the inventory is to say once the change is confirmed."""

    @property
    def sendmail(self) -> Sendmail:
        """The running sendmail, as it was when the change began."""
        ran = bool(self.sendmail_argv) if self.sendmail_ran is None else self.sendmail_ran
        return Sendmail(ran, self.sendmail_argv, self.sendmail_full_path, sure=self.sendmail_ran is not None)


class JournalStore:
    """The journal below one state directory, and the list of what is outstanding."""

    def __init__(self, system: System, state_dir: str) -> None:
        self._system = system
        self.state_dir = state_dir
        self.directory = f"{state_dir}/journal"
        self._file = f"{self.directory}/journal.json"
        self._outstanding = f"{state_dir}/outstanding.json"
        self._overrides = f"{state_dir}/overrides.json"
        self._untold = f"{state_dir}/untold.json"

    def read(self) -> Journal | None:
        """Return the journal of a run that is not over, None if there is none.

        Raises:
            NewerForm: A newer dkconf wrote it.
            DkconfError: It is damaged.
        """
        found = self._system.read(self._file)
        return None if found is None else _load(Journal, forms.JOURNAL, self._file, found)

    def begin(self, journal: Journal, contents: Mapping[str, bytes]) -> None:
        """Put the journal on disk; `contents` holds the octets from before by copy name."""
        self._system.make_private(f"{self.directory}/pre")
        for name, content in contents.items():
            self._system.write(f"{self.directory}/pre/{name}", FileState(content, 0o600, "0", "0"))
        self.write(journal)

    def write(self, journal: Journal) -> None:
        """Replace the journal, e.g. by the same one in another phase."""
        self._put(self._file, journal)

    def before(self, step: FileStep) -> FileState | None:
        """Return the file as it was before the run, None if it was not there."""
        if step.pre is None:
            return None
        content = b""
        if step.copy:
            found = self._system.read(f"{self.directory}/pre/{step.copy}")
            if found is None:
                raise DkconfError(f"{self.directory}: damaged: the copy of {step.path} is missing")
            content = found.content
        return FileState(content, step.pre.mode, step.pre.owner, step.pre.group, step.pre_mtime_ns)

    def end(self) -> None:
        """The run is over. The journal itself goes first: without it the copies mean nothing."""
        self._system.remove(self._file)
        self.sweep()

    def sweep(self) -> None:
        """Remove the copies of a run that is over, or that died before its journal was complete."""
        for name in self._system.listdir(self.state_dir):
            if name.endswith(TEMPORARY):
                self._system.remove(f"{self.state_dir}/{name}")
        self._system.remove_tree(self.directory)

    def untold(self) -> str:
        """Return why sendmail was not told of the last change, "" if it was."""
        found = self._system.read(self._untold)
        if found is None:
            return ""
        _, data = forms.parsed(forms.UNTOLD, self._untold, found.content)
        return str(data.get("why") or UNKNOWN) if isinstance(data, dict) else UNKNOWN

    def set_untold(self, why: str) -> None:
        """Note that sendmail was not told of a change that stays; "" = it has been told."""
        if why:
            content = forms.octets(forms.UNTOLD, {"why": why})
            self._system.write(self._untold, FileState(content, 0o600, "0", "0"))
        elif self._system.attributes(self._untold) is not None:
            self._system.remove(self._untold)

    def outstanding(self) -> Outstanding | None:
        """Return what is still to be stopped and cleared away, None if nothing is."""
        found = self._system.read(self._outstanding)
        return None if found is None else _load(Outstanding, forms.OUTSTANDING, self._outstanding, found)

    def overrides(self) -> dict[str, bool]:
        """Return the filters set against the inventory: name -> called."""
        found = self._system.read(self._overrides)
        if found is None:
            return {}
        number, data = forms.parsed(forms.OVERRIDES, self._overrides, found.content)
        kept = data if number == 1 else data.get("overrides")
        if not isinstance(kept, dict):
            raise DkconfError(f"{self._overrides}: damaged: no list of filters")
        return {str(k): bool(v) for k, v in kept.items()}

    def set_overrides(self, overrides: Mapping[str, bool]) -> None:
        """Keep the filters set against the inventory; nothing is written where nothing changes."""
        if dict(overrides) == self.overrides():
            return
        if overrides:
            content = forms.octets(forms.OVERRIDES, {"overrides": dict(overrides)})
            self._system.write(self._overrides, FileState(content, 0o600, "0", "0"))
        else:
            self._system.remove(self._overrides)

    def set_outstanding(self, after: Outstanding | None) -> None:
        """Keep, or (None) forget, what is outstanding."""
        if after is None:
            if self._system.attributes(self._outstanding) is not None:
                self._system.remove(self._outstanding)
        else:
            self._put(self._outstanding, after)

    def _put(self, path: str, value: Journal | Outstanding) -> None:
        form = forms.JOURNAL if isinstance(value, Journal) else forms.OUTSTANDING
        self._system.write(path, FileState(forms.octets(form, to_json(value)), 0o600, "0", "0"))


def _load(kind: type[T], form: forms.Form, path: str, found: FileState) -> T:
    _, data = forms.parsed(form, path, found.content)
    try:
        return from_json(kind, data)
    except DkconfError as exc:
        raise forms.Damaged(f"{path}: damaged: {exc}") from exc
