"""Whose state it is: `STATE/host.json`.

A machine that was cloned, a host that was renamed, a state directory on shared storage: what lies there was written
about another host, and a change or a repair that goes by it would make this host that one. So each generation that is
made leaves here the name it was made for and the name that the machine itself had. State of before this file existed
has the host's name in its manifest alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from dkconf.errors import DkconfError, Refusal
from dkconf.host.system import System
from dkconf.plan import forms
from dkconf.plan.actual import FileState
from dkconf.plan.codec import from_json, to_json

OTHER_HOST = "other-host"
"""The risk that `--accept-risk` takes."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The host that a state directory is about."""

    host: str
    """As the inventory has it; "" = not known."""
    machine: str = ""
    """The name that the machine itself had; "" = not known."""


class OwnerStore:
    """The name kept in one state directory."""

    def __init__(self, system: System, state_dir: str) -> None:
        self._system = system
        self._file = f"{state_dir}/host.json"

    def read(self) -> Owner | None:
        """Return whose state it is, None if nothing says so.

        Raises:
            NewerForm, DkconfError: A newer dkconf wrote it, or it is damaged.
        """
        found = self._system.read(self._file)
        if found is None:
            return None
        _, data = forms.parsed(forms.OWNER, self._file, found.content)
        owner = from_json(Owner, data)
        if not isinstance(owner.host, str) or not isinstance(owner.machine, str):
            raise DkconfError(f"{self._file}: damaged: the name of a host is a text")
        return owner

    def write(self, owner: Owner) -> None:
        """Keep whose state it is; nothing is written where it says so already."""
        if self.read() != owner:
            self._system.write(self._file, FileState(forms.octets(forms.OWNER, to_json(owner)), 0o600, "0", "0"))


def same(one: str, other: str) -> bool:
    """Return whether two names are one host's: alike, or one is the other without its domain."""
    first, second = (name.lower().rstrip(".") for name in (one, other))
    if first == second:
        return True
    short = [name for name in (first, second) if "." not in name]
    return len(short) == 1 and first.partition(".")[0] == second.partition(".")[0]


def foreign(owner: Owner | None, given: str, machine: str) -> bool:
    """Return whether state belongs to another host than this.

    Args:
        given: --host; "" = this machine's own name counts.
        machine: This machine's own name; "" = it does not count, as in another root.
    """
    if owner is None:
        return False
    if given:
        return bool(owner.host) and not same(given, owner.host)
    return bool(machine) and not same(machine, owner.machine or owner.host)


def refusal(state_dir: str, owner: Owner, name: str) -> Refusal:
    """Return the refusal of a change that would go by another host's state; `name` is this host's."""
    whose = owner.host or owner.machine
    if owner.machine and not same(owner.machine, owner.host):
        whose += f" (made on {owner.machine})"
    return Refusal(
        OTHER_HOST,
        f"{state_dir}: is the state of {whose}, and this host is {name}",
        f"on a machine that was cloned or renamed --accept-risk {OTHER_HOST} goes on and makes it this host's; where "
        "that host shares the directory, give this one its own (hosts.HOST.paths.state_dir)",
    )
