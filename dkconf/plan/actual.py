"""What is on a host now, and what was last applied to it: values that `apply` reads and `plan` compares.

A private key is never in here: a key file is its path, its owner and mode, and the fingerprint of its
public half.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from dkconf.desired.state import DesiredState


@dataclass(frozen=True, slots=True)
class FileDigest:
    """A file without its octets: what a plan, a manifest and a journal may hold."""

    sha256: str
    mode: int
    owner: str
    group: str


@dataclass(frozen=True, slots=True)
class FileState:
    """A regular file as it lies on the host."""

    content: bytes
    mode: int
    owner: str
    """User name; the number where the host knows no name."""
    group: str
    mtime_ns: int = 0

    @property
    def digest(self) -> FileDigest:
        """Return the state without the octets."""
        return FileDigest(hashlib.sha256(self.content).hexdigest(), self.mode, self.owner, self.group)


@dataclass(frozen=True, slots=True)
class KeyState:
    """A private key's file on the host, without the key."""

    mode: int
    owner: str
    group: str
    fingerprint: str
    """SHA-256 of the public half's SubjectPublicKeyInfo, lower-case hex; "" if it could not be read as a
    key."""
    problem: str = ""
    """Why the filter could not use it, with the fix; "" if nothing is wrong."""


@dataclass(frozen=True, slots=True)
class ActualState:
    """What `apply.observe` saw."""

    files: Mapping[str, FileState | None]
    """Every path that is wanted or was applied; None = not there."""
    mc: FileState | None
    cf: FileState | None
    keys: Mapping[str, KeyState | None] = field(default_factory=dict)
    running: Mapping[str, bool | None] = field(default_factory=dict)
    """By filter name; None = cannot be told (another root, external)."""
    users: frozenset[str] = frozenset()
    builds: bool = True
    """sendmail.cf is built here; False in another root, where its sources are all that is written."""


@dataclass(frozen=True, slots=True)
class LastApplied:
    """The generation in force, as far as a comparison needs it."""

    number: int
    desired: DesiredState
    """With the files' contents."""
    files: Mapping[str, FileDigest]
    """As they were written, sendmail.mc and sendmail.cf included."""
    block: str = ""
    """dkconf's block of sendmail.mc, as written."""
    overrides: Mapping[str, bool] = field(default_factory=dict)
    """Filters that `disable-filter` or `enable-filter` set against the inventory: name -> called."""
