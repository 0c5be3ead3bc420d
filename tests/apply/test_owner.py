"""Whose state it is: a clone, a renamed host and a shared state directory are refused, with the way on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dkconf.apply.owner import Owner, foreign, same
from dkconf.errors import DkconfError, Refused, Status
from dkconf.operations import commands, session, wanted
from tests.apply.test_forms import COMMANDS, host_of, timer
from tests.memoryhost import STATE, Host, make_host

HERE, CLONE = "mx1.example.test", "mx2.example.test"


def named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Have this machine be called so."""
    monkeypatch.setattr(wanted, "kernel_name", lambda: name)


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A machine that was cloned after an apply, and got a name of its own."""
    host = make_host(tmp_path)
    named(monkeypatch, HERE)
    commands.apply_plan(host.ctx())
    host.edit(
        "hosts:\n", f"hosts:\n  {CLONE}:\n    platform: debian\n    filters: [signer]\n    domains: [example.com]\n"
    )
    named(monkeypatch, CLONE)
    return Unnamed(**vars(host))


class Unnamed(Host):
    """Nobody gives --host."""

    def ctx(self, **options: object):  # type: ignore[no-untyped-def]
        return super().ctx(**{"host": "", **options})


@pytest.mark.parametrize("command", [name for name in COMMANDS if "emergency" not in name])
def test_every_change_refuses_another_hosts_state(clone: Host, command: str) -> None:
    """8, both names, the flag that goes on; nothing changes and nobody is told."""
    before, calls = dict(clone.system.files), list(clone.machine.calls)

    with pytest.raises(Refused) as refused:
        COMMANDS[command](clone)

    assert Status.REFUSED == refused.value.status
    words = str(refused.value)
    assert f"{STATE}: is the state of {HERE}, and this host is {CLONE}" in words
    assert "--accept-risk other-host" in words
    assert (before, calls) == (clone.system.files, clone.machine.calls)


@pytest.mark.parametrize("older", [False, True], ids=["today's", "of before the name was kept"])
def test_status_and_plan_show_it(clone: Host, older: bool) -> None:
    """Plainly, and a plan that would be refused says so."""
    if older:
        clone.system.remove(f"{STATE}/host.json")
    shown = commands.status(clone.ctx())

    assert ("error", shown.lines[0][1]) == shown.lines[0]
    assert f"is the state of {HERE}, and this host is {CLONE}" in shown.lines[0][1]
    assert HERE == shown.data["other_host"]
    plan = commands.plan_host(clone.ctx()).data["plan"]
    assert "other-host" in [refusal["risk"] for refusal in plan["refusals"]]
    accepted = commands.plan_host(clone.ctx(accept_risk=frozenset({"other-host"}))).data["plan"]
    assert [] == accepted["refusals"]


def host_of_newest(host: Host) -> str:
    engine = session.look(host.ctx(host="")).engine
    return engine.generations.manifest(engine.generations.current()).desired.host


ACCEPTED: dict[str, Callable[[Host, frozenset[str]], object]] = {
    "apply": lambda host, risk: commands.apply_plan(host.ctx(accept_risk=risk)),
    "disable-filter": lambda host, risk: commands.disable_filter(host.ctx(accept_risk=risk), "signer"),
    "rollback": lambda host, risk: commands.rollback(host.ctx(accept_risk=risk), 1),
}


@pytest.mark.parametrize("command", ACCEPTED, ids=str)
def test_going_on_makes_it_this_hosts(clone: Host, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """The new generation carries the new name, and nothing is refused afterwards."""
    if command == "rollback":
        named(monkeypatch, HERE)
        commands.disable_filter(clone.ctx(), "second")
        named(monkeypatch, CLONE)
    before = commands.status(clone.ctx()).data["generation"]

    ACCEPTED[command](clone, frozenset({"other-host"}))

    assert commands.status(clone.ctx()).data["generation"] > before
    assert CLONE == host_of_newest(clone)
    assert "" == commands.status(clone.ctx()).data["other_host"]
    assert Status.OK == commands.recover(clone.ctx()).status


def test_an_emergency_goes_on_and_says_so(clone: Host) -> None:
    """Mail that is refused does not wait for a question of names."""
    outcome = commands.disable_filter(clone.ctx(), "signer", emergency=True)

    assert Status.OK == outcome.status
    assert "signer" not in clone.called()
    assert any("is the state of mx1.example.test" in line and "goes on all the same" in line for line in clone.said)
    assert CLONE == host_of_newest(clone)


def test_where_nothing_is_to_be_changed_it_is_ours_all_the_same(clone: Host) -> None:
    """The flag is remembered by `recover` as well, which makes no generation."""
    commands.recover(clone.ctx(accept_risk=frozenset({"other-host"})))

    assert "" == commands.status(clone.ctx()).data["other_host"]
    kept = json.loads(clone.system.files[f"{STATE}/host.json"].content)
    assert (CLONE, CLONE) == (kept["host"], kept["machine"])


def test_a_timer_does_nothing_on_a_clone(clone: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that was copied while a change waited: the copy's timer leaves the copy alone, and says why."""
    named(monkeypatch, HERE)
    clone.edit("[signer, second]", "[second, signer]")
    commands.apply_plan(clone.ctx(), confirm_timeout=30)
    named(monkeypatch, CLONE)
    clone.clock.id = "boot-b"
    before = dict(clone.system.files)

    assert Status.REFUSED == timer(clone, monkeypatch, "boot")
    assert Status.REFUSED == timer(clone, monkeypatch, clone.machine.armed)
    assert before == clone.system.files

    named(monkeypatch, HERE)
    assert Status.OK == timer(clone, monkeypatch, clone.machine.armed)
    assert ["signer", "second"] == clone.called()


def test_a_timer_under_another_name_of_the_inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --host the inventory's name is not the machine's: the timer, which nobody tells, goes by the machine's."""
    named(monkeypatch, "vm4711")
    host = make_host(tmp_path)
    commands.apply_plan(host.ctx(), confirm_timeout=30)
    host.clock.boot += 31

    assert Status.OK == timer(host, monkeypatch, host.machine.armed)
    assert [] == host.called()


def test_a_timer_of_the_first_dkconf_knows_no_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have been armed under --host: it is honoured, while a user would be asked."""
    named(monkeypatch, "vm4711")
    host = host_of(tmp_path, "confirming")
    host.clock.boot += 601
    with pytest.raises(Refused, match="other-host"):
        commands.recover(host.ctx(host=""))

    assert Status.OK == timer(host, monkeypatch, host.machine.armed)
    assert [] == host.called()


def test_another_root_goes_by_host_alone(tmp_path: Path) -> None:
    """The machine that prepares an image has a name of its own."""
    from tests.operations.test_root import context, make_tree, with_key

    tree = make_tree(tmp_path)
    with_key(tree)
    commands.apply_plan(context(tree))

    assert not commands.recover(context(tree)).changed
    with pytest.raises(DkconfError, match="is the state of mx1"):
        commands.recover(session.replace(context(tree), host="mx9.example.test"))


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("mx1.example.com", "MX1.example.com.", True),
        ("mx1", "mx1.example.com", True),
        ("mx1.example.com", "mx1", True),
        ("mx1.example.com", "mx1.example.net", False),
        ("mx1", "mx2", False),
        ("mx", "mx1.example.com", False),
    ],
)
def test_two_names_of_one_host(one: str, other: str, alike: bool) -> None:
    """With or without the domain, in capitals or not, and nothing else."""
    assert alike == same(one, other)


@pytest.mark.parametrize(
    ("owner", "given", "machine", "other"),
    [
        (None, "", "vm1", False),
        (Owner("mx1", "vm1"), "", "vm1", False),
        (Owner("mx1", "vm1"), "", "mx1", True),
        (Owner("mx1", "vm1"), "mx1", "vm2", False),
        (Owner("mx1", "vm1"), "mx2", "vm1", True),
        (Owner("mx1"), "", "mx1.example.com", False),
        (Owner("mx1"), "", "vm1", True),
        (Owner("mx1"), "", "", False),
    ],
)
def test_whose_it_is(owner: Owner | None, given: str, machine: str, other: bool) -> None:
    """--host wins; else the machine's own name when the state was made; else the name in the inventory."""
    assert other == foreign(owner, given, machine)


def test_a_later_change_is_of_the_new_name(clone: Host) -> None:
    """Also where the run with the flag changed no file: the other host's entry in the inventory is left alone."""
    accepted = commands.recover(clone.ctx(accept_risk=frozenset({"other-host"})))
    assert any(f"is {CLONE}'s from now on" in line for _, line in accepted.lines)

    commands.disable_filter(clone.ctx(), "signer")

    assert CLONE == host_of_newest(clone)
    text = clone.inventory.read_text()
    assert 1 == text.count("disabled_filters: [signer]")
    clones, _, others = text.partition(f"  {CLONE}:\n")[2].partition(f"  {HERE}:\n")
    assert "disabled_filters: [signer]" in clones
    assert "disabled_filters: [signer]" not in others
