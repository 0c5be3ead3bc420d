"""The daemon as a process: messages, reload, signals, dying workers, exit statuses."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from dkconf.crypto.keys import generate
from dkconf.milter import codec
from tests.patience import LAST_RESORT_SECONDS, wait_until
from tests.server.mta import ROOT, Daemon, Mta, alive, message, selectors, sign_one


def _run(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dkconf.server.main", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=LAST_RESORT_SECONDS, **options,
    )  # fmt: skip


def test_messages_are_signed_one_after_another(daemon):
    """Many messages on one connection, several at once in one write: one final reply each."""
    with Mta(daemon.socket) as mta:
        mta.begin()
        mta.send(message() * 3)
        for _ in range(3):
            replies = mta.end_of_message()
            assert [b"s"] == selectors(replies)
            assert b"c" == replies[-1][0]
        assert mta.quiet()


def test_quit_closes(daemon):
    """QUIT gets no reply, the connection is closed."""
    with Mta(daemon.socket) as mta:
        mta.begin()
        mta.send(codec.packet(b"Q"))
        assert (b"", b"") == mta.reply()


@pytest.mark.parametrize(
    "offer", [(2, 0x3F, 0x7F), (3, 0x3F, 0x17F), (4, 0x3F, 0x3FF), (6, 0x1FF, 0x1FFFFF), (7, 0x1FF, 0x701FFFFF)]
)
def test_versions_2_to_6(daemon, offer):
    """The answer is never more than was offered, and every replying command gets one reply."""
    with Mta(daemon.socket) as mta:
        version, actions, protocol = mta.negotiate(offer)
        assert min(6, offer[0]) == version
        assert not actions & ~offer[1]
        assert not protocol & ~(offer[2] & 0x1FFFFF)
        mta.send(b"\0\0\0\x0dC" + b"mx\0" + b"U" + b"\0" * 8)
        if not protocol & 0x1000:
            assert b"c" == mta.reply()[0]
        steps = [
            (codec.packet(b"D", b"M"), None),
            (codec.packet(b"M", b"<a@example.org>\0"), 0x4000),
            (codec.packet(b"R", b"<b@example.net>\0"), 0x8000),
            (codec.packet(b"L", b"From\0a@example.org\0"), 0x80),
            (codec.packet(b"N"), 0x40000),
            (codec.packet(b"B", b"x\r\n"), 0x80000),
        ]
        for octets, flag in steps:
            mta.send(octets)
            if flag is not None and not protocol & flag:
                assert (b"c", b"") == mta.reply()
        mta.send(codec.packet(b"E"))
        assert mta.end_of_message()[-1][0] == b"c"
        assert mta.quiet(0.05)


def test_version_1_is_refused(daemon):
    """libmilter closes, and so do we."""
    with Mta(daemon.socket) as mta:
        mta.send(codec.packet(b"O", b"\0\0\0\1" + b"\0" * 8))
        assert (b"", b"") == mta.reply()


def test_the_next_smtp_connection_on_the_same_socket(daemon):
    """QUIT_NC after a message: a new CONNECT is taken, the next message signed."""
    with Mta(daemon.socket) as mta:
        mta.begin()
        for _ in range(2):
            mta.send(message())
            assert [b"s"] == selectors(mta.end_of_message())
            mta.send(codec.packet(b"K") + b"\0\0\0\x1bC" + b"client\0" + b"4\0\x19" + b"127.0.0.1\0" + b"\0" * 6)
        assert mta.quiet(0.05)


def test_long_connections_opened_one_after_another_spread(own):
    """Eight connections are four for each of two workers, though they do not come in a burst."""
    own.start()
    with_ours = []
    for _ in range(8):
        mta = Mta(own.socket)
        mta.begin()
        with_ours.append(mta)
    sockets = []
    for pid in own.children():
        links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        sockets.append(sum(link.startswith("socket:") for link in links))
    for mta in with_ours:
        mta.sock.close()

    # Each worker has the same sockets besides: equal sums are equal shares.
    assert len(set(sockets)) == 1


def test_reload_takes_new_keys_for_the_next_message(own, tmp_path):
    """SIGHUP: a connection stays, a message begun before ends with the old key, the next has the new one."""
    own.workers = 1
    own.write_config()
    own.start()
    with Mta(own.socket) as mta, Mta(own.socket) as other:
        mta.begin()
        other.begin()
        octets = message()
        mta.send(octets[:-20])
        new = tmp_path / "new.pem"
        new.write_bytes(generate("rsa", 2048))
        own.write_config("t", new)
        own.signal(signal.SIGHUP)
        own.wait_for("new messages use them")
        assert 1 == own.metrics()['dkconf_filter_reloads_total{result="good"}']

        def other_has_the_new_key() -> bool:
            other.send(message())
            return selectors(other.end_of_message()) == [b"t"]

        wait_until(other_has_the_new_key, "the worker has the new settings")
        mta.send(octets[-20:])
        assert [b"s"] == selectors(mta.end_of_message())
        mta.send(message())
        assert [b"t"] == selectors(mta.end_of_message())


def test_reload_of_bad_settings_changes_nothing(own, tmp_path):
    """The log says why; the old key signs on."""
    own.start()
    with Mta(own.socket) as mta:
        mta.begin()
        spoils = (
            lambda: own.config.write_text("nonsense"),
            lambda: own.write_config("s", tmp_path / "missing.pem"),
        )
        for number, spoil in enumerate(spoils, 1):
            spoil()
            own.signal(signal.SIGHUP)
            own.wait_for("settings and keys stay as they were", number)
            mta.send(message())
            assert [b"s"] == selectors(mta.end_of_message())
        assert "missing.pem" in own.log
        assert 2 == own.metrics()['dkconf_filter_reloads_total{result="bad"}']


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_a_reload_cannot_read_what_is_roots_alone(key):
    """The log says which file, who may not read it, what bars the way and what would be right; the old key signs on."""
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to others
        folder = Path(name)
        folder.chmod(0o755)
        vault, bare = folder / "vault", folder / "bare.pem"
        vault.mkdir(mode=0o700)
        for path in (bare, vault / "in.pem"):
            path.write_bytes(key.read_bytes())
            path.chmod(0o600)
        daemon = Daemon(folder, bare)
        try:
            daemon.start("-u", "nobody")
            warned = f"{bare}: a reload will fail: user nobody may not read it; open it to that user by owner or group"
            assert warned in daemon.log  # at a start already, not only when a key is to be changed
            checked = daemon.check("-u", "nobody")
            assert (0, True) == (checked.returncode, warned in checked.stderr)
            _reload_as_nobody(daemon, bare, vault)
        finally:
            daemon.__exit__()


def _reload_as_nobody(daemon, bare, vault):
    advice = "open it to that user by owner or group, or restart, which reads it before becoming that user"
    bars = ((bare, "user nobody may not read it"), (vault / "in.pem", f"{vault} is closed to user nobody"))
    with Mta(daemon.socket) as mta:
        mta.begin()
        for number, (path, why) in enumerate(bars, 1):
            daemon.write_config("t", path)
            daemon.signal(signal.SIGHUP)
            daemon.wait_for("reload: settings and keys stay as they were", number)
            assert f" reload: keys[0].path: {path}: Permission denied: {why}; {advice}\n" in daemon.log
            mta.send(message())
            assert [b"s"] == selectors(mta.end_of_message())
        bare.chmod(0o644)
        daemon.write_config("t", bare)
        daemon.signal(signal.SIGHUP)
        daemon.wait_for("new messages use them")


def test_a_reload_says_what_needs_a_restart(own):
    """The socket cannot change; the rest of the new settings holds."""
    own.start()
    own.config.write_text(own.config.read_text().replace("workers = 2", "workers = 1"))
    own.signal(signal.SIGHUP)
    own.wait_for("workers changed; that needs a restart")


def test_a_reload_changes_the_form_of_the_log(own):
    """Parent and workers write JSON from then on."""
    own.start()
    text = own.config.read_text()
    assert "log_format" not in text
    own.config.write_text('log_format = "json"\n' + text)
    own.signal(signal.SIGHUP)
    own.wait_for('"message": "reload: ')
    with Mta(own.socket) as mta:
        mta.begin()
        while '"action": "accept"' not in own.log:  # once the worker has the new settings
            mta.send(message())
            mta.end_of_message()


def test_sigterm_finishes_the_message_in_flight(own):
    """A message that has begun gets its reply, idle connections are closed, then the exit status is 0."""
    own.start()
    with Mta(own.socket) as busy, Mta(own.socket) as idle:
        busy.begin()
        idle.begin()
        octets = message()
        busy.send(octets[:-20])
        while not own.metrics()["dkconf_filter_in_flight"]:
            pass
        own.signal(signal.SIGTERM)
        assert (b"", b"") == idle.reply()
        busy.send(octets[-20:])
        assert [b"s"] == selectors(busy.end_of_message())
        assert (b"", b"") == busy.reply()
    assert own.process is not None
    assert 0 == own.process.wait(LAST_RESORT_SECONDS)
    assert not own.socket.exists()


def test_a_dead_worker_is_replaced(own):
    """A killed worker costs its connections; the next are served, and the restart is counted."""
    own.start()
    before = own.children()
    os.kill(before[0], signal.SIGKILL)
    own.wait_for("was killed by signal 9; replaced")
    wait_until(lambda: len(own.children()) == 2 == own.metrics()["dkconf_filter_workers"], "two workers")
    for _ in range(4):
        sign_one(own)

    assert 1 == own.metrics()["dkconf_filter_worker_restarts_total"]


def test_a_worker_that_hangs_is_killed_and_replaced(own):
    """One that gives no sign of life for too long serves nobody any more."""
    own.start_patched("supervisor as s; s.HUNG_SECONDS = 6.0")
    [first, _] = own.children()
    os.kill(first, signal.SIGSTOP)
    own.wait_for(f"worker {first} gave no sign of life")
    own.wait_for("was killed by signal 9; replaced")
    sign_one(own)


def test_new_connections_do_not_wait_for_a_stopped_worker(own):
    """Those who have more connections than the one that hangs take them all the same, and nobody replaces that one."""
    own.start_patched("supervisor as s; s.HUNG_SECONDS = 1e9")
    [first, _] = own.children()
    os.kill(first, signal.SIGSTOP)
    try:
        talks = [Mta(own.socket) for _ in range(20)]
        for mta in talks:
            mta.begin()
            mta.send(message())
            assert [b"s"] == selectors(mta.end_of_message())
        for mta in talks:
            mta.sock.close()
    finally:
        os.kill(first, signal.SIGCONT)


def test_silence_is_not_waited_for_for_ever(own):
    """A connection that never negotiates is closed, one that has negotiated may be silent much longer."""
    own.start_patched("worker as w, dkconf.server.connection as c; c.NEGOTIATION_SECONDS = 3.0; w._SWEEP_BEATS = 1")
    with Mta(own.socket) as silent, Mta(own.socket) as known:
        known.begin()
        assert (b"", b"") == silent.reply()
        known.send(message())
        assert [b"s"] == selectors(known.end_of_message())


def test_a_message_that_trickles_is_cut_off(own):
    """An octet now and then is no silence; a message that takes for ever is closed all the same, others go on."""
    own.start_patched("worker as w, dkconf.server.connection as c; c.MESSAGE_SECONDS = 3.0; w._SWEEP_BEATS = 1")
    with Mta(own.socket) as slow, Mta(own.socket) as known:
        slow.begin()
        whole = message(body=b"x" * 60000)
        slow.send(whole[: -50000 - 5])  # in the middle of the body: 50,000 octets and the end are to come
        ended = False
        deadline = time.monotonic() + LAST_RESORT_SECONDS
        slow.sock.settimeout(0.1)
        while not ended:
            assert time.monotonic() < deadline
            try:
                slow.send(b"x")
                ended = slow.sock.recv(1) == b""
            except TimeoutError:
                continue
            except OSError:
                ended = True
        known.begin()
        known.send(message())
        assert [b"s"] == selectors(known.end_of_message())


def test_workers_end_when_the_parent_is_killed(own):
    """Nobody would replace them; the socket must not be served by half a daemon."""
    own.start()
    children = own.children()
    own.signal(signal.SIGKILL)
    wait_until(lambda: not any(map(alive, children)), "no worker is left")


def test_metrics_count_messages_over_all_workers(own):
    """Role, condition and action; histograms of signing and of whole messages."""
    own.start()
    for _ in range(6):
        with Mta(own.socket) as mta:
            mta.begin()
            mta.send(message())
            mta.end_of_message()

    found = own.metrics()
    assert 6 == sum(v for k, v in found.items() if k.startswith('dkconf_filter_messages_total{role="sign"'))
    assert 6 == found["dkconf_filter_signing_seconds_count"]
    assert 6 == found["dkconf_filter_message_seconds_count"]
    assert 2 == found["dkconf_filter_workers"]


def test_the_service_manager_is_told(tmp_path, key):
    """READY when the workers serve, RELOADING around a reload, STOPPING at the end, WATCHDOG in between."""
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(path))
        server.settimeout(LAST_RESORT_SECONDS)
        own = Daemon(tmp_path, key, NOTIFY_SOCKET=str(path), WATCHDOG_USEC="2000000").start()
        heard = set()

        def until(word: bytes) -> None:
            while word not in heard:
                heard.update(server.recv(1000).split(b"\n"))

        until(b"READY=1")
        until(b"WATCHDOG=1")
        heard.clear()
        own.signal(signal.SIGHUP)
        until(b"RELOADING=1")
        until(b"READY=1")
        assert 0 == own.stop()
        until(b"STOPPING=1")


def test_an_inherited_socket_is_served(tmp_path, key):
    """Socket activation: descriptor 3 is the milter socket, whatever the settings say."""
    own = Daemon(tmp_path, key)
    with socket.create_server(("127.0.0.1", 0)) as server, own.log_path.open("ab") as log:
        command = (
            f"exec 3<&{server.fileno()}; exec env LISTEN_FDS=1 LISTEN_PID=$$ {sys.executable}"
            f" -m dkconf.server.main --config {own.config} -f"
        )
        own.process = subprocess.Popen(["/bin/bash", "-c", command], pass_fds=[server.fileno()], stderr=log, cwd=ROOT)
        own.wait_for("ready on fd:3")
        with Mta(server.getsockname()) as mta:
            mta.begin()
            mta.send(message())
            assert [b"s"] == selectors(mta.end_of_message())
        assert not own.socket.exists()
        assert 0 == own.stop()


def test_the_background(own, tmp_path):
    """The first process exits 0 once the socket is served; the pid file names the parent and goes with it."""
    pid_path = tmp_path / "pid"
    own.config.write_text(own.config.read_text().replace('log = "stderr"', 'log = "off"'))
    done = _run("--config", str(own.config), "-P", str(pid_path))
    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)
    pid = int(pid_path.read_text())
    sign_one(own)
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not alive(pid), "the daemon has ended")
    assert not pid_path.exists()
    assert not own.socket.exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_privileges_are_dropped_after_socket_and_key(own):
    """Workers and parent are nobody; key and socket were opened by root; no groups of root remain."""
    own.key.chmod(0o600)
    own.start("-u", "nobody")
    socket_file = own.socket.stat()
    assert (65534, 65534) == (socket_file.st_uid, socket_file.st_gid)
    for pid in [own.process.pid, *own.children()]:
        with open(f"/proc/{pid}/status") as file:
            status = dict(line.split(":\t", 1) for line in file.read().splitlines() if ":\t" in line)
        assert ["65534"] * 4 == status["Uid"].split()
        assert ["65534"] * 4 == status["Gid"].split()
        assert "0" not in status["Groups"].split()


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["-V"], 0),
        ([], 78),
        (["-x"], 64),
        (["-p", "local:{tmp}/s", "operand"], 64),
        (["-p", "local:{tmp}/s", "-C", "miss-a"], 78),
        (["-p", "local:{tmp}/s", "-s", "/nonexistent", "-d", "example.org"], 78),
        (["-p", "local:{tmp}/s", "-u", "no-such-user"], 65),
        (["-p", "local:/nonexistent/s"], 69),
        (["-p", "local:{tmp}/s", "-f", "-u", "no-such-user"], 65),
        (["--config", "/nonexistent"], 78),
        (["-n", "-p", "local:{tmp}/s"], 0),
    ],
)
def test_exit_statuses(tmp_path, arguments, status):
    """As dk-filter's; every failure says why on standard error, in one piece."""
    done = _run(*(a.format(tmp=tmp_path) for a in arguments))

    assert status == done.returncode, done.stderr
    assert bool(status) == bool(done.stderr)
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_the_daemon_imports_no_manager():
    """What makes the start slow or belongs to the manager stays out of the process."""
    code = (
        "import sys, dkconf.server.main, dkconf.server.worker;"
        "print([n for n in ('click','rich','jinja2','ruamel','ruamel.yaml','pydantic') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert "[]" == done.stdout.strip()
