"""Three states into one plan: wanted, last applied, there now. Pure.

What differs between last applied and now was changed by somebody else: drift, named and never silently
overwritten. What differs between now and wanted is what apply would do.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from dkconf.desired.state import DesiredState, KeyFile, ManagedFile, MilterFilter, TxtRecord
from dkconf.errors import Refusal
from dkconf.plan.actual import ActualState, FileDigest, FileState, LastApplied
from dkconf.plan.model import (
    Drift,
    FileChange,
    FilterChange,
    KeyAction,
    KeyChange,
    Plan,
    RecordChange,
    ServiceChange,
)
from dkconf.plan.source import block_text, wanted_source
from dkconf.sendmail import cf, mc

SENDMAIL_ROLES = frozenset({"fragment", "sendmail.mc", "sendmail.cf"})
CALLED, DEFINED, ABSENT = "called by sendmail", "defined, not called", "absent"
LATER = ", once its last mail is through"
FAILURE_WORDS = {
    "accept": "mail passes unfiltered when it fails",
    "tempfail": "mail is put off when it fails (F=T)",
    "reject": "mail is refused when it fails (F=R)",
    "shutdown": "connections are closed when it fails (F=4)",
}


def diff(
    desired: DesiredState,
    actual: ActualState,
    last: LastApplied | None,
    *,
    take_over: Collection[str] = (),
    inventory_digest: str = "",
    overrides: Mapping[str, bool] | None = None,
) -> Plan:
    """Return what makes `actual` into `desired`, in order, with what somebody else changed since `last`.

    Args:
        desired: What is wanted; overrides already merged in.
        actual: What is there; `mc` None = the host's sendmail.mc is not looked at.
        take_over: Names of hand-made filter lines, and paths of files edited by hand.
        overrides: Filters set against the inventory, for showing.
    """
    files, problems, notes, taken = _files(desired, actual, last, take_over)
    known = {f.filter for f in files} | set(_changed_settings(desired, last))
    keys, key_files, key_problems = _keys(desired, actual, last)
    mc_change, cf_change = _sendmail(desired, actual, files, taken)
    services = _services(desired, actual, last, known)
    sendmail = [f for f in files if f.role == "fragment"] + [c for c in (mc_change, cf_change) if c]
    going = [f for f in files if f.action == "remove"]
    others = [f for f in files if f.role != "fragment" and f.action != "remove"]
    return Plan(
        host=desired.host,
        desired_digest=desired.digest,
        inventory_digest=inventory_digest,
        from_generation=last.number if last else 0,
        users=tuple(u.name for u in desired.users if u.name not in actual.users),
        files=(*others, *key_files, *sendmail, *going),
        services=services,
        filters=_filters(desired, actual, last),
        records=_records(desired, last),
        keys=keys,
        drift=_drift(desired, actual, last),
        overrides=dict(overrides or {}),
        take_over=tuple(sorted(take_over)),
        problems=(*problems, *key_problems),
        notes=notes,
    )


def compare(before: DesiredState, after: DesiredState) -> Plan:
    """Return what differs between two generations; the host itself is not looked at."""
    files = {f.path: FileState(f.content, f.mode, f.owner, f.group) for f in before.files}
    digests = {path: state.digest for path, state in files.items()}
    last = LastApplied(0, before, digests)
    users = frozenset(u.name for u in after.users)
    running: dict[str, bool | None] = {s.filter: s.running for s in before.services if s.managed}
    actual = ActualState(files, None, None, running=running, users=users)
    return replace(diff(after, actual, last), problems=())


def file_digest(file: ManagedFile) -> FileDigest:
    """Return a wanted file without its octets."""
    return FileState(file.content, file.mode, file.owner, file.group).digest


# files


def _files(
    desired: DesiredState, actual: ActualState, last: LastApplied | None, take_over: Collection[str]
) -> tuple[list[FileChange], list[Refusal], tuple[str, ...], str | None]:
    """Return changes of managed files, refusals, notes, and the wanted sendmail.mc (None = not looked at)."""
    changes: list[FileChange] = []
    problems: list[Refusal] = []
    for file in desired.files:
        now = actual.files.get(file.path)
        change = _file_change(file, now)
        if change is None:
            continue
        changes.append(change)
        ours = last is not None and file.path in last.files
        found = now is not None and not ours and change.action == "update" and _says_something(now.content)
        if found and file.path not in take_over:
            sentence = f"{file.path}: is there already, and not by dkconf; it would be overwritten"
            problems.append(Refusal("", sentence, f"--take-over {file.path}"))
    wanted = {f.path for f in desired.files}
    for gone in last.desired.files if last else ():
        now = actual.files.get(gone.path)
        if gone.path not in wanted and now is not None:
            why = "no longer wanted"
            changes.append(
                FileChange(gone.path, "remove", now.digest, None, gone.role, gone.filter, now.content, why=why)
            )
    if actual.mc is None:
        return changes, problems, (), None
    source = wanted_source(mc.decode(actual.mc.content), desired, take_over)
    return changes, [*problems, *source.refusals], source.notes, source.text


def _file_change(file: ManagedFile, now: FileState | None) -> FileChange | None:
    post = file_digest(file)
    if now is None:
        return FileChange(file.path, "create", None, post, file.role, file.filter, b"", file.content)
    if now.digest == post:
        return None
    return FileChange(
        file.path,
        "update" if now.content != file.content else "attributes",
        now.digest,
        post,
        file.role,
        file.filter,
        now.content,
        file.content,
    )


def _says_something(content: bytes) -> bool:
    """Return whether a file holds more than comments and blank lines, as packages install it."""
    lines = (line.strip() for line in content.splitlines())
    return any(line and not line.startswith((b"#", b";", b"dnl")) for line in lines)


def _sendmail(
    desired: DesiredState, actual: ActualState, files: list[FileChange], wanted: str | None
) -> tuple[FileChange | None, FileChange | None]:
    """Return the changes of sendmail.mc and sendmail.cf."""
    paths = desired.paths
    mc_change = None
    if wanted is not None and actual.mc is not None:
        content = mc.encode(wanted)
        if content != actual.mc.content:
            post = replace(actual.mc, content=content).digest
            mc_change = FileChange(
                paths.sendmail_mc, "update", actual.mc.digest, post, "sendmail.mc", "",
                actual.mc.content, content,
            )  # fmt: skip
    if wanted is None:
        return None, None
    if not actual.builds:
        return mc_change, None
    why = ""
    if mc_change or any(f.role == "fragment" and f.action != "attributes" for f in files):
        why = "rebuilt from sendmail.mc"
    elif actual.cf is None:
        why = "missing"
    elif not _cf_matches(desired, actual.cf):
        why = "does not call the filters as sendmail.mc says; rebuilt"
    if not why:
        return mc_change, None
    pre = actual.cf.digest if actual.cf else None
    return mc_change, FileChange(paths.sendmail_cf, "rebuild", pre, None, "sendmail.cf", why=why)


def _cf_matches(desired: DesiredState, live: FileState) -> bool:
    model = cf.parse(mc.decode(live.content))
    names = {f.name for f in desired.filters}
    called = [n for n in model.input_filters if n in names]
    return called == [f.name for f in desired.filters if f.enabled] and names <= set(model.filters)


def _drift(desired: DesiredState, actual: ActualState, last: LastApplied | None) -> tuple[Drift, ...]:
    if last is None:
        return ()
    wanted = {f.path: file_digest(f) for f in desired.files}
    paths = desired.paths
    found = []
    for path, written in sorted(last.files.items()):
        if path in (paths.sendmail_mc, paths.sendmail_cf) or path not in actual.files:
            continue
        now = actual.files[path]
        what = _differs(written, now.digest if now else None)
        if what:
            matters = now is not None and wanted.get(path) != now.digest
            found.append(Drift(path, what, matters))
    if actual.mc is not None and last.block:
        block = block_text(mc.decode(actual.mc.content))
        if block != last.block:
            # Only dkconf's own lines; the rest of the file is the host's to edit.
            what = "dkconf's block was changed" if block else "dkconf's block was removed"
            found.append(Drift(paths.sendmail_mc, what, True))
    return tuple(found)


def _differs(written: FileDigest, now: FileDigest | None) -> str:
    if now is None:
        return "removed"
    words = []
    if written.sha256 != now.sha256:
        words.append("content")
    if written.mode != now.mode:
        words.append(f"mode {now.mode:04o} (was {written.mode:04o})")
    if (written.owner, written.group) != (now.owner, now.group):
        words.append(f"owner {now.owner}:{now.group} (was {written.owner}:{written.group})")
    return ", ".join(words)


# filters and their services


def _filters(desired: DesiredState, actual: ActualState, last: LastApplied | None) -> tuple[FilterChange, ...]:
    before = {f.name: f for f in last.desired.filters} if last else {}
    if actual.cf is not None and actual.builds:
        model = cf.parse(mc.decode(actual.cf.content))
        was = {n: CALLED if n in model.input_filters else DEFINED for n in model.filters}
    else:
        was = {n: CALLED if f.enabled else DEFINED for n, f in before.items()}
    changes = []
    for filter_ in desired.filters:
        now, then = was.get(filter_.name, ABSENT), CALLED if filter_.enabled else DEFINED
        words = _settings_words(before[filter_.name], filter_) if filter_.name in before else ()
        if now != then or words:
            changes.append(FilterChange(filter_.name, now, then, words))
    names = {f.name for f in desired.filters}
    changes += [FilterChange(n, was[n], ABSENT) for n in before if n not in names and n in was]
    order = [f.name for f in desired.filters if f.enabled]
    order_before = [n for n, f in before.items() if f.enabled and n in order]
    if [n for n in order if n in order_before] != order_before and not changes:
        changes.append(FilterChange(", ".join(order), "called in another order", "called in this order"))
    return tuple(changes)


def _settings_words(before: MilterFilter, after: MilterFilter) -> tuple[str, ...]:
    words = []
    if before.socket != after.socket:
        words.append(f"socket {before.socket} -> {after.socket}")
    if before.on_failure != after.on_failure:
        words.append(FAILURE_WORDS[after.on_failure])
    if before.timeouts != after.timeouts:
        words.append("timeouts change")
    gone = [s for s in before.signs if s not in after.signs]
    new = [s for s in after.signs if s not in before.signs]
    words += [f"signs no more: {s.scheme} {s.selector}._domainkey.{s.domain}" for s in gone]
    words += [f"signs: {s.scheme} {s.selector}._domainkey.{s.domain}" for s in new]
    if before.settings_digest != after.settings_digest and not words:
        words.append("settings change")
    return tuple(words)


def _changed_settings(desired: DesiredState, last: LastApplied | None) -> list[str]:
    before = {f.name: f.settings_digest for f in last.desired.filters} if last else {}
    return [f.name for f in desired.filters if f.name in before and before[f.name] != f.settings_digest]


def _services(
    desired: DesiredState, actual: ActualState, last: LastApplied | None, changed: set[str]
) -> tuple[ServiceChange, ...]:
    found = []
    for service in desired.services:
        running = actual.running.get(service.filter)
        if not service.managed or running is None:
            continue
        if service.running and not running:
            found.append(ServiceChange(service.filter, "start", "does not run"))
        elif service.running and service.filter in changed:
            found.append(ServiceChange(service.filter, "reload", "new settings"))
        elif not service.running and running:
            found.append(ServiceChange(service.filter, "stop", f"no longer called{LATER}"))
    names = {s.filter for s in desired.services}
    for service in last.desired.services if last else ():
        if service.filter not in names and service.managed and actual.running.get(service.filter):
            found.append(ServiceChange(service.filter, "stop", f"no longer wanted{LATER}"))
    return tuple(found)


# keys and records


def _keys(
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


def _records(desired: DesiredState, last: LastApplied | None) -> tuple[RecordChange, ...]:
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
