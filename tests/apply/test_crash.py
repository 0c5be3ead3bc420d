"""A run that dies before or after any of its steps: the next run leaves the old generation or the new,
never a mix."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from dkconf.errors import DkconfError, NotReverted, Reverted, Status
from dkconf.host.steps import Hook
from dkconf.operations import commands
from dkconf.plan.actual import FileState
from dkconf.sendmail import mc
from tests.memoryhost import CF_PATH, FRAGMENT, MC_PATH, STATE, Crash, Host, build_cf, make_host, make_own_host

Act = Callable[[Host], object]

ACTS: dict[str, tuple[Act, Act]] = {
    "first apply": (lambda h: None, lambda h: commands.apply_plan(h.ctx())),
    "disable": (
        lambda h: commands.apply_plan(h.ctx()),
        lambda h: commands.disable_filter(h.ctx(), "signer"),
    ),
    "enable": (
        lambda h: (commands.apply_plan(h.ctx()), commands.disable_filter(h.ctx(), "signer")),
        lambda h: commands.enable_filter(h.ctx(), "signer"),
    ),
    "rollback": (
        lambda h: (commands.apply_plan(h.ctx()), commands.disable_filter(h.ctx(), "signer")),
        lambda h: commands.rollback(h.ctx(), 1),
    ),
    "release": (lambda h: commands.apply_plan(h.ctx()), lambda h: commands.release(h.ctx())),
    "unconfirmed": (lambda h: None, lambda h: commands.apply_plan(h.ctx(), confirm_timeout=600)),
    "own filter": (lambda h: None, lambda h: commands.apply_plan(h.ctx())),
    "own filter leaves": (
        lambda h: commands.apply_plan(h.ctx()),
        lambda h: (h.edit("filters: [own]", "filters: []"), commands.apply_plan(h.ctx())),
    ),
    "own script": (lambda h: None, lambda h: commands.apply_plan(h.ctx())),
    "own script leaves": (
        lambda h: (commands.apply_plan(h.ctx()), commands.disable_filter(h.ctx(), "own")),
        lambda h: (h.edit("filters: [own]", "filters: []"), commands.apply_plan(h.ctx())),
    ),
    "own script, release": (
        lambda h: commands.apply_plan(h.ctx()),
        lambda h: commands.release(h.ctx()),
    ),
}
"""Name -> what went before, and what dies."""

Tree = dict[str, FileState]
Known = tuple[dict[str, tuple[bytes, int, str, str]], set[str], set[str]]


def etc(host: Host) -> Tree:
    """Return the host's own files with owner, mode and time of what a package had put there."""
    return {p: s for p, s in host.system.files.items() if not p.startswith(STATE)}


def contents(tree: Tree) -> dict[str, tuple[bytes, int, str, str]]:
    return {p: (s.content, s.mode, s.owner, s.group) for p, s in tree.items()}


def known(host: Host) -> Known:
    """Return the host's files, its users, and which filters a boot knows of."""
    return contents(etc(host)), set(host.system.users), set(host.machine.at_boot)


def prepared(folder: Path, act: str) -> Host:
    """Return a host on which everything before `act` is done, with owners that are not root's."""
    folder.mkdir(parents=True)
    manager = "sysv" if "script" in act else "systemd"
    host = make_own_host(folder, manager) if act.startswith("own") else make_host(folder)
    host.system.put(CF_PATH, host.system.files[CF_PATH].content, 0o640, "smmta", "smmsp")
    host.machine.up.discard("signer")
    ACTS[act][0](host)
    return host


def names_of_steps(folder: Path, act: str) -> tuple[list[tuple[str, str]], Known, Known]:
    """Return every point of the act, and the host before and after it."""
    host = prepared(folder, act)
    old = known(host)
    points: list[tuple[str, str]] = []
    host.system.use(lambda name, edge: points.append((name, edge)))
    ACTS[act][1](host)
    return points, old, known(host)


def at(name: str, edge: str, exc: BaseException) -> Hook:
    """Return a hook that raises at one point."""

    def hook(now: str, side: str) -> None:
        if (now, side) == (name, edge):
            raise exc

    return hook


def starts_and_takes_mail(host: Host) -> bool:
    """Return whether the files as they lie call only filters that are defined, and each that is called
    runs."""
    live = host.system.files[CF_PATH].content.decode()
    called = next((n.partition("=")[2].split(", ") for n in live.splitlines() if n.startswith("O InputMail")), [])
    defined = [n[1:].partition(",")[0] for n in live.splitlines() if n.startswith("X")]
    source = host.system.files[MC_PATH].content
    included = mc.block(mc.decode(source)) is None or FRAGMENT in host.system.files
    return set(called) <= set(defined) and set(called) <= host.machine.up and included


@pytest.mark.parametrize("act", ACTS)
def test_dying_at_any_point_leaves_old_or_new(tmp_path: Path, act: str) -> None:
    """`kill -9` before and after every step: any mix takes mail, and the next run makes it old or new,
    wholly."""
    points, old, new = names_of_steps(tmp_path / "reference", act)
    assert len(points) > 20

    for number, (name, edge) in enumerate(points):
        host = prepared(tmp_path / str(number), act)
        assert old == known(host)
        before = etc(host)
        host.system.use(at(name, edge, Crash()))
        with pytest.raises(Crash):
            ACTS[act][1](host)
        assert starts_and_takes_mail(host), f"{name}:{edge}"

        host.system.use(None)
        commands.recover(host.ctx())

        assert known(host) in (old, new), f"{name}:{edge}"
        if known(host) == old:
            assert {p: s.mtime_ns for p, s in etc(host).items()}.keys() == before.keys()
        assert starts_and_takes_mail(host)
        current = commands.status(host.ctx()).data["generation"]
        numbers = [g["number"] for g in commands.generations(host.ctx()).data["generations"]]
        assert current in (0, *numbers)
        assert not [p for p in host.system.directories if p.endswith(".new")]


@pytest.mark.parametrize("act", ["first apply", "disable", "own filter", "own script"])
def test_dying_while_going_back(tmp_path: Path, act: str) -> None:
    """A run that dies while it undoes another's is undone by the next one."""
    points, old, _ = names_of_steps(tmp_path / "reference", act)
    name = f"write:{CF_PATH}"
    assert (name, "after") in points
    back: list[tuple[str, str]] = []
    host = prepared(tmp_path / "back", act)
    host.system.use(at(name, "after", Crash()))
    with pytest.raises(Crash):
        ACTS[act][1](host)
    host.system.use(lambda step, edge: back.append((step, edge)))
    commands.recover(host.ctx())

    for number, (step, edge) in enumerate(back):
        host = prepared(tmp_path / f"back{number}", act)
        host.system.use(at(name, "after", Crash()))
        with pytest.raises(Crash):
            ACTS[act][1](host)
        host.system.use(at(step, edge, Crash()))
        with pytest.raises(Crash):
            commands.recover(host.ctx())
        host.system.use(None)
        commands.recover(host.ctx())
        assert old == known(host), f"{step}:{edge}"


@pytest.mark.parametrize(
    "act, number", [*((act, errno.ENOSPC) for act in ACTS), ("first apply", errno.EROFS), ("disable", errno.EIO)]
)
def test_a_failing_step_leaves_old_or_new(tmp_path: Path, act: str, number: int) -> None:
    """Disk full, read-only, an I/O error at any single step: the error is told, and the tree is old or
    new."""
    points, old, new = names_of_steps(tmp_path / "reference", act)
    places = [name for name, edge in points if edge == "before"]

    for count, name in enumerate(places):
        host = prepared(tmp_path / str(count), act)
        host.system.use(at(name, "before", OSError(number, "said no")))
        status: Status | None = None
        try:
            ACTS[act][1](host)
        except (Reverted, NotReverted) as exc:
            status = exc.status
        except (DkconfError, OSError):
            status = Status.ERROR
        host.system.use(None)
        if status is not Status.REVERTED:
            commands.recover(host.ctx())
        assert known(host) in (old, new), name
        assert starts_and_takes_mail(host), name


def test_recovery_restores_times_too(host: Host) -> None:
    """What comes back has its old modification time: make finds nothing to do."""
    before = etc(host)
    host.system.use(at(f"write:{CF_PATH}", "after", Crash()))
    with pytest.raises(Crash):
        commands.apply_plan(host.ctx())
    host.system.use(None)

    commands.recover(host.ctx())

    assert before == etc(host)


def test_an_edit_after_the_crash_is_kept_aside(host: Host) -> None:
    """Who edits a file of an interrupted run finds the edit in STATE/edited, and is told."""
    host.system.use(at(f"write:{CF_PATH}", "before", Crash()))
    with pytest.raises(Crash):
        commands.apply_plan(host.ctx())
    host.system.use(None)
    host.system.put(FRAGMENT, b"an edit")

    outcome = commands.recover(host.ctx())

    assert b"an edit" == host.system.files[f"{STATE}/edited/etc_mail_m4_dkconf.m4"].content
    assert any("edited" in line for _, line in outcome.lines)


def test_a_change_after_a_crash_repairs_first(host: Host) -> None:
    """The next apply first undoes the interrupted one, and then does its own work."""
    host.system.use(at(f"write:{MC_PATH}", "after", Crash()))
    with pytest.raises(Crash):
        commands.apply_plan(host.ctx())
    host.system.use(None)

    outcome = commands.apply_plan(host.ctx())

    assert Status.OK == outcome.status
    assert any("interrupted" in line for line in host.said)
    assert host.machine.loaded == build_cf(host.system.files[MC_PATH].content, host.system.files[FRAGMENT].content)
