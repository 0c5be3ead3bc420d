"""Files: what has to be written for the wanted state, and what somebody else changed since."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from dkconf.desired.state import DesiredState, ManagedFile
from dkconf.errors import Refusal
from dkconf.plan.actual import ActualState, FileDigest, FileState, LastApplied
from dkconf.plan.model import Drift, FileChange
from dkconf.plan.source import block_text, wanted_source
from dkconf.sendmail import cf, mc

SENDMAIL_ROLES = frozenset({"fragment", "sendmail.mc", "sendmail.cf"})


def file_digest(file: ManagedFile) -> FileDigest:
    """Return a wanted file without its octets."""
    return FileState(file.content, file.mode, file.owner, file.group).digest


def file_changes(
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


def sendmail_changes(
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


def drift_of(desired: DesiredState, actual: ActualState, last: LastApplied | None) -> tuple[Drift, ...]:
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
