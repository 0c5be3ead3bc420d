"""What a night brings: storms of signals, processes that stop, stand still or are killed, descriptors that run out."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dkconf.server import worker
from dkconf.server.shared import Shared
from tests.patience import LAST_RESORT_SECONDS, cpu_seconds, wait_until
from tests.server import exposition
from tests.server.mta import ROOT, Mta, alive, message, selectors, sign_one


def test_what_needs_a_restart_is_said_until_there_was_one(own):
    """The daemon goes on with what it was started with, however often it is told to reload."""
    own.start()
    own.config.write_text(own.config.read_text().replace("workers = 2", "workers = 1"))
    for count in (1, 2):
        own.signal(signal.SIGHUP)
        own.wait_for("workers changed; that needs a restart", count)


def test_sigterm_is_not_lost_in_a_storm_of_sighup(own):
    """A thousand signals during one reload fill whatever wakes the parent; it ends all the same, with status 0."""
    own.start_patched("load as n; o = n.Loader.load; n.Loader.load = lambda *a: (_nap(), o(*a))[1]", nap_seconds=1.0)
    own.signal(signal.SIGHUP)
    for _ in range(3000):
        own.signal(signal.SIGHUP)
        time.sleep(0.0001)
    own.signal(signal.SIGTERM)

    assert own.process is not None
    deadline = time.monotonic() + LAST_RESORT_SECONDS
    while own.process.poll() is None:
        assert time.monotonic() < deadline
        # Not even now may one of them end it.
        own.signal(signal.SIGHUP)
        time.sleep(0.001)
    assert 0 == own.process.returncode
    assert not own.socket.exists()


def test_workers_that_are_told_to_end_along_with_us_are_no_deaths(own):
    """A service manager signals every process of a service."""
    own.start()
    own.signal(signal.SIGSTOP)
    children = own.children()
    for pid in [own.process.pid, *children]:
        os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not any(map(alive, children)), "no worker is left")
    own.signal(signal.SIGCONT)

    assert 0 == own.process.wait(LAST_RESORT_SECONDS)
    assert "exited with" not in own.log


def test_a_pause_of_the_whole_daemon_costs_no_worker(own):
    """A frozen container or a suspended machine: all stood still alike, messages in flight go on."""
    own.start_patched("supervisor as s; s.HUNG_SECONDS = 6.0; s._STANDSTILL_SECONDS = 4.0")
    everyone = [own.process.pid, *own.children()]
    with Mta(own.socket) as mta:
        mta.begin()
        octets = message()
        mta.send(octets[:-20])
        while not own.metrics()["dkconf_filter_in_flight"]:
            pass
        for pid in everyone:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(8)  # nothing happens in a daemon that stands still, there is nothing to wait for
        # The parent comes first, and finds workers that gave no sign of life for long.
        for pid in everyone:
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.5)
        mta.send(octets[-20:])
        assert [b"s"] == selectors(mta.end_of_message())
    assert everyone[1:] == own.children()
    assert "gave no sign" not in own.log


def test_a_worker_that_hangs_does_not_hold_up_a_reload(own):
    """The parent goes on at once, however large the settings are; the others have them."""
    own.extra = "\n".join(
        f'[[keys]]\ndomain = "d{i}.example.org"\nselector = "s"\npath = "{own.key}"' for i in range(3000)
    )
    own.write_config()
    own.start_patched("supervisor as s; s.HUNG_SECONDS = 1e9")
    [first, _] = own.children()
    os.kill(first, signal.SIGSTOP)
    try:
        for count in range(1, 4):
            own.signal(signal.SIGHUP)
            own.wait_for("new messages use them", count)
        assert 3 == own.metrics()['dkconf_filter_reloads_total{result="good"}']
    finally:
        os.kill(first, signal.SIGCONT)
    with Mta(own.socket) as mta:
        mta.begin()
        mta.send(message())
        assert [b"s"] == selectors(mta.end_of_message())


@pytest.mark.parametrize("foreground", [True, False])
def test_closed_standard_descriptors_stay_what_they_are(own, foreground):
    """Nothing of ours is opened as 0, 1 or 2: log lines would go to an MTA or into the pid file."""
    own.config.write_text(own.config.read_text().replace('log = "stderr"', 'log = "off"'))
    pid_path = own.path / "pid"
    command = f"exec {sys.executable} -m dkconf.server.main --config {own.config} -P {pid_path} 0<&- 1>&- 2>&-"
    own.process = subprocess.Popen(["/bin/bash", "-c", command + (" -f" if foreground else "")], cwd=ROOT)
    if foreground:
        wait_until(lambda: own.socket.exists() and len(own.children()) == 2, "two workers and a socket")
    else:
        assert 0 == own.process.wait(LAST_RESORT_SECONDS)
    sign_one(own)
    pid = int(pid_path.read_text())
    own.metrics()
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()

    assert {"/dev/null"} == {
        os.readlink(f"/proc/{each}/fd/{number}") for each in [pid, *children] for number in (0, 1, 2)
    }
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not alive(pid), "the daemon has ended")
    assert not pid_path.exists()
    if foreground:
        assert 0 == own.process.wait(LAST_RESORT_SECONDS)


def test_a_log_that_nobody_reads_does_not_stop_the_mail(own):
    """Standard error is a pipe whose reader hangs: lines are lost and counted, messages are signed."""
    ours, theirs = os.pipe()
    own.process = subprocess.Popen(
        [sys.executable, "-m", "dkconf.server.main", "--config", str(own.config), "-f"], stderr=theirs, cwd=ROOT
    )
    os.close(theirs)
    try:
        said = b""
        while b"ready on" not in said:
            said += os.read(ours, 4096)
        with Mta(own.socket) as mta:
            mta.begin()
            for _ in range(20):
                # 64 KiB are a pipe's usual size; one such round is about 30 KiB.
                mta.send(message(queue_id=b"q" * 64) * 200)
                for _ in range(200):
                    assert [b"s"] == selectors(mta.end_of_message())
        own.signal(signal.SIGHUP)
        for name in ('dkconf_filter_reloads_total{result="good"}', "dkconf_filter_log_lines_lost_total"):
            wait_until(lambda name=name: bool(own.metrics().get(name)), name)
        assert 0 == own.stop()
    finally:
        os.close(ours)


def test_no_core_file_is_written(own):
    """It would hold private keys; whoever starts us may allow one."""
    limits = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (limits[1], limits[1]))
    try:
        own.start()
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, limits)
    for pid in [own.process.pid, *own.children()]:
        [line] = [
            line for line in Path(f"/proc/{pid}/limits").read_text().splitlines() if line.startswith("Max core file")
        ]
        assert "0" == line.split()[4]


@pytest.mark.parametrize(("mode", "warns"), [(0o600, False), (0o640, False), (0o644, True), (0o660, True)])
def test_a_private_key_that_is_open_to_others_is_told(own, tmp_path, mode, warns):
    """At each start and reload; it is no reason to let mail go unsigned."""
    path = tmp_path / "own.pem"
    path.write_bytes(own.key.read_bytes())
    path.chmod(mode)
    own.write_config(key=path)
    own.start()

    assert warns == (f"{path}: mode {mode:04o} opens this private key to others" in own.log)
    sign_one(own)


def test_a_queue_id_of_60_kb_is_cut(own):
    """One log line, whose rest is still to be read."""
    own.start()
    with Mta(own.socket) as mta:
        mta.begin()
        mta.send(message(queue_id=b"x\n" * 30_000))
        assert [b"s"] == selectors(mta.end_of_message())

    [line] = [line for line in own.log.splitlines() if "x\\nx\\n" in line]
    assert line.endswith("signed dkim d=example.org s=s")


def test_no_descriptor_left(own):
    """MTAs and readers of the metrics wait; nobody spins, nobody dies, the log is not flooded, and then it goes on."""
    command = f"ulimit -n 24; exec {sys.executable} -m dkconf.server.main --config {own.config} -f"
    with own.log_path.open("ab") as log:
        own.process = subprocess.Popen(["/bin/bash", "-c", command], stderr=log, cwd=ROOT)
    own.wait_for("ready on")
    everyone = [own.process.pid, *own.children()]
    waiting = []
    for path, count in ((own.socket, 80), (own.metrics_path, 40)):
        for _ in range(count):
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(str(path))
            waiting.append(sock)
    own.wait_for("Too many open files", 2)
    before = [cpu_seconds(pid) for pid in everyone]
    time.sleep(2)  # what is measured is what they do meanwhile: nothing
    used = [cpu_seconds(pid) - start for pid, start in zip(everyone, before, strict=True)]
    for sock in waiting:
        sock.close()

    assert max(used) < 0.3
    assert own.log.count("Too many open files") == 2
    assert "are open, new ones wait" in own.log
    sign_one(own)
    assert own.metrics()["dkconf_filter_workers"] == 2
    assert everyone[1:] == own.children()


def test_what_a_timer_raises_is_in_the_log(own):
    """With its traceback, like any fault of ours; the worker goes on."""
    own.workers = 1
    own.write_config()
    own.start_patched(
        "worker as w; o = w.Worker._beat; n = []; w.Worker._beat ="
        " lambda self: (n or n.append(self.loop.call_later(0.1, lambda: 1 / 0)), o(self))[1]"
    )
    own.wait_for("internal error: ZeroDivisionError")
    own.wait_for("err: Traceback (most recent call last):")
    sign_one(own)


def test_mail_goes_on_through_many_reloads(own):
    """Every message of a connection is answered and signed while settings are swapped, and no descriptor is left."""
    own.start()
    pids = [own.process.pid, *own.children()]

    def descriptors() -> list[int]:
        return [len(os.listdir(f"/proc/{pid}/fd")) for pid in pids]

    with Mta(own.socket) as mta:
        mta.begin()
        mta.send(message())
        mta.end_of_message()
        before = descriptors()
        for number in range(1, 21):
            own.signal(signal.SIGHUP)
            while own.log.count("new messages use them") < number:
                mta.send(message() * 2)
                for _ in range(2):
                    assert [b"s"] == selectors(mta.end_of_message())
        # The old resolvers hold none either, though they live on for a while.
        assert before == descriptors()
    assert pids[1:] == own.children()


def test_a_flood_of_connections_lets_the_others_have_their_turn():
    """However fast somebody connects: after some dozens those who are connected are served, and new ones again."""
    taken: list[socket.socket] = []

    class Flood:
        def accept(self):
            if len(taken) == 10_000:
                raise BlockingIOError
            return socket.socket(), None

    one = worker.Worker.__new__(worker.Worker)
    one._shared = Shared(1)
    one._slot, one._listener = one._shared.slots[0], Flood()
    one._connections, one._yields = set(), 0
    one._begin = lambda sock: taken.append(sock) or sock.close()
    one._accept()
    first = len(taken)
    one._accept()

    assert 0 < first < 1000
    assert len(taken) == 2 * first


def test_metrics_are_prometheus_text_and_never_fall(own):
    """Under mail of all kinds, over the death of each worker and a reload; what a dead worker counted stays."""
    own.start()
    before: dict = {}
    for sent, step in enumerate(("nothing", "kill", "kill", "reload"), 1):
        with Mta(own.socket) as mta:
            mta.begin(b"192.0.2.1")
            mta.send(message([(b"DKIM-Signature", b"v=1")]) + message([(b"From", b" a@example.net")]))
            mta.end_of_message(), mta.end_of_message()
        sign_one(own)
        if step == "kill":
            deaths = own.log.count("was killed")
            os.kill(own.children()[0], signal.SIGKILL)
            own.wait_for("was killed", deaths + 1)
        elif step == "reload":
            own.signal(signal.SIGHUP)
            own.wait_for("new messages use them")
        found = exposition.read(own.metrics_text())
        fallen = [name for name, value in before.items() if "_total" in name[0] and found[name] < value]
        assert not fallen
        messages = sum(value for (name, _), value in found.items() if name == "dkconf_filter_messages_total")
        assert messages == found["dkconf_filter_message_seconds_count", ()] == 3 * sent
        before = found
    assert found["dkconf_filter_worker_restarts_total", ()] == 2


def test_name_servers_that_come_after_us_are_asked(own, tmp_path):
    """At boot resolv.conf may still be missing. Without a name server, as while it is written, nothing changes."""
    path = tmp_path / "resolv.conf"
    own.start_patched(
        f"load as n, dkconf.server.supervisor as s; n.RESOLV_CONF = '{path}'; s._RESOLV_CONF_SECONDS = 0.1"
    )
    path.write_text("# nothing yet\n")
    for number, server in enumerate(("192.0.2.53", "255.255.255.255")):
        path.write_text(f"nameserver {server}\n")
        own.wait_for(f"resolv.conf has changed: {server} are asked now")
        path.write_text("")
        path.unlink()
        own.wait_for("resolv.conf has changed", number + 1)
    with Mta(own.socket) as mta:
        mta.begin(b"192.0.2.1")
        # An unsigned message, for which the policy record is asked.
        mta.send(message([(b"From", b" a@example.net")]))
        assert b"c" == mta.end_of_message()[-1][0]
    own.wait_for("policy lookup failed: 255.255.255.255: Permission denied")
    assert 2 == own.log.count("resolv.conf has changed")
