"""A plan as a value: what would change on one host, in the order in which it would be done.

It can be shown (with the files' contents in memory) and saved (without them: digests only). A saved plan
holds no content and no secret; apply derives the plan again and does nothing unless both have the same
digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from dkconf.errors import Refusal
from dkconf.plan import forms
from dkconf.plan.actual import FileDigest
from dkconf.plan.codec import to_json

KeyAction = Literal["use", "replace", "drop"]
FileAction = Literal["create", "update", "attributes", "rebuild", "remove"]


@dataclass(frozen=True, slots=True)
class FileChange:
    """One file. `before` and `after` are for the diff, and never saved."""

    path: str
    action: FileAction
    pre: FileDigest | None
    post: FileDigest | None
    """None for one that goes, and for sendmail.cf, which is known when it has been built and judged."""
    role: str
    filter: str = ""
    before: bytes = b""
    after: bytes = b""
    why: str = ""


@dataclass(frozen=True, slots=True)
class FilterChange:
    """One filter in words."""

    name: str
    was: str
    becomes: str
    settings: tuple[str, ...] = ()
    """What else changes, in words."""


@dataclass(frozen=True, slots=True)
class RecordChange:
    action: Literal["create", "update", "delete"]
    name: str
    before: str
    after: str
    kind: str


@dataclass(frozen=True, slots=True)
class KeyChange:
    action: KeyAction
    domain: str
    selector: str
    algorithm: str
    fingerprint: str
    path: str


@dataclass(frozen=True, slots=True)
class ServiceChange:
    filter: str
    action: Literal["start", "reload", "restart", "stop"]
    why: str


@dataclass(frozen=True, slots=True)
class Drift:
    """A file that somebody changed since dkconf wrote it."""

    path: str
    what: str
    """e.g. content, mode 0600 (was 0644), removed."""
    matters: bool
    """False where it already is as wanted now: nothing would be overwritten."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All changes of one host."""

    host: str
    desired_digest: str
    inventory_digest: str
    from_generation: int
    """The generation in force when it was made; 0 = none."""
    users: tuple[str, ...] = ()
    files: tuple[FileChange, ...] = ()
    """In the order of writing; those that go come last."""
    services: tuple[ServiceChange, ...] = ()
    filters: tuple[FilterChange, ...] = ()
    records: tuple[RecordChange, ...] = ()
    keys: tuple[KeyChange, ...] = ()
    drift: tuple[Drift, ...] = ()
    overrides: Mapping[str, bool] = field(default_factory=dict)
    take_over: tuple[str, ...] = ()
    problems: tuple[Refusal, ...] = ()
    """What forbids applying it; see `safety`."""
    notes: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """Return whether applying it would do nothing at all."""
        return not (self.users or self.files or self.services or self.filters or self.records or self.keys)

    @property
    def touches_sendmail(self) -> bool:
        """Return whether sendmail.cf is rebuilt."""
        return any(f.role == "sendmail.cf" for f in self.files)

    @property
    def digest(self) -> str:
        """Return the SHA-256 over everything that would be done, hex."""
        return digest_of(self._content())

    def _content(self) -> dict[str, Any]:
        content: dict[str, Any] = {
            name: to_json(getattr(self, name))
            for name in (
                "host", "desired_digest", "inventory_digest", "from_generation", "users", "services",
                "filters", "records", "keys", "drift", "overrides", "take_over", "notes",
            )
        }  # fmt: skip
        content["files"] = [{k: v for k, v in to_json(f).items() if k not in ("before", "after")} for f in self.files]
        return content

    def to_json(self, **extra: Any) -> dict[str, Any]:
        """Return the plan for saving: no contents, no secrets. `extra`: plan_id, created, git ..."""
        content = self._content()
        return {
            "format": forms.PLAN.format,
            **extra,
            **content,
            "empty": self.empty,
            "refusals": [{"risk": r.risk, "reason": r.sentence, "way_on": r.way_on} for r in self.problems],
            "digest": digest_of(content),
        }


CONTENT = frozenset(
    {
        "host", "desired_digest", "inventory_digest", "from_generation", "users", "services",
        "filters", "records", "keys", "drift", "overrides", "take_over", "notes", "files",
    }
)  # fmt: skip
"""The keys of a saved plan that its digest covers."""


def digest_of(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a plan's content in its one canonical JSON form, hex."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def saved_digest(saved: Mapping[str, Any]) -> str:
    """Return the digest that a saved plan's content has; another than it claims means that it was edited."""
    return digest_of({k: v for k, v in saved.items() if k in CONTENT})
