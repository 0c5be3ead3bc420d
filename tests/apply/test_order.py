"""A filter of our own from nothing to mail and back: user, settings, unit, key, service, and only then sendmail."""

from __future__ import annotations

import pytest

from dkconf.apply import operations
from dkconf.errors import Reverted
from tests.apply.conftest import CF_PATH, FRAGMENT, KEY_PATH, MC_PATH, STATE, Host

SETTINGS = "/etc/dkconf-settings/own.toml"
UNIT = "/etc/systemd/system/dkconf-own.service"


def steps_of(host: Host) -> list[str]:
    """Return the list that the host's steps outside the state directory are appended to."""
    steps: list[str] = []

    def hook(name: str, edge: str) -> None:
        if edge == "before" and STATE not in name:
            steps.append(name)

    host.system.use(hook)
    return steps


def test_the_way_there(own: Host) -> None:
    """Each thing comes after what it needs, and the .cf last."""
    steps = steps_of(own)

    operations.apply_plan(own.ctx())

    wanted = [
        "user:dkconf", f"write:{SETTINGS}", f"write:{UNIT}", f"attributes:{KEY_PATH}", "read-units", "start:own",
        f"write:{FRAGMENT}", f"write:{MC_PATH}", f"write:{CF_PATH}", "tell-sendmail", "check",
    ]  # fmt: skip
    found = [s for s in steps if s in wanted]
    assert sorted(wanted) == sorted(found), steps
    assert wanted[0] == found[0]
    assert found[4:] == wanted[4:]
    key = own.system.files[KEY_PATH]
    assert ("dkconf", 0o600, b"a private key") == (key.owner, key.mode, key.content)


def test_the_way_out(own: Host) -> None:
    """sendmail forgets the filter first; it is drained, stopped, and its files go last. The key stays."""
    operations.apply_plan(own.ctx())
    own.edit("filters: [own]", "filters: []")
    steps = steps_of(own)

    operations.apply_plan(own.ctx())

    wanted = [
        f"write:{FRAGMENT}", f"write:{CF_PATH}", "tell-sendmail", "check", "stop:own", f"remove:{SETTINGS}",
        f"remove:{UNIT}", "read-units-after",
    ]  # fmt: skip
    found = [s for s in steps if s in wanted]
    assert wanted[:5] == found[:5], steps
    assert set(wanted) == set(found)
    assert "read-units-after" == found[-1]
    assert KEY_PATH in own.system.files


def test_new_settings_are_read_before_sendmail_is_asked_anything(own: Host) -> None:
    """A change of settings alone: the filter is told, sendmail is not."""
    operations.apply_plan(own.ctx())
    own.machine.calls.clear()
    own.edit("    socket: inet", "    dns_timeout: 3\n    socket: inet")

    operations.apply_plan(own.ctx())

    assert ["judge", "reload own"] == own.machine.calls


@pytest.mark.parametrize("setting", ["workers: 3", "log: false", "user: other", "metrics: inet:9108@127.0.0.1"])
def test_settings_that_hold_from_a_start_on_are_taken_by_a_restart(own: Host, setting: str) -> None:
    """A reload would leave them alone, and the host would not be what the inventory says."""
    operations.apply_plan(own.ctx())
    own.machine.calls.clear()
    own.edit("    socket: inet", f"    {setting}\n    socket: inet")

    operations.apply_plan(own.ctx())

    assert "restart own" in own.machine.calls
    assert "reload own" not in own.machine.calls


def test_a_restart_is_taken_back_by_a_restart(own: Host) -> None:
    """sendmail cannot be told of the new socket: the filter has the old one again."""
    operations.apply_plan(own.ctx())
    before = own.etc()
    own.machine.calls.clear()
    own.edit("socket: inet:8894@", "socket: inet:8899@")
    own.machine.fail = "tell"

    with pytest.raises(Reverted):
        operations.apply_plan(own.ctx())

    assert before == own.etc()
    assert ["restart own", "restart own"] == [call for call in own.machine.calls if "own" in call]


def test_a_failed_start_leaves_nothing_behind(own: Host) -> None:
    """The filter does not start: unit, settings, key owner are as before; only the system user stays."""
    before = own.etc()
    own.machine.fail = "start"

    with pytest.raises(Reverted):
        operations.apply_plan(own.ctx())

    assert before == own.etc()
    assert [] == own.called()
    assert "tell" in own.machine.calls, "sendmail is told again, although it may not have been told before"
