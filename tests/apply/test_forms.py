"""The forms of what lies in the state directory: older ones are read, newer ones refused by name and left alone.

`forms/first/` is what the first dkconf wrote, octet for octet, before files had numbers: whole hosts in memory, each
in the middle of something. `forms/newer/` is what a dkconf to come may write.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dkconf.apply.generations import Manifest
from dkconf.apply.journal import Journal, Outstanding
from dkconf.errors import DkconfError, PlanStale, Status, UsageProblem
from dkconf.operations import commands, watcher
from dkconf.operations.context import Context
from dkconf.operations.session import ledger, look
from dkconf.plan import forms
from dkconf.plan.actual import FileState
from dkconf.plan.codec import from_json
from tests.memoryhost import MC_PATH, STATE, Host, build_cf, make_host

FORMS = Path(__file__).parent / "forms"
NEWER = sorted(path.name.replace("--", "/") for path in (FORMS / "newer").glob("*.json") if path.name != "plan.json")


def host_of(folder: Path, name: str) -> Host:
    """Return a host on which the first dkconf has left something."""
    data = json.loads((FORMS / "first" / f"{name}.json").read_text())
    host = make_host(folder)
    host.system.files = {
        path: FileState(**{**state, "content": state["content"].encode("latin-1")})
        for path, state in data["files"].items()
    }
    host.system.links, host.system.directories = data["links"], set(data["directories"])
    host.machine.up, host.machine.armed = set(data["up"]), data["armed"]
    host.machine.loaded = data["loaded"].encode("latin-1")
    return host


def timer(host: Host, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run what the timer runs, on this host; without anybody who could say --host."""

    def context(state_dir: str, say: Callable[[str, str], None]) -> Context:
        return host.ctx(host="", inventory=None, state_dir=state_dir, say=say)

    monkeypatch.setattr(watcher, "Context", context)
    return watcher.main([STATE, *arguments])


# what the first dkconf wrote


@pytest.mark.parametrize("more", [(), ("--of-a-newer-one", "yes")])
def test_a_timer_of_the_first_dkconf_is_honoured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]
) -> None:
    """An upgrade while a change waits for its confirmation: it goes back at its time all the same."""
    host = host_of(tmp_path, "confirming")
    before = {path: state for path, state in make_host(tmp_path).etc().items() if path.startswith("/etc/mail/send")}

    assert ["signer", "second"] == host.called()
    host.clock.boot += 601
    assert Status.OK == timer(host, monkeypatch, host.machine.armed, *more)

    assert before.items() <= host.etc().items()
    assert [] == host.called()
    assert not host.system.links


def test_a_timer_for_a_boot_of_the_first_dkconf_is_honoured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same before sendmail starts."""
    host = host_of(tmp_path, "confirming")
    host.clock.id = "boot-b"

    assert Status.OK == timer(host, monkeypatch, "boot")
    assert b"dkconf" not in host.system.files[MC_PATH].content


def test_what_waits_for_a_confirmation_can_be_confirmed(tmp_path: Path) -> None:
    """An upgrade in between, and then the confirmation."""
    host = host_of(tmp_path, "confirming")

    assert Status.OK == commands.confirm(host.ctx()).status
    assert 1 == commands.status(host.ctx()).data["generation"]
    assert not commands.apply_plan(host.ctx()).changed


def test_what_was_cut_off_is_undone(tmp_path: Path) -> None:
    """The first dkconf died in the middle; this one goes back."""
    host = host_of(tmp_path, "interrupted")

    assert commands.recover(host.ctx()).changed
    assert b"dkconf" not in host.system.files[MC_PATH].content
    assert commands.apply_plan(host.ctx()).changed


def test_every_list_of_the_first_dkconf_is_read(tmp_path: Path) -> None:
    """Overrides, what is outstanding, the files found, the plans applied: as they were, and in today's form after."""
    host = host_of(tmp_path, "draining")
    engine = look(host.ctx()).engine
    plan = json.loads((FORMS / "first/plan.json").read_text())
    outstanding = engine.journal.outstanding()

    assert {"second": False} == engine.journal.overrides()
    assert outstanding is not None
    assert ["second"] == [step.service.filter for step in outstanding.stop]
    assert {"/etc/mail/m4/dkconf.m4", "/etc/mail/sendmail.cf", MC_PATH} == set(engine.originals.all())
    assert (2, frozenset({1})) == (engine.generations.current(), engine.generations.pinned())
    assert [plan["plan_id"]] == ledger(engine)
    with pytest.raises(PlanStale, match="applied already"):
        commands.apply_plan(host.ctx(), str(FORMS / "first/plan.json"))

    assert Status.OK == commands.enable_filter(host.ctx(), "second").status
    assert ["signer", "second"] == host.called()
    assert Status.OK == commands.release(host.ctx()).status
    assert build_cf(host.system.files[MC_PATH].content, None) == host.machine.loaded
    assert [] == host.called()


def test_a_rollback_to_a_generation_of_the_first_dkconf(tmp_path: Path) -> None:
    """Generations are for years: the oldest form is enough to go back."""
    host = host_of(tmp_path, "draining")

    assert 3 == commands.rollback(host.ctx(), 1).data["generation"]
    assert ["signer", "second"] == host.called()


# what a newer dkconf wrote


COMMANDS: dict[str, Callable[[Host], object]] = {
    "apply": lambda host: commands.apply_plan(host.ctx()),
    "disable-filter": lambda host: commands.disable_filter(host.ctx(), "signer"),
    "disable-filter --emergency": lambda host: commands.disable_filter(host.ctx(), "signer", emergency=True),
    "enable-filter": lambda host: commands.enable_filter(host.ctx(), "second"),
    "rollback": lambda host: commands.rollback(host.ctx(), 1),
    "confirm": lambda host: commands.confirm(host.ctx()),
    "recover": lambda host: commands.recover(host.ctx()),
    "recover --boot": lambda host: commands.recover(host.ctx(), boot=True),
    "release": lambda host: commands.release(host.ctx()),
    "generations pin": lambda host: commands.generations_pin(host.ctx(), 1, True),
}


def newer(folder: Path, name: str) -> Host:
    """Return a host on which a newer dkconf has written one file."""
    host = make_host(folder)
    commands.apply_plan(host.ctx())
    content = (FORMS / "newer" / name.replace("/", "--")).read_bytes()
    host.system.put(f"{STATE}/{name}", content, 0o600)
    return host


@pytest.mark.parametrize("command", COMMANDS, ids=str)
@pytest.mark.parametrize("name", NEWER)
def test_a_newer_form_is_refused_by_name_and_left_alone(tmp_path: Path, name: str, command: str) -> None:
    """Downgraded by mistake: 8, the file, its form, what to install; not one octet changes, sendmail hears nothing."""
    host = newer(tmp_path, name)
    before, calls = dict(host.system.files), list(host.machine.calls)

    with pytest.raises(forms.NewerForm) as refused:
        COMMANDS[command](host)

    assert Status.REFUSED == refused.value.status
    words = str(refused.value)
    assert f"{STATE}/{name}: the " in words
    assert "has format 99, written by dkconf 9.9.9; dkconf " in words
    assert "install dkconf 9.9.9 or later" in words
    assert ("by hand" in words) == ("emergency" in command)
    assert (before, calls) == (host.system.files, host.machine.calls)


@pytest.mark.parametrize("name", NEWER)
def test_plan_and_status_meet_a_newer_form(tmp_path: Path, name: str) -> None:
    """What only reads says the same, or does not need the file; it never fails otherwise."""
    host = newer(tmp_path, name)
    for read in (commands.plan_host, commands.status, commands.generations):
        said = _said(read, host)
        assert not said or f"{STATE}/{name}: the" in said


@pytest.mark.parametrize("run", ["0011", "boot"])
@pytest.mark.parametrize("name", NEWER)
def test_a_timer_of_a_newer_dkconf_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, run: str
) -> None:
    """Its command runs this older dkconf after a downgrade: that refuses, by name, in its log; or it is not its run."""
    host = newer(tmp_path, name)
    before = dict(host.system.files)
    refuses = run == "boot" or name in ("journal/journal.json", "generations/000001/manifest.json")

    assert (Status.REFUSED if refuses else Status.OK) == timer(host, monkeypatch, run, "--later")

    assert before == host.system.files
    assert (f"{STATE}/{name}: the" in capsys.readouterr().out) == refuses


def test_all_newer_files_are_named_at_once(tmp_path: Path) -> None:
    """Not one after the other."""
    host = newer(tmp_path, "overrides.json")
    host.system.put(f"{STATE}/plans.json", (FORMS / "newer/plans.json").read_bytes())

    with pytest.raises(forms.NewerForm, match=r"(?s)overrides\.json.*plans\.json"):
        commands.recover(host.ctx())


def test_a_newer_plan_is_refused(host: Host) -> None:
    """A plan that a newer dkconf saved names its version; any other file is no plan."""
    with pytest.raises(forms.NewerForm, match=r"plan\.json: the plan has format 99.*install dkconf 9\.9\.9"):
        commands.apply_plan(host.ctx(), str(FORMS / "newer/plan.json"))
    with pytest.raises(UsageProblem, match="not a plan of this version"):
        commands.apply_plan(
            host.ctx(), str(FORMS / "newer/overrides.json").replace("newer/overrides", "first/draining")
        )


def _said(act: Callable[[Context], object], host: Host) -> str:
    """Return what an act that may be refused says then; nothing but an error of ours may come."""
    try:
        act(host.ctx())
    except DkconfError as exc:
        return str(exc)
    return ""


# what this one writes


def test_every_file_says_its_form_and_who_wrote_it(tmp_path: Path) -> None:
    """Whatever lies in the state directory as JSON can be refused by an older dkconf, by name."""
    host = make_host(tmp_path)
    commands.apply_plan(host.ctx(), confirm_timeout=600)
    seen = dict(host.system.files)
    commands.confirm(host.ctx())
    host.machine.connections = ("child 4711",)
    plan = tmp_path / "plan.json"
    host.edit("[signer, second]", "[second, signer]")
    plan.write_text(json.dumps(commands.plan_host(host.ctx()).data["plan"]))
    commands.apply_plan(host.ctx(), str(plan))
    host.inventory.rename(tmp_path / "away.yaml")
    commands.disable_filter(host.ctx(inventory=None), "second")
    seen |= host.system.files
    written = {path: json.loads(s.content) for path, s in seen.items() if path.startswith(STATE) and ".json" in path}

    assert set(NEWER) <= {path.removeprefix(f"{STATE}/") for path in written}
    for path, data in {**written, str(plan): json.loads(plan.read_text())}.items():
        assert type(data["format"]) is int, path
        assert data["dkconf_version"], path


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"format": 1}', b'{"format": "2"}', b"1", b"[" * 100_000])
@pytest.mark.parametrize("name", [n for n in NEWER if "manifest" not in n])
def test_a_damaged_file_is_no_newer_one(tmp_path: Path, name: str, content: bytes) -> None:
    """Whatever is in the file, it costs a message that names it, never a traceback."""
    host = newer(tmp_path, name)
    host.system.put(f"{STATE}/{name}", content)
    for command in COMMANDS.values():
        assert "later" not in _said(lambda ctx, run=command: run(host), host)


def _places(data: object, where: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], object]]:
    """Yield where each text, number and truth value stands, and it."""
    if isinstance(data, dict | list):
        for key, item in data.items() if isinstance(data, dict) else enumerate(data):
            yield from _places(item, (*where, key))
    elif data is not None:
        yield where, data


def _changed(data: Any, where: tuple[str | int, ...], value: object) -> Any:
    changed = at = json.loads(json.dumps(data))
    for key in where[:-1]:
        at = at[key]
    at[where[-1]] = value
    return changed


@pytest.mark.parametrize("name", ["confirming", "draining", "interrupted"])
def test_a_value_that_cannot_be_is_damage(tmp_path: Path, name: str) -> None:
    """Of another type, or one that no system call takes, anywhere: it is found when the file is read, not half way."""
    host, kinds = host_of(tmp_path, name), {"journal.json": Journal, "outstanding.json": Outstanding}
    tried = 0
    for path, state in host.system.files.items():
        kind: type[Any] | None = kinds.get(path.rpartition("/")[2], Manifest if "manifest" in path else None)
        if kind is None or not path.startswith(STATE):
            continue
        data = json.loads(state.content)
        for where, value in _places(data):
            if where[-1] == "content":  # any octets
                continue
            wrong: list[object] = [[[]], {"a": 1}]
            wrong += [1, True, "x\0y", "\ud800"] if isinstance(value, str) else ["2", math.nan, 10**30]
            for one in wrong:
                try:
                    read = from_json(kind, _changed(data, where, one))
                except DkconfError:
                    tried += 1
                else:  # a key that is no more
                    assert read == from_json(kind, data), (path, where, one)
    assert tried > 300


def test_a_half_way_back_is_none(tmp_path: Path) -> None:
    """A journal with one value that cannot be, the last that going back needs: nothing is done before that is told."""
    host = host_of(tmp_path, "interrupted")
    path = f"{STATE}/journal/journal.json"
    data = json.loads(host.system.files[path].content)
    for where, value in ((("previous",), "0"), (("generation",), [1]), (("deadline",), {"boottime": "1"})):
        host.system.put(path, json.dumps(_changed(data, where, value)).encode(), 0o600)
        before, calls = dict(host.system.files), list(host.machine.calls)
        with pytest.raises(DkconfError, match=r"journal\.json: damaged"):
            commands.recover(host.ctx())
        assert (before, calls) == (host.system.files, host.machine.calls)


@pytest.mark.parametrize("content", [b"{", b"[]", b""])
def test_an_emergency_with_a_damaged_journal_says_the_way_by_hand(host: Host, content: bytes) -> None:
    """Nothing is changed, but nobody is left alone with a parser's words."""
    commands.apply_plan(host.ctx())
    host.system.put(f"{STATE}/journal/journal.json", content)
    before = dict(host.system.files)

    with pytest.raises(forms.Damaged) as damaged:
        commands.disable_filter(host.ctx(), "signer", emergency=True)

    words = str(damaged.value)
    assert "journal.json: damaged" in words
    assert "MAIL_FILTER(`signer'" in words
    assert before == host.system.files
