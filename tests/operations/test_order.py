"""A filter of our own from nothing to mail and back: user, settings, unit, key, service, and only then sendmail."""

from __future__ import annotations

from pathlib import Path

import pytest

from dkconf.errors import Reverted
from dkconf.operations import commands
from tests.memoryhost import CF_PATH, FRAGMENT, KEY_PATH, MC_PATH, STATE, Host, make_own_host

SETTINGS = "/etc/dkconf-settings/own.toml"
UNIT = "/etc/systemd/system/dkconf-own.service"
SCRIPT = "/etc/init.d/dkconf-own"


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

    commands.apply_plan(own.ctx())

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
    commands.apply_plan(own.ctx())
    own.edit("filters: [own]", "filters: []")
    steps = steps_of(own)

    commands.apply_plan(own.ctx())

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
    commands.apply_plan(own.ctx())
    own.machine.calls.clear()
    own.edit("    socket: inet", "    dns_timeout: 3\n    socket: inet")

    commands.apply_plan(own.ctx())

    assert ["judge", "reload own"] == own.machine.calls


@pytest.mark.parametrize("setting", ["workers: 3", "log: false", "user: other", "metrics: inet:9108@127.0.0.1"])
def test_settings_that_hold_from_a_start_on_are_taken_by_a_restart(own: Host, setting: str) -> None:
    """A reload would leave them alone, and the host would not be what the inventory says."""
    commands.apply_plan(own.ctx())
    own.machine.calls.clear()
    own.edit("    socket: inet", f"    {setting}\n    socket: inet")

    commands.apply_plan(own.ctx())

    assert "restart own" in own.machine.calls
    assert "reload own" not in own.machine.calls


def test_a_restart_is_taken_back_by_a_restart(own: Host) -> None:
    """sendmail cannot be told of the new socket: the filter has the old one again."""
    commands.apply_plan(own.ctx())
    before = own.etc()
    own.machine.calls.clear()
    own.edit("socket: inet:8894@", "socket: inet:8899@")
    own.machine.fail = "tell"

    with pytest.raises(Reverted):
        commands.apply_plan(own.ctx())

    assert before == own.etc()
    assert ["restart own", "restart own"] == [call for call in own.machine.calls if "own" in call]


def test_a_failed_start_leaves_nothing_behind(own: Host) -> None:
    """The filter does not start: unit, settings, key owner are as before, and the system user is gone."""
    before, users = own.etc(), set(own.system.users)
    own.machine.fail = "start"

    with pytest.raises(Reverted):
        commands.apply_plan(own.ctx())

    assert before == own.etc()
    assert users == own.system.users
    assert [] == own.called()
    assert "tell" in own.machine.calls, "sendmail is told again, although it may not have been told before"


def test_a_user_that_is_in_use_by_now_stays(own: Host) -> None:
    """Going back does not fail for it, and says why it stays."""
    own.machine.fail = "start"
    own.machine.used.add("dkconf")

    with pytest.raises(Reverted):
        commands.apply_plan(own.ctx())

    assert "dkconf" in own.system.users
    assert ["the system user dkconf, made by this run, stays: in use"] == [w for w in own.said if "stays" in w]


def test_only_the_first_change_takes_its_user_back(own: Host) -> None:
    """A later change that goes back leaves the user of an earlier one alone; so does release, for the keys are its."""
    commands.apply_plan(own.ctx())
    own.edit("    socket: inet", "    workers: 3\n    socket: inet")
    own.machine.fail = "restart"
    with pytest.raises(Reverted):
        commands.apply_plan(own.ctx())
    commands.release(own.ctx())

    assert "dkconf" in own.system.users
    assert [] == [call for call in own.machine.calls if call.startswith("user-back")]


@pytest.fixture
def script(tmp_path: Path) -> Host:
    """A host before dkconf, with a dkconf-filter to come that a start script starts."""
    return make_own_host(tmp_path, "sysv")


def _leave(host: Host) -> None:
    host.edit("filters: [own]", "filters: []")
    commands.apply_plan(host.ctx())


@pytest.mark.parametrize("off", [False, True], ids=["running", "disabled"])
@pytest.mark.parametrize("go", [_leave, lambda host: commands.release(host.ctx())], ids=["leaves", "release"])
def test_nothing_at_boot_names_a_script_that_has_gone(script: Host, go: object, off: bool) -> None:
    """The links of a start script go after the filter has stopped and before the script goes."""
    assert callable(go)
    commands.apply_plan(script.ctx())
    if off:
        commands.disable_filter(script.ctx(), "own")
    assert {"own"} == script.machine.at_boot
    steps = steps_of(script)

    go(script)

    assert SCRIPT not in script.system.files
    assert set() == script.machine.at_boot
    expected = [*([] if off else ["stop:own"]), "forget:own", f"remove:{SCRIPT}"]
    assert expected == [step for step in steps if step in expected]


def test_a_filter_that_is_off_is_still_known_at_boot(script: Host) -> None:
    """Disabling does not forget a script: update-rc.d keeps that it is off."""
    commands.apply_plan(script.ctx())
    commands.disable_filter(script.ctx(), "own")
    commands.enable_filter(script.ctx(), "own")

    assert "forget own" not in script.machine.calls
    assert {"own"} == script.machine.at_boot


def test_a_first_apply_that_goes_back_leaves_no_link(script: Host) -> None:
    """The script was started and registered; both are undone before it goes."""
    before = script.etc()
    script.machine.worse = ("port 25: no longer answers",)
    steps = steps_of(script)

    with pytest.raises(Reverted):
        commands.apply_plan(script.ctx())

    assert before == script.etc()
    assert set() == script.machine.at_boot
    expected = ["stop-back:own", "forget-back:own", f"remove:{SCRIPT}"]
    assert expected == [step for step in steps if step in expected]


def test_a_script_that_is_edited_meanwhile_keeps_its_links(script: Host) -> None:
    """What stays where it is can still be started."""
    commands.apply_plan(script.ctx())

    def edit(name: str, edge: str) -> None:
        if (name, edge) == ("stop:own", "after"):
            script.system.put(SCRIPT, b"edited")

    script.system.use(edit)
    commands.release(script.ctx())

    assert SCRIPT in script.system.files
    assert "forget own" not in script.machine.calls
