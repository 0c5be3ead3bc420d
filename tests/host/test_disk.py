"""The real file system below a temporary root: durability, owners, links, and errors of the machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dkconf.errors import Locked
from dkconf.host.disk import RealSystem
from dkconf.host.steps import hook_from_environment
from dkconf.host.system import ReadOnlySystem, SystemProblem
from dkconf.plan.actual import FileState

ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not ROOT, reason="chown and mount need root")


def state(content: bytes, mode: int = 0o644, owner: str = "", group: str = "", mtime_ns: int = 0) -> FileState:
    return FileState(content, mode, owner or str(os.geteuid()), group or str(os.getegid()), mtime_ns)


@pytest.fixture
def system(tmp_path: Path) -> RealSystem:
    (tmp_path / "etc").mkdir()
    return RealSystem(str(tmp_path))


def test_write_sets_everything(system: RealSystem, tmp_path: Path) -> None:
    """Content, mode and time are as asked, whatever the umask is, and no temporary file stays."""
    before = os.umask(0o077)
    try:
        system.write("/etc/a", state(b"text", 0o664, mtime_ns=1_500_000_000_123_456_789))
    finally:
        os.umask(before)

    found = (tmp_path / "etc/a").stat()
    assert (0o664, 1_500_000_000_123_456_789) == (found.st_mode & 0o7777, found.st_mtime_ns)
    assert ["a"] == os.listdir(tmp_path / "etc")


@needs_root
def test_owner_is_set_before_content_can_be_seen(system: RealSystem, tmp_path: Path) -> None:
    """Owner and group are numbers or names; a setgid directory does not decide the group."""
    (tmp_path / "etc").chmod(0o2775)
    os.chown(tmp_path / "etc", 1, 1)

    system.write("/etc/a", state(b"x", 0o640, "12", "13"))

    found = (tmp_path / "etc/a").stat()
    assert (12, 13, 0o640) == (found.st_uid, found.st_gid, found.st_mode & 0o7777)


def test_extended_attributes_are_carried_over(system: RealSystem, tmp_path: Path) -> None:
    """Labels and access lists of the old file go to the new one."""
    path = tmp_path / "etc/a"
    path.write_bytes(b"old")
    try:
        os.setxattr(path, "user.note", b"kept")
    except OSError:
        pytest.skip("no extended attributes on this file system")

    system.write("/etc/a", state(b"new"))

    assert b"kept" == os.getxattr(path, "user.note")


def test_a_link_is_neither_read_nor_replaced_through(system: RealSystem, tmp_path: Path) -> None:
    """/etc/mail belongs to the mail user: a link put there must not make root read or write elsewhere."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"root:x")
    (tmp_path / "etc/a").symlink_to(secret)

    with pytest.raises(SystemProblem, match="symbolic link"):
        system.read("/etc/a")
    system.write("/etc/a", state(b"new"))

    assert b"root:x" == secret.read_bytes()
    assert not (tmp_path / "etc/a").is_symlink()


def test_a_planted_temporary_file_is_not_followed(system: RealSystem, tmp_path: Path) -> None:
    """A link where our temporary file goes is removed, not written through."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"intact")
    (tmp_path / "etc/.a.dkconf-tmp").symlink_to(victim)

    system.write("/etc/a", state(b"new"))

    assert b"intact" == victim.read_bytes()
    assert b"new" == (tmp_path / "etc/a").read_bytes()


def test_folders_without_end_are_not_in_the_way(system: RealSystem, tmp_path: Path) -> None:
    """The mail user can make more folders within folders, under the temporary file's name, than a stack has calls."""
    here = os.open(tmp_path / "etc", os.O_RDONLY)
    name = ".a.dkconf-tmp"
    for _ in range(3000):
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here, name = below, "x"
    os.close(here)

    system.write("/etc/a", state(b"new"))

    assert b"new" == (tmp_path / "etc/a").read_bytes()
    subprocess.run(["rm", "-rf", str(tmp_path / "etc")], check=True)


@needs_root
def test_a_link_to_a_folder_is_followed_only_if_root_set_it(system: RealSystem, tmp_path: Path) -> None:
    """The mail user owns /etc/mail: a link in the place of its m4 leads neither reading nor writing elsewhere."""
    elsewhere = tmp_path / "cron.d"
    elsewhere.mkdir()
    (elsewhere / "a").write_bytes(b"intact")
    mail = tmp_path / "etc/mail"
    mail.mkdir()
    (mail / "m4").symlink_to("../../cron.d")

    system.write("/etc/mail/m4/b", state(b"root's own link"))
    assert b"root's own link" == (elsewhere / "b").read_bytes()

    os.chown(mail, 65534, 65534)
    for act in (
        lambda: system.write("/etc/mail/m4/c", state(b"x")),
        lambda: system.write("/etc/mail/m4/a", state(b"x")),
        lambda: system.set_attributes("/etc/mail/m4/a", 0o666, "0", "0"),
        lambda: system.remove("/etc/mail/m4/a"),
        lambda: system.mkdir("/etc/mail/m4/d", 0o755, "0", "0"),
        lambda: system.read("/etc/mail/m4/a"),
    ):
        with pytest.raises(SystemProblem, match=r'"m4" on the way is a link'):
            act()
    assert ["a", "b"] == sorted(os.listdir(elsewhere))
    assert b"intact" == (elsewhere / "a").read_bytes()
    assert 0o644 == (elsewhere / "a").stat().st_mode & 0o777


def test_a_second_name_of_a_private_file_keeps_its_mode(system: RealSystem, tmp_path: Path) -> None:
    """A hard link in the place of a managed file does not get a private file a wider mode."""
    secret = tmp_path / "shadow"
    secret.write_bytes(b"root:x")
    secret.chmod(0o600)
    os.link(secret, tmp_path / "etc/a")

    with pytest.raises(SystemProblem, match="second name"):
        system.set_attributes("/etc/a", 0o644, str(os.geteuid()), str(os.getegid()))
    system.write("/etc/a", state(b"new"))

    assert b"root:x" == secret.read_bytes()
    assert 0o600 == secret.stat().st_mode & 0o777


def test_another_root_is_not_left(system: RealSystem, tmp_path: Path) -> None:
    """With --root a directory that is a link to elsewhere, and dots, are refused."""
    (tmp_path / "etc/mail").symlink_to("/etc")

    with pytest.raises(SystemProblem, match="leads out"):
        system.read("/etc/mail/passwd")
    with pytest.raises(SystemProblem):
        system.write("/etc/../../a", state(b""))


def test_users_of_another_root(system: RealSystem, tmp_path: Path) -> None:
    """Names are looked up in the other root's passwd and group."""
    (tmp_path / "etc/passwd").write_text("root:x:0:0::/:\nsmmta:x:4242:4243::/:\n")
    (tmp_path / "etc/group").write_text("root:x:0:\nsmmsp:x:4243:\n")
    (tmp_path / "etc/a").write_bytes(b"")

    assert system.known_user("smmta")
    assert not system.known_user("nobody")
    if ROOT:
        os.chown(tmp_path / "etc/a", 4242, 4243)
        found = system.read("/etc/a")
        assert found is not None
        assert ("smmta", "smmsp") == (found.owner, found.group)


@pytest.mark.parametrize("kind", ["fifo", "directory"])
def test_what_is_no_file(system: RealSystem, tmp_path: Path, kind: str) -> None:
    """A pipe or a directory in the place of a file is told, and never waited on."""
    path = tmp_path / "etc/a"
    os.mkfifo(path) if kind == "fifo" else path.mkdir()

    with pytest.raises(SystemProblem, match="a regular file belongs there"):
        system.read("/etc/a")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk)], check=False, capture_output=True
    )
    if made.returncode:
        pytest.skip("cannot mount here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@needs_root
def test_disk_full_leaves_the_old_file(small_disk: Path) -> None:
    """No space for the new content: the old file stays, and no temporary file does."""
    system = RealSystem(str(small_disk))
    (small_disk / "a").write_bytes(b"old")

    with pytest.raises(SystemProblem, match="no space left"):
        system.write("/a", state(b"x" * 100_000))

    assert ["a"] == os.listdir(small_disk)
    assert b"old" == (small_disk / "a").read_bytes()


@needs_root
def test_read_only_is_told(small_disk: Path) -> None:
    """A read-only target names the path and what the system said."""
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)

    with pytest.raises(SystemProblem, match="read-only file system"):
        RealSystem(str(small_disk)).write("/a", state(b"x"))


def test_a_second_run_is_locked_out(system: RealSystem, tmp_path: Path) -> None:
    """Another process meets status 5, and reads who holds the lock; the kernel drops it when the holder
    dies."""
    holder = {"pid": 4711, "command": "dkconf apply", "user": "root (ann)", "since": "2026-01-01T00:00:00Z"}
    code = (
        "import sys\n"
        "from dkconf.host.disk import RealSystem\n"
        f"with RealSystem({str(tmp_path)!r}).lock('/etc/lock', {holder!r}):\n"
        "    print('held', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert b"held\n" == other.stdout.readline()
        with pytest.raises(Locked, match=r"dkconf apply of root \(ann\), process 4711"), system.lock("/etc/lock", {}):
            pass
        other.kill()
        other.wait()
    with system.lock("/etc/lock", {"pid": 1}):
        assert {"pid": 1} == json.loads((tmp_path / "etc/lock").read_bytes())


def test_reading_only(system: RealSystem) -> None:
    """Planning gets a system that reads, and stops any write as a fault of ours."""
    reader = ReadOnlySystem(system)

    assert reader.read("/etc/a") is None
    with pytest.raises(AssertionError, match="called write"):
        reader.write("/etc/a", state(b""))


def test_clean_removes_what_a_killed_write_left(system: RealSystem, tmp_path: Path) -> None:
    """The temporary file of a killed write is known by its name."""
    (tmp_path / "etc/.a.dkconf-tmp").write_bytes(b"half")

    system.clean("/etc/a")

    assert [] == os.listdir(tmp_path / "etc")


def test_steps_by_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """DKCONF_TRACE_STEPS lists each step with its edges; a repeated one is numbered."""
    assert hook_from_environment() is None
    monkeypatch.setenv("DKCONF_TRACE_STEPS", str(tmp_path / "trace"))
    system = RealSystem(str(tmp_path), hook_from_environment())

    system.write("/a", state(b""))
    system.write("/a", state(b""))

    assert [
        "write:/a:before", "write:/a:after", "write:/a#2:before", "write:/a#2:after",
    ] == (tmp_path / "trace").read_text().split()  # fmt: skip


def test_killed_by_environment(tmp_path: Path) -> None:
    """DKCONF_CRASH_AT ends the process at that very point, as kill -9 does."""
    code = (
        "from dkconf.host.disk import RealSystem; from dkconf.host.steps import hook_from_environment\n"
        "from dkconf.plan.actual import FileState\n"
        f"s = RealSystem({str(tmp_path)!r}, hook_from_environment())\n"
        "s.write('/a', FileState(b'1', 0o600, '0', '0')); s.write('/b', FileState(b'2', 0o600, '0', '0'))\n"
    )
    env = {**os.environ, "DKCONF_CRASH_AT": "write:/b:before"}

    done = subprocess.run([sys.executable, "-c", code], env=env, check=False)

    assert -9 == done.returncode
    assert ["a"] == sorted(os.listdir(tmp_path))


def test_private_directories_and_their_end(system: RealSystem, tmp_path: Path) -> None:
    """dkconf's own state is for its user alone, whatever the umask; directories that were there keep their mode."""
    before = os.umask(0)
    try:
        system.make_private("/etc/state/a/b")
    finally:
        os.umask(before)

    assert [0o700] * 3 == [(tmp_path / "etc" / p).stat().st_mode & 0o777 for p in ("state", "state/a", "state/a/b")]
    assert 0o755 == (tmp_path / "etc").stat().st_mode & 0o777
    system.write("/etc/state/a/b/c", state(b"x"))
    system.remove_tree("/etc/state")
    system.remove_tree("/etc/state")
    assert [] == os.listdir(tmp_path / "etc")


@pytest.fixture
def mail(system: RealSystem, tmp_path: Path) -> Path:
    """/etc/mail of the mail user, beside a private folder of root's."""
    if not ROOT:
        pytest.skip("gives folders to other users")
    (tmp_path / "private").mkdir(mode=0o700)
    (tmp_path / "private/secret").write_bytes(b"root:x")
    (tmp_path / "private/secret").chmod(0o600)
    path = tmp_path / "etc/mail"
    path.mkdir()
    os.chown(path, 65534, 65534)
    return path


EVERY_ACT = {
    "read": lambda s, p: s.read(f"{p}/secret"),
    "attributes": lambda s, p: s.attributes(f"{p}/secret"),
    "listdir": lambda s, p: s.listdir(p),
    "is_directory": lambda s, p: s.is_directory(p),
    "link": lambda s, p: s.link(f"{p}/secret"),
    "write": lambda s, p: s.write(f"{p}/secret", state(b"new")),
    "set_attributes": lambda s, p: s.set_attributes(f"{p}/secret", 0o666, "0", "0"),
    "remove": lambda s, p: s.remove(f"{p}/secret"),
    "rename": lambda s, p: s.rename(f"{p}/secret", f"{p}/other"),
    "mkdir": lambda s, p: s.mkdir(f"{p}/new", 0o777, "0", "0"),
    "rmdir": lambda s, p: s.rmdir(f"{p}/empty"),
    "make_private": lambda s, p: s.make_private(f"{p}/new/er"),
    "remove_tree": lambda s, p: s.remove_tree(f"{p}/tree"),
    "symlink": lambda s, p: s.symlink(f"{p}/secret", "x"),
    "clean": lambda s, p: s.clean(f"{p}/secret"),
    "lock": lambda s, p: s.lock(f"{p}/lock", {}).__enter__(),
}


def test_every_act_on_files_is_tried() -> None:
    """One that is new is tried too."""
    from dkconf.host.system import System

    acts = {name for name in vars(System) if not name.startswith("_")}
    assert acts - set(EVERY_ACT) == {"step", "known_user", "known_group", "real_path", "unsafe"}


@pytest.mark.parametrize("act", EVERY_ACT)
def test_no_act_goes_through_a_link_of_the_mail_users(system: RealSystem, tmp_path: Path, mail: Path, act: str) -> None:
    """Not one reads, lists, makes, changes or removes anything where his link leads."""
    private = tmp_path / "private"
    for name in ("empty", "tree"):
        (private / name).mkdir()
    (private / ".secret.dkconf-tmp").touch()
    (mail / "m4").symlink_to(private)
    os.chown(mail / "m4", 65534, 65534, follow_symlinks=False)
    before = {p: os.lstat(p)[:6] for p in (private, *private.iterdir())}

    if act == "rmdir":  # which never says anything
        system.rmdir("/etc/mail/m4/empty")
    else:
        with pytest.raises(SystemProblem, match='"m4" on the way is a link'):
            EVERY_ACT[act](system, "/etc/mail/m4")
    assert before == {p: os.lstat(p)[:6] for p in (private, *private.iterdir())}


@pytest.mark.parametrize("gone", [False, True], ids=["two names", "the first name is gone"])
def test_a_second_name_of_roots_secret_is_not_read(system: RealSystem, tmp_path: Path, mail: Path, gone: bool) -> None:
    """As sendmail.mc it would be given to m4, which runs as the mail user; and it gets no wider mode."""
    os.link(tmp_path / "private/secret", mail / "sendmail.mc")
    if gone:
        (tmp_path / "private/secret").unlink()

    for act in (
        lambda: system.read("/etc/mail/sendmail.mc"),
        lambda: system.set_attributes("/etc/mail/sendmail.mc", 0o644, "0", "0"),
    ):
        with pytest.raises(SystemProblem, match="is closed to others and belongs to user 0"):
            act()
    assert 0o600 == (mail / "sendmail.mc").stat().st_mode & 0o777


def test_a_folder_exchanged_while_it_is_made(
    system: RealSystem, tmp_path: Path, mail: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mail user puts another one of root's there, before it gets its owner and mode."""
    full = mail / "full"
    full.mkdir(mode=0o700)
    (full / "x").touch()
    real = os.mkdir

    def exchange(name: str, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        real(name, mode, dir_fd=dir_fd)
        os.rename(mail / name, mail / "away")
        os.rename(full, mail / name)

    monkeypatch.setattr(os, "mkdir", exchange)
    with pytest.raises(SystemProblem, match="somebody exchanged it"):
        system.mkdir("/etc/mail/m4", 0o755, "65534", "65534")
    (there,) = [p for p in mail.iterdir() if p.name != "away"]
    assert (0, 0o40700) == (there.stat().st_uid, there.stat().st_mode)


def test_an_access_list_of_the_mail_users_is_not_carried_over(system: RealSystem, tmp_path: Path, mail: Path) -> None:
    """With his own file in the place of ours he would get at the one that takes its place."""
    path = mail / "sendmail.cf"
    path.touch()
    os.chown(path, 65534, 65534)
    try:
        os.setxattr(path, "user.his", b"1")
    except OSError:
        pytest.skip("no extended attributes on this file system")

    system.write("/etc/mail/sendmail.cf", state(b"new"))

    assert [] == os.listxattr(path)


def test_a_file_of_three_gigabytes_is_not_read(system: RealSystem, tmp_path: Path) -> None:
    """The .mc, the .cf, a generation, the journal: whatever it is, it is told unread."""
    (tmp_path / "etc/a").touch()
    os.truncate(tmp_path / "etc/a", 3 << 30)

    with pytest.raises(SystemProblem, match=r"has 3,221,225,472 octets"):
        system.read("/etc/a")


def test_a_file_of_the_mail_users_is_small(system: RealSystem, mail: Path) -> None:
    """Where others can write, no more is read than m4 may write."""
    path = mail / "sendmail.cf"
    path.touch()
    os.truncate(path, 16 << 20)
    assert system.read("/etc/mail/sendmail.cf") is not None
    os.truncate(path, (16 << 20) + 1)

    with pytest.raises(SystemProblem, match=r"such a file has at most 16,777,216"):
        system.read("/etc/mail/sendmail.cf")


@pytest.mark.parametrize("kind", ["fifo", "directory", "link"])
def test_a_lock_that_is_no_file(system: RealSystem, tmp_path: Path, kind: str) -> None:
    """It is told at once."""
    path = tmp_path / "etc/lock"
    {"fifo": lambda: os.mkfifo(path), "directory": path.mkdir, "link": lambda: path.symlink_to("a")}[kind]()

    with pytest.raises(SystemProblem), system.lock("/etc/lock", {}):
        pass


@needs_root
@pytest.mark.parametrize("mode,uid", [(0o777, 0), (0o775, 0), (0o755, 65534)])
def test_state_where_others_can_write(system: RealSystem, tmp_path: Path, mode: int, uid: int) -> None:
    """A folder above it that others can write makes it theirs; the words say which."""
    (tmp_path / "etc/a/state").mkdir(parents=True)
    assert "" == system.unsafe("/etc/a/state")
    (tmp_path / "etc/a").chmod(mode)
    os.chown(tmp_path / "etc/a", uid, uid)

    assert system.unsafe("/etc/a/state").startswith(f"{tmp_path}/etc/a: others than root can write there")
    assert system.unsafe("/etc/a/missing/state").startswith(f"{tmp_path}/etc/a: ")
    assert "" == system.unsafe("/etc")
