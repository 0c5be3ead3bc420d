"""Damage, edits at the wrong moment, and things that are not there: each is told in a sentence."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dkconf.apply.generations import Generations
from dkconf.errors import DkconfError, Refused, Status, UsageProblem
from dkconf.operations import commands, watcher
from tests.memoryhost import FRAGMENT, MC, MC_PATH, STATE, Crash, Host
from tests.operations.test_order import SETTINGS, UNIT


def test_damaged_state_is_told(host: Host) -> None:
    """A manifest or a journal that cannot be read names its path; nothing is done."""
    commands.apply_plan(host.ctx())
    manifest = f"{STATE}/generations/000001/manifest.json"
    good = host.system.files[manifest]
    for bad in (b"{", b'{"number": 1}'):
        host.system.files[manifest] = replace(good, content=bad)
        with pytest.raises(DkconfError, match=r"damaged"):
            commands.disable_filter(host.ctx(), "signer")
    host.system.files[manifest] = good
    host.system.put(f"{STATE}/journal/journal.json", b"[]")
    with pytest.raises(DkconfError, match=r"journal\.json: damaged"):
        commands.apply_plan(host.ctx())


def test_a_missing_file_of_a_generation_is_told(host: Host) -> None:
    """A generation that lost a file cannot be rolled back to, and says so."""
    commands.apply_plan(host.ctx())
    commands.disable_filter(host.ctx(), "signer")
    del host.system.files[f"{STATE}/generations/000001/files{FRAGMENT}"]

    with pytest.raises(DkconfError, match=r"dkconf\.m4 is missing"):
        commands.rollback(host.ctx(), 1)


def test_no_such_generation(host: Host) -> None:
    """Rollback to a number that is not there names those that are; before the first there is none."""
    with pytest.raises(UsageProblem, match="no earlier generation"):
        commands.rollback(host.ctx())
    commands.apply_plan(host.ctx())

    with pytest.raises(DkconfError, match="no generation 7 on this host; there are: 1"):
        commands.rollback(host.ctx(), 7)


def test_generations_are_listed_and_pins_taken_back(host: Host) -> None:
    """The list says who did what, and which is in force; a pin can be taken back."""
    commands.apply_plan(host.ctx())
    commands.generations_pin(host.ctx(), 1, True)
    (row,) = commands.generations(host.ctx()).data["generations"]
    assert (1, "apply", True, True) == (row["number"], row["command"], row["in_force"], row["pinned"])

    commands.generations_pin(host.ctx(), 1, False)
    assert not commands.generations(host.ctx()).data["generations"][0]["pinned"]
    assert not commands.generations_diff(host.ctx(), 1, 1).changed


def test_status_of_an_interrupted_run(host: Host) -> None:
    """status says that a run was cut off and what repairs it, and changes nothing."""

    def hook(name: str, edge: str) -> None:
        if (name, edge) == (f"write:{MC_PATH}", "after"):
            raise Crash

    host.system.use(hook)
    with pytest.raises(Crash):
        commands.apply_plan(host.ctx())
    before = dict(host.system.files)

    outcome = commands.status(host.ctx())

    assert "apply" == outcome.data["interrupted"]
    assert before == host.system.files

    first = commands.plan_host(host.ctx()).lines[0][1]
    assert "apply was interrupted, and this plan compares with what it left; `dkconf recover` repairs that" == first


def test_plan_while_a_change_waits(host: Host) -> None:
    """Above everything else: apply would not carry the plan out now."""
    commands.apply_plan(host.ctx(), confirm_timeout=60)

    assert "apply waits for its confirmation" in commands.plan_host(host.ctx()).lines[0][1]

    commands.confirm(host.ctx())
    assert "confirmation" not in commands.plan_host(host.ctx()).lines[0][1]


def test_status_in_two_columns(host: Host) -> None:
    """Changed since written, and what apply would do, side by side."""
    commands.apply_plan(host.ctx())
    host.system.put(FRAGMENT, b"dnl edited\n", group="smmsp")

    outcome = commands.status(host.ctx())

    (row,) = [r for r in outcome.data["files"] if r["path"] == FRAGMENT]
    assert ("content", "update") == (row["since_written"], row["apply_would"])
    assert outcome.changed


def test_status_without_an_inventory(host: Host) -> None:
    """An inventory that is missing or broken does not hide the host's state."""
    commands.apply_plan(host.ctx())
    host.inventory.write_text("version: 1\nhosts: 3\n")

    outcome = commands.status(host.ctx())

    assert 1 == outcome.data["generation"]
    assert any("was not compared" in line for line in host.said)
    assert 1 == commands.status(host.ctx(inventory=None)).data["generation"]


def test_status_says_that_a_filter_only_observes(own: Host) -> None:
    """Else nothing tells an administrator why mail that the filter answers for leaves unsigned."""
    commands.apply_plan(own.ctx())
    assert [False] == [row["observes"] for row in commands.status(own.ctx()).data["filters"]]

    program = "    program: dkconf-filter\n"
    own.inventory.write_text(own.inventory.read_text().replace(program, f"{program}    observe: true\n"))
    commands.apply_plan(own.ctx())
    outcome = commands.status(own.ctx())

    assert [True] == [row["observes"] for row in outcome.data["filters"]]
    assert any(line.endswith("only observes: changes and refuses nothing") for _, line in outcome.lines)


def test_take_over_of_what_is_not_there(host: Host) -> None:
    """--take-over of a name or path that names nothing is refused: it may be misspelt."""
    with pytest.raises(Refused, match="no line of filter singer"):
        commands.apply_plan(host.ctx(take_over=frozenset({"singer"})))
    with pytest.raises(Refused, match="/etc/x: nothing of it"):
        commands.apply_plan(host.ctx(take_over=frozenset({"/etc/x"})))


def test_a_filter_that_is_not_there(host: Host) -> None:
    """disable-filter of an unknown name lists the known ones."""
    commands.apply_plan(host.ctx())

    with pytest.raises(UsageProblem, match="it has: signer, second"):
        commands.disable_filter(host.ctx(), "singer")


def test_disabling_twice(host: Host) -> None:
    """A filter that is off already: nothing to do, no generation."""
    commands.apply_plan(host.ctx())
    commands.disable_filter(host.ctx(), "signer")

    outcome = commands.disable_filter(host.ctx(), "signer")

    assert not outcome.changed
    assert 2 == commands.status(host.ctx()).data["generation"]


def test_what_was_there_before_comes_back(own: Host) -> None:
    """A file that a package had put there is kept when taken over, and comes back when its filter leaves."""
    own.system.put(SETTINGS, b"# stock\nvalue = 1\n", 0o640)
    with pytest.raises(Refused, match=f"--take-over {SETTINGS}"):
        commands.apply_plan(own.ctx())
    commands.apply_plan(own.ctx(take_over=frozenset({SETTINGS})))
    assert b"# stock\nvalue = 1\n" != own.system.files[SETTINGS].content

    own.edit("filters: [own]", "filters: []")
    commands.apply_plan(own.ctx())

    found = own.system.files[SETTINGS]
    assert (b"# stock\nvalue = 1\n", 0o640) == (found.content, found.mode)
    assert UNIT not in own.system.files


def test_an_edit_before_the_filter_stops_is_left(own: Host) -> None:
    """A file that somebody edits while its filter is drained is not removed."""
    commands.apply_plan(own.ctx())
    own.edit("filters: [own]", "filters: []")
    own.machine.connections = ("somebody",)
    assert Status.WAITING == commands.apply_plan(own.ctx()).status
    own.system.put(SETTINGS, b"mine now\n")
    own.machine.connections = ()

    commands.apply_plan(own.ctx())

    assert b"mine now\n" == own.system.files[SETTINGS].content
    assert UNIT not in own.system.files
    assert any("was edited since; left" in line for line in own.said)


def test_a_filter_wanted_again_is_not_stopped(own: Host) -> None:
    """A filter that waits to be stopped and comes back into the inventory runs on."""
    commands.apply_plan(own.ctx())
    own.edit("filters: [own]", "filters: []")
    own.machine.connections = ("somebody",)
    commands.apply_plan(own.ctx())
    own.edit("filters: []", "filters: [own]")
    own.machine.connections = ()
    own.machine.calls.clear()

    commands.apply_plan(own.ctx())

    assert "own" in own.machine.up
    assert not any(call.startswith("stop") for call in own.machine.calls)
    assert SETTINGS in own.system.files


def test_the_watcher_as_a_process(host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The watcher undoes the change at its deadline; at boot it does so at once, and tells sendmail nothing."""
    monkeypatch.setattr(watcher, "Context", lambda **options: host.ctx(say=options["say"]))
    monkeypatch.setattr(watcher, "pause", lambda seconds: None)
    commands.apply_plan(host.ctx(), confirm_timeout=60)
    host.clock.boot += 61
    assert 0 == watcher.main([STATE, host.machine.armed])
    assert MC.encode() == host.system.files[MC_PATH].content

    commands.apply_plan(host.ctx(), confirm_timeout=60)
    host.clock.id = "boot-b"
    host.machine.calls.clear()
    assert 0 == watcher.main([STATE, "boot"])
    assert MC.encode() == host.system.files[MC_PATH].content
    assert "tell" not in host.machine.calls


def test_a_generation_never_takes_a_private_key(host: Host) -> None:
    """A managed file with a private key in it is refused before it is stored."""
    commands.apply_plan(host.ctx())
    store = Generations(host.system, STATE)
    key = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"

    with pytest.raises(DkconfError, match="holds a private key"):
        store.store(replace(store.manifest(1), number=9), {"/etc/x": key})

    assert not any(b"AAAA" in state.content for state in host.system.files.values())
    assert [1] == [g["number"] for g in json.loads(json.dumps(commands.generations(host.ctx()).data))["generations"]]
