"""Becoming another user for good, and giving up whatever could lead back: a filter reads what strangers send.

The user: supplementary groups, group, user, in this order. Nothing is done if we are that user already: dk-filter
failed there with `setgid(): Operation not permitted`.

What could lead back (Linux; prctl(2), capabilities(7)): no capability is left, nor can any be had again, a program
that were executed could not gain any privilege, and nobody else of our user may trace the process, read its memory or
take its descriptors, nor is a core file of it written. FreeBSD has none of this by this way: there the kernel itself
protects a process that has changed its user from being traced by that user (P_SUGID), until it executes a program.

A filter that stays root keeps in its parent what a reload and the end of it need: reading settings and keys, whoever
owns them, and removing its sockets and its pid file. Its workers, who talk to the network, keep no capability; they
have the parent read for them.
"""

from __future__ import annotations

import ctypes
import grp
import os
import pwd
import resource
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from dkconf.server.fault import EX_NOPERM, EX_NOUSER, StartFailure

_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH, _CAP_FOWNER = 1, 2, 3
ROOTS_FILES: Final = (_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH, _CAP_FOWNER)
"""What the parent of a filter that stays root keeps."""
_PR_SET_DUMPABLE, _PR_CAPBSET_READ, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 4, 23, 24, 38, 47
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
_CAPABILITY_VERSION: Final = 0x20080522
"""_LINUX_CAPABILITY_VERSION_3: 64 capabilities, in two halves of effective, permitted and inheritable ones."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom to become."""

    name: str
    uid: int
    gid: int
    group_named: bool = False
    """The group was asked for; else it is the user's own."""


def find(user: str) -> Identity:
    """Return the identity that `user` names: USER or USER:GROUP, each a name or a number.

    Raises:
        StartFailure: No such user or group (65).
    """
    name, _, group = user.partition(":")
    try:
        entry = pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    except (KeyError, OverflowError):
        raise StartFailure(f"no such user or uid `{name}'", EX_NOUSER) from None
    gid = entry.pw_gid
    if group:
        try:
            gid = int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
        except KeyError:
            raise StartFailure(f"no such group `{group}'", EX_NOUSER) from None
    return Identity(entry.pw_name, entry.pw_uid, gid, bool(group))


def drop(identity: Identity) -> None:
    """Become `identity`; there is no way back.

    Raises:
        StartFailure: The kernel says no (77).
    """
    if os.getuid() == os.geteuid() == identity.uid:
        # A user who is not root cannot change the group, and a service manager may have given another one.
        given = identity.uid != 0 and not identity.group_named
        if given or os.getgid() == os.getegid() == identity.gid:
            return
    step = "initgroups()"
    try:
        os.initgroups(identity.name, identity.gid)
        step = "setgid()"
        os.setresgid(identity.gid, identity.gid, identity.gid)
        step = "setuid()"
        os.setresuid(identity.uid, identity.uid, identity.uid)
    except OSError as error:
        raise StartFailure(f"{step}: {error.strerror}", EX_NOPERM) from None


def empty_bounding_set() -> bool:
    """Let no capability be had again by executing a program; return whether that holds now.

    Only root may do it, and root in a container may not; before the user changes.
    """
    prctl = _prctl()
    if prctl is None:
        return False
    capability = 0
    # 1 = it is in the set, 0 = it is not, -1 = the kernel knows no such capability.
    while (there := prctl(_PR_CAPBSET_READ, capability, 0, 0, 0)) >= 0:
        if there and prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0):
            return False
        capability += 1
    return capability > 0


def confine(keep: Iterable[int] = ()) -> None:
    """Keep no capability but those named, and those only if we have them; gain none; be closed to our own user.

    What the kernel refuses (an old one, a container's filter of system calls) stays as it was.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    prctl = _prctl()
    if prctl is None:
        return
    prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    _keep_only(frozenset(keep))
    prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    # Last: the kernel sets it anew whenever the user changes.
    prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _keep_only(keep: frozenset[int]) -> None:
    """Drop the effective, permitted and inheritable capabilities that are not named."""
    capget, capset = _libc("capget"), _libc("capset")
    if capget is None or capset is None:
        return
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    sets = (ctypes.c_uint32 * 6)()
    if capget(header, sets):
        return
    for half in (0, 1):
        mask = sum(1 << (one - 32 * half) for one in keep if one // 32 == half)
        effective, permitted = sets[3 * half] & mask, sets[3 * half + 1] & mask
        sets[3 * half : 3 * half + 3] = [effective, permitted, 0]
    capset(header, sets)


def _prctl() -> Any:
    """As `_libc`."""
    found = _libc("prctl")
    if found is not None:
        # The kernel looks at all bits of arguments that must be 0.
        found.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)
    return found


def _libc(name: str) -> Any:
    """Return a function of the C library; None where it has none of this name, or the system is not Linux."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
