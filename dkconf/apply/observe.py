"""Reads what is on the host into an `ActualState`; changes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dkconf import keys
from dkconf.apply.journal import Outstanding
from dkconf.desired.state import DesiredState, KeyFile, ManagedFile
from dkconf.host.machine import Machine
from dkconf.host.system import System
from dkconf.plan.actual import ActualState, FileState, KeyState, LastApplied


def observe(
    system: System,
    machine: Machine,
    desired: DesiredState,
    last: LastApplied | None,
    outstanding: Outstanding | None = None,
) -> ActualState:
    """Return what is there now, at every path that is wanted or was applied.

    Args:
        outstanding: Filters that wait to be stopped count as stopped, unless they are wanted again.
    """
    paths = desired.paths
    names = {f.path for f in desired.files} | {f.path for f in (last.desired.files if last else ())}
    wanted = {f.path: f for f in desired.files}
    here = system.root == "/"
    return ActualState(
        files={path: _file(system, path, wanted.get(path)) for path in sorted(names)},
        mc=system.read(paths.sendmail_mc),
        cf=system.read(paths.sendmail_cf),
        builds=here,
        keys={key.path: key_state(system, key) for key in desired.keys},
        running=_running(machine, desired, last, outstanding),
        users=frozenset(u.name for u in desired.users if not here or system.known_user(u.name)),
    )


def _file(system: System, path: str, wanted: ManagedFile | None) -> FileState | None:
    """Return the file there. In another root, whose users come into being when it runs, theirs are root's
    now."""
    state = system.read(path)
    return _owned(system, state, wanted) if state is not None and wanted is not None else state


def _owned(system: System, state: FileState, wanted: ManagedFile | KeyFile) -> FileState:
    if system.root == "/":
        return state
    owner = state.owner if system.known_user(wanted.owner) else wanted.owner
    group = state.group if system.known_group(wanted.group) else wanted.group
    return replace(state, owner=owner, group=group)


def _running(
    machine: Machine, desired: DesiredState, last: LastApplied | None, outstanding: Outstanding | None
) -> dict[str, bool | None]:
    services = {s.filter: s for s in (last.desired.services if last else ()) if s.managed}
    services |= {s.filter: s for s in desired.services if s.managed}
    wanted = {s.filter for s in desired.services if s.running}
    waiting = {step.service.filter for step in outstanding.stop} if outstanding else set()
    return {
        name: False if name in waiting and name not in wanted else machine.running(service)
        for name, service in services.items()
    }


def key_state(system: System, key: KeyFile) -> KeyState | None:
    """Return the state of a private key's file, None if it is not there.

    The private half is read for its public half's fingerprint, and forgotten at once.
    """
    state = system.attributes(key.path)
    if state is None:
        return None
    state = _owned(system, state, key)
    exposed = _exposed(key, state)
    real = Path(system.real_path(key.path))
    if not system.real_path(key.path):
        return KeyState(state.mode, state.owner, state.group, "", exposed)
    faults = keys.parent_faults(real, Path(system.root), key.owner)
    fingerprint = ""
    try:
        fingerprint = keys.private_half(real).fingerprint
    except keys.KeyFileError as exc:
        faults = [str(exc).removeprefix(f"{real}: "), *faults]
    return KeyState(state.mode, state.owner, state.group, fingerprint, exposed or "; ".join(faults))


def _exposed(key: KeyFile, state: FileState) -> str:
    """Return what is wrong with a mode that was open for others: whoever saw the key keeps it.

    Owner and group are set right by apply; an open mode is for a person to look at.
    """
    if not state.mode & ~key.mode & 0o077:
        return ""
    return f"mode {state.mode:04o} lets others at the private key: chmod {key.mode:04o} {key.path}"
