"""Listening sockets, the pid file, and users."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import threading

import pytest

from dkconf.server import background, listen, privileges
from dkconf.server.fault import StartFailure
from tests.patience import LAST_RESORT_SECONDS


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("inet:8891@localhost", ("inet", "localhost", "8891")),
        ("inet:8891", ("inet", "", "8891")),
        ("inet6:8891@[::1]", ("inet6", "::1", "8891")),
        ("local:/run/x", ("local", "/run/x", "")),
        ("unix:/run/x", ("local", "/run/x", "")),
        ("/run/a:b", ("local", "/run/a:b", "")),
        ("run/x", ("local", "run/x", "")),
        ("fd:3", ("fd", "3", "")),
    ],
)
def test_socket_specs(spec, expected):
    """As sendmail's S= and dk-filter's -p; without a scheme it is a path."""
    assert expected == listen.split_spec(spec)


def test_a_unix_socket_has_its_mode_and_goes_with_its_owner(tmp_path):
    """Mode and path are as asked for, whatever the umask; the path is removed when it closes."""
    path = tmp_path / "s"
    mask = os.umask(0o077)
    try:
        listener = listen.open_listener(f"local:{path}", 0o666)
    finally:
        os.umask(mask)

    assert 0o666 == stat.S_IMODE(path.stat().st_mode)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    listener.close(unlink=True)
    assert not path.exists()


def test_a_socket_that_somebody_else_made_meanwhile_is_left(tmp_path):
    """Only our own path is removed."""
    path = tmp_path / "s"
    listener = listen.open_listener(str(path))
    path.unlink()
    other = listen.open_listener(str(path))

    listener.close(unlink=True)
    assert path.exists()
    other.close(unlink=True)


def test_a_socket_that_nobody_serves_is_replaced(tmp_path):
    """What a killed filter left behind does not stop the start."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()

    listen.open_listener(str(path)).close(unlink=True)


def test_a_socket_in_use_is_respected(tmp_path):
    """One that answers is somebody's: exit status 69."""
    path = tmp_path / "s"
    listener = listen.open_listener(str(path))
    with pytest.raises(StartFailure, match="another process serves it") as caught:
        listen.open_listener(str(path))
    listener.close(unlink=True)

    assert 69 == caught.value.exit_status


def test_a_file_in_the_way_is_never_removed(tmp_path):
    """A path that is no socket: exit status 69, and the file stays."""
    path = tmp_path / "s"
    path.write_text("x")
    with pytest.raises(StartFailure, match="no socket"):
        listen.open_listener(str(path))

    assert "x" == path.read_text()


@pytest.mark.parametrize("spec", ["inet:{port}@127.0.0.1", "local:/nonexistent/s", "inet:1@no-such-host.invalid"])
def test_what_cannot_be_opened_is_unavailable(spec):
    """Exit status 69; the message names the socket, and says what to do about a program that has it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        spec = spec.format(port=taken.getsockname()[1])
        with pytest.raises(StartFailure, match=spec.split("@")[0]) as caught:
            listen.open_listener(spec)

    assert 69 == caught.value.exit_status
    taken_by_another = str(caught.value).endswith("; stop the program that listens there, or name another socket")
    assert taken_by_another == spec.endswith("@127.0.0.1")


def test_an_unknown_group_or_user():
    """Exit status 65."""
    for call in (
        lambda: listen.open_listener("local:/nonexistent/s", 0o660, "no-such-group"),
        lambda: privileges.find("no-such-user"),
        lambda: privileges.find("root:no-such-group"),
        lambda: privileges.find("4000000000"),
    ):
        with pytest.raises(StartFailure) as caught:
            call()
        assert 65 == caught.value.exit_status


def test_who_to_become():
    """USER, UID, USER:GROUP and numbers."""
    assert privileges.Identity("root", 0, 0) == privileges.find("root") == privileges.find("0")
    assert privileges.Identity("root", 0, 12, group_named=True) == privileges.find("root:12")


def test_already_that_user_means_nothing_to_do(monkeypatch):
    """dk-filter failed here with `setgid(): Operation not permitted`."""
    monkeypatch.setattr(os, "initgroups", lambda *a: (_ for _ in ()).throw(PermissionError()))

    privileges.drop(privileges.Identity("me", os.getuid(), os.getgid()))


@pytest.mark.parametrize("named", [False, True])
def test_already_that_user_in_another_group(monkeypatch, named):
    """Given by a service manager it stays, for only root could change it; a group that was named must be had (77)."""
    for name in ("getuid", "geteuid"):
        monkeypatch.setattr(os, name, lambda: 1000)
    monkeypatch.setattr(os, "initgroups", lambda *a: (_ for _ in ()).throw(PermissionError(1, "not permitted")))
    identity = privileges.Identity("me", 1000, os.getgid() + 1, named)

    if named:
        with pytest.raises(StartFailure, match=r"initgroups\(\): not permitted") as caught:
            privileges.drop(identity)
        assert 77 == caught.value.exit_status
    else:
        privileges.drop(identity)


def test_a_user_that_cannot_be_had(monkeypatch):
    """Exit status 77, and the message names the step."""
    monkeypatch.setattr(os, "initgroups", lambda *a: None)
    monkeypatch.setattr(os, "setresgid", lambda *a: (_ for _ in ()).throw(PermissionError(1, "not permitted")))

    with pytest.raises(StartFailure, match=r"setgid\(\): not permitted") as caught:
        privileges.drop(privileges.Identity("other", os.getuid() + 1, os.getgid() + 1))
    assert 77 == caught.value.exit_status


def test_inherited_sockets():
    """Socket activation is for the process that LISTEN_PID names."""
    assert [3, 4] == listen.inherited({"LISTEN_PID": "7", "LISTEN_FDS": "2"}, 7)
    assert [] == listen.inherited({"LISTEN_PID": "8", "LISTEN_FDS": "2"}, 7)
    assert [] == listen.inherited({}, 7)
    assert [] == listen.inherited({"LISTEN_PID": "7", "LISTEN_FDS": "-1"}, 7)
    assert 3 == listen.inherited({"LISTEN_PID": "7", "LISTEN_FDS": "9" * 12}, 7)[0]


def test_a_descriptor_that_is_no_socket():
    """Exit status 69."""
    with open(os.devnull) as file, pytest.raises(StartFailure, match="no listening socket"):
        listen.adopt(os.dup(file.fileno()), "fd:9")


def test_the_pid_file_is_one_line_and_goes(tmp_path):
    """It is removed at the end, and a link in its place is not followed."""
    path = tmp_path / "pid"
    pid_file = background.PidFile(str(path))
    pid_file.write(123)
    assert "123\n" == path.read_text()
    pid_file.remove()
    assert not path.exists()

    target = tmp_path / "target"
    target.write_text("x")
    path.symlink_to(target)
    with pytest.raises(OSError):
        background.PidFile(str(path)).write(1)
    assert "x" == target.read_text()


def test_the_pid_file_of_a_successor_is_left(tmp_path):
    """While one finishes its messages the next may have been started: written over, or put in its place."""
    path = tmp_path / "pid"
    old, new = background.PidFile(str(path)), background.PidFile(str(path))
    old.write(123)
    new.write(4567)
    old.remove()
    assert "4567\n" == path.read_text()
    new.remove()
    assert not path.exists()

    old.write(123)
    path.unlink()
    path.write_text("123\n")
    old.remove()
    assert "123\n" == path.read_text()


def test_what_is_no_file_is_no_pid_file(tmp_path):
    """A FIFO is not waited for."""
    path = tmp_path / "pid"
    os.mkfifo(path)
    with pytest.raises(OSError):
        background.PidFile(str(path)).write(1)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(OSError):
        background.PidFile(str(path)).write(1)
    os.close(reader)


def test_root_does_not_write_a_pid_into_what_somebody_put_there(tmp_path):
    """A second name of root's file, in the folder of the filter's user: it is replaced, not written to."""
    secret = tmp_path / "secret"
    secret.write_text("x")
    os.link(secret, tmp_path / "pid")
    pid_file = background.PidFile(str(tmp_path / "pid"))
    pid_file.write(123)

    assert ("x", "123\n") == (secret.read_text(), (tmp_path / "pid").read_text())
    pid_file.remove()
    assert ["secret"] == os.listdir(tmp_path)


def test_those_who_find_a_stale_socket_take_turns(tmp_path, monkeypatch):
    """Else the slower one removes the socket of the faster one; a lock that is never let go of stops nobody."""
    path = tmp_path / "s"
    lock = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    opened: list[listen.Listener] = []
    thread = threading.Thread(target=lambda: opened.append(listen.open_listener(f"local:{path}")))
    monkeypatch.setattr(listen, "_TURN_SECONDS", LAST_RESORT_SECONDS)
    thread.start()
    thread.join(0.3)
    assert not path.exists()
    fcntl.flock(lock, fcntl.LOCK_UN)
    thread.join(LAST_RESORT_SECONDS)
    opened[0].close(unlink=True)

    fcntl.flock(lock, fcntl.LOCK_EX)
    monkeypatch.setattr(listen, "_TURN_SECONDS", 0.1)
    listen.open_listener(f"local:{path}").close(unlink=True)
    os.close(lock)


def test_a_directory_that_we_may_not_read_can_hold_our_socket(tmp_path, monkeypatch):
    """Write and search permission are enough for a socket."""

    real = os.open

    def refuse(path, flags, *arguments, **options):
        if str(path) == str(tmp_path):
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, flags, *arguments, **options)

    monkeypatch.setattr(listen.os, "open", refuse)
    listener = listen.open_listener(f"local:{tmp_path}/s")
    assert (tmp_path / "s").is_socket()
    listener.close(unlink=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="root opens the socket in the folder of the filter's user")
@pytest.mark.parametrize("act", ["mode", "owner"])
def test_what_somebody_puts_in_the_place_of_the_socket(tmp_path, monkeypatch, act):
    """The folder's owner exchanges it for a link, or a second name, of root's file: that keeps owner and mode."""
    secret = tmp_path / "secret"
    secret.touch(0o600)
    before = secret.stat()
    for put in (lambda path: path.symlink_to(secret), lambda path: os.link(secret, path)):
        path = tmp_path / "s"
        if act == "owner":
            listener = listen.open_listener(f"local:{path}")
            path.unlink()
            put(path)
            listen.owner_for(listener, 65534, 65534)
            listener.close(unlink=False)
        else:
            real = os.lstat

            def exchange(name, real=real, put=put, path=path):
                found = real(name)
                path.unlink()
                put(path)
                return found

            monkeypatch.setattr(listen.os, "lstat", exchange)
            with pytest.raises(listen.StartFailure):
                listen.open_listener(f"local:{path}")
            monkeypatch.undo()
        path.unlink()
        after = secret.stat()
        assert (before.st_mode, before.st_uid) == (after.st_mode, after.st_uid)


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_mode_and_owner_without_proc(tmp_path, monkeypatch, mode):
    """In a chroot: the mode is right from the start, and the owner is changed of what is no link."""
    monkeypatch.setattr(os.path, "exists", lambda path: False)
    listener = listen.open_listener(f"local:{tmp_path}/s", mode, str(os.getegid()))
    listen.owner_for(listener, os.geteuid(), os.getegid())

    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == mode
    listener.close(unlink=True)
