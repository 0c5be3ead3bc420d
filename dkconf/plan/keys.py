"""Keys by their fingerprints, and the records that go with them. A private key is never looked into here."""

from __future__ import annotations

from dkconf.desired.state import DesiredState, KeyFile, TxtRecord
from dkconf.errors import Refusal
from dkconf.plan.actual import ActualState, FileDigest, LastApplied
from dkconf.plan.model import FileChange, KeyAction, KeyChange, RecordChange


def key_changes(
    desired: DesiredState, actual: ActualState, last: LastApplied | None
) -> tuple[tuple[KeyChange, ...], list[FileChange], list[Refusal]]:
    before = {(k.domain, k.selector): k for k in last.desired.keys} if last else {}
    after = {(k.domain, k.selector): k for k in desired.keys}
    changes = []
    for name, key in after.items():
        old = before.get(name)
        if old is None:
            changes.append(_key_change("use", key))
        elif old.fingerprint != key.fingerprint:
            changes.append(_key_change("replace", key))
    changes += [_key_change("drop", k) for name, k in before.items() if name not in after]
    files: list[FileChange] = []
    problems: list[Refusal] = []
    for key in desired.keys:
        state = actual.keys.get(key.path)
        if key.path not in actual.keys:
            continue
        if state is None:
            problems.append(
                Refusal(
                    "",
                    f"{key.path}: not there: the private key of {key.selector}._domainkey.{key.domain}",
                    f"copy it there, or for a new selector: dkconf keys generate {key.domain} {key.selector}",
                )
            )
            continue
        if key.fingerprint and state.fingerprint and key.fingerprint != state.fingerprint:
            problems.append(
                Refusal(
                    "",
                    f"{key.path}: is another key ({state.fingerprint[:16]}...) than the public half beside "
                    f"the inventory ({key.fingerprint[:16]}...)",
                    "put its own private half there; a key is never replaced under its selector",
                )
            )
        if state.problem:
            problems.append(Refusal("", f"{key.path}: {state.problem}", "then run this again"))
        elif (state.owner, state.group, state.mode) != (key.owner, key.group, key.mode):
            files.append(
                FileChange(
                    key.path,
                    "attributes",
                    FileDigest("", state.mode, state.owner, state.group),
                    FileDigest("", key.mode, key.owner, key.group),
                    "key",
                    why=f"private key, sha256 {state.fingerprint[:16]}...",
                )
            )
    return tuple(changes), files, problems


def _key_change(action: KeyAction, key: KeyFile) -> KeyChange:
    return KeyChange(action, key.domain, key.selector, key.algorithm, key.fingerprint, key.path)


def record_changes(desired: DesiredState, last: LastApplied | None) -> tuple[RecordChange, ...]:
    before = {r.name: r for r in last.desired.records} if last else {}
    after = {r.name: r for r in desired.records}
    changes = []
    for name, record in after.items():
        old = before.get(name)
        if old is None:
            changes.append(RecordChange("create", name, "", _value(record), record.kind))
        elif (old.value, old.ttl) != (record.value, record.ttl):
            changes.append(RecordChange("update", name, _value(old), _value(record), record.kind))
    changes += [
        RecordChange("delete", name, _value(old), "", old.kind) for name, old in before.items() if name not in after
    ]
    return tuple(changes)


def _value(record: TxtRecord) -> str:
    return f"{record.ttl} {record.value.decode('latin-1')}"
