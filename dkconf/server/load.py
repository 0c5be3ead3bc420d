"""Settings and every file that they name, read once by the parent, so that all workers serve the same.

A `Bundle` can be sent to a worker: it holds octets, not open files. It holds private keys too, and is never
printed.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Final

from dkconf.files.looking import known, may_read, may_run
from dkconf.filter import args
from dkconf.filter.config import ONLY_AT_START, Settings, SettingsError
from dkconf.filter.engine import Engine, few
from dkconf.mail.lookup import RecordsError, TxtAnswer, parse_records
from dkconf.server.nameservers import Nameservers, from_resolv_conf, from_settings

RESOLV_CONF: Final = "/etc/resolv.conf"


@dataclass(frozen=True, slots=True)
class Bundle:
    """What one load has read."""

    settings: Settings
    files: dict[str, bytes] = field(repr=False)
    nameservers: Nameservers

    def engine(self) -> Engine:
        """Return the engine; as `Engine.load`. That the keys are whole is known: the parent has loaded them."""
        return Engine.load(self.settings, self._read, proved=True)

    def records(self) -> dict[bytes, TxtAnswer] | None:
        """Return the answers of the records file; None if the DNS is to be asked."""
        path = self.settings.records_file
        if not path:
            return None
        try:
            return parse_records(self._read(path).decode("utf-8", "surrogateescape"))
        except RecordsError as error:
            raise SettingsError([f"{path}: {error}"]) from None
        except OSError as error:
            raise SettingsError([f"{path}: {error.strerror or error}"]) from None

    def _read(self, path: str) -> bytes:
        try:
            return self.files[path]
        except KeyError:
            raise FileNotFoundError(2, "No such file or directory", path) from None


@dataclass(slots=True)
class Loaded:
    """A bundle made ready."""

    bundle: Bundle
    engine: Engine
    invocation: args.Invocation


class Loader:
    """Reads the command line's settings again whenever asked; relative paths stay those of the start."""

    def __init__(self, arguments: Sequence[str], prog: str) -> None:
        self.prog = prog
        self._arguments = tuple(arguments)
        self._start, self._uid = os.getcwd(), os.geteuid()

    def read(self, path: str) -> bytes:
        """Return the octets of the file `path`; a PermissionError says who is barred by what."""
        whole = os.path.join(self._start, path)
        try:
            return args.read_file(whole)
        except PermissionError as error:
            raise PermissionError(error.errno, f"{error.strerror}: {self._barred(whole)}", path) from None

    def _barred(self, path: str) -> str:
        uid = os.geteuid()
        try:
            user = f"user {pwd.getpwuid(uid).pw_name}"
        except KeyError:
            user = f"uid {uid}"
        folders = [str(folder) for folder in reversed(Path(path).parents)]
        closed = next((folder for folder in folders if not may_run(folder)), "")
        text = f"{closed} is closed to {user}" if closed else f"{user} may not read it"
        text += "; open it to that user by owner or group"
        # After a privilege drop a start would have read it.
        return text if uid == self._uid else f"{text}, or restart, which reads it before becoming that user"

    def parse(self) -> args.Invocation:
        """Return what the command line asks for; as `args.parse`."""
        return args.parse(self._arguments, self.read, self.prog)

    def load(self, invocation: args.Invocation) -> Loaded:
        """Return the settings of `invocation` with all they need.

        Raises:
            SettingsError: A key or another file is of no use.
        """
        assert invocation.settings is not None
        files: dict[str, bytes] = {}
        place = "keys[{}].path" if invocation.config_path else "-s"
        engine = Engine.load(invocation.settings, self._recorder(files), place=place)
        keys = sorted(files)
        if invocation.settings.records_file:
            path = invocation.settings.records_file
            try:
                files[path] = self.read(path)
            except OSError as error:
                raise SettingsError([f"{path}: {error.strerror or error}"]) from None
        engine.notes += tuple(few(self._open_keys(keys)))
        bundle = Bundle(invocation.settings, files, self._nameservers(invocation.settings))
        bundle.records()
        return Loaded(bundle, engine, invocation)

    def closed(self, bundle: Bundle) -> Iterator[str]:
        """Yield a warning for each file of `bundle` that a reload could not read; ask after becoming the user."""
        barred = (path for path in bundle.files if not may_read(os.path.join(self._start, path)))
        yield from few(f"{p}: a reload will fail: {self._barred(os.path.join(self._start, p))}" for p in barred)

    def _open_keys(self, paths: list[str]) -> Iterator[str]:
        """Warnings about private keys that are open to more people than they should be."""
        for path in paths:
            found = known(os.path.join(self._start, path))
            # The group may read: keys are often root's and the filter's group's.
            if found and (mode := stat.S_IMODE(found.st_mode)) & 0o027:
                yield f"{path}: mode {mode:04o} opens this private key to others; 0600 or 0640 is right"

    def _recorder(self, files: dict[str, bytes]) -> Callable[[str], bytes]:
        def read(path: str) -> bytes:
            files[path] = octets = self.read(path)
            return octets

        return read

    def other_nameservers(self, bundle: Bundle) -> Nameservers | None:
        """Return the system's name servers if they are no longer those of `bundle`; None if they are, or are not used.

        A resolv.conf that is just being written names none: then nothing changes.
        """
        if bundle.settings.nameservers or bundle.settings.records_file:
            return None
        try:
            text = self.read(RESOLV_CONF).decode("utf-8", "replace")
        except OSError:
            return None
        found = from_resolv_conf(text, bundle.nameservers.addresses)
        return found if found.addresses != bundle.nameservers.addresses else None

    def _nameservers(self, settings: Settings) -> Nameservers:
        if settings.nameservers:
            return from_settings(settings.nameservers)
        try:
            return from_resolv_conf(self.read(RESOLV_CONF).decode("utf-8", "replace"))
        except OSError:
            return from_resolv_conf("")


def unchangeable(old: Settings, new: Settings) -> list[str]:
    """Return the names of settings that differ and need a restart."""
    return [
        each.name
        for each in fields(Settings)
        if each.name in ONLY_AT_START and getattr(old, each.name) != getattr(new, each.name)
    ]
