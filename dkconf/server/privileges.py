"""Becoming another user for good: supplementary groups, group, user, in this order.

Nothing is done if we are that user already: dk-filter failed there with `setgid(): Operation not permitted`.
"""

from __future__ import annotations

import grp
import os
import pwd
from dataclasses import dataclass

from dkconf.server.fault import EX_NOPERM, EX_NOUSER, StartFailure


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
