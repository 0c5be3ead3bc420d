"""What a night brings: storms of signals, processes that stop, stand still or are killed, descriptors that run out."""

from __future__ import annotations

import os
import signal
import time

from tests.server.mta import Mta, alive, message, selectors


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
    deadline = time.monotonic() + 30
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
    deadline = time.monotonic() + 20
    while any(alive(pid) for pid in children):
        assert time.monotonic() < deadline
    own.signal(signal.SIGCONT)

    assert 0 == own.process.wait(20)
    assert "exited with" not in own.log


def test_a_pause_of_the_whole_daemon_costs_no_worker(own):
    """A frozen container or a suspended machine: all stood still alike, messages in flight go on."""
    own.start_patched("supervisor as s; s.HUNG_SECONDS = 2.5; s._STANDSTILL_SECONDS = 2.0")
    everyone = [own.process.pid, *own.children()]
    with Mta(own.socket) as mta:
        mta.begin()
        octets = message()
        mta.send(octets[:-20])
        while not own.metrics()["dkconf_filter_in_flight"]:
            pass
        for pid in everyone:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(4)  # nothing happens in a daemon that stands still, there is nothing to wait for
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
    own.start()
    [first, _] = own.children()
    os.kill(first, signal.SIGSTOP)
    try:
        for count in range(1, 4):
            own.signal(signal.SIGHUP)
            own.wait_for("new messages use them", count)
        begin = time.monotonic()
        assert 3 == own.metrics()['dkconf_filter_reloads_total{result="good"}']
        assert time.monotonic() - begin < 5
    finally:
        os.kill(first, signal.SIGCONT)
    with Mta(own.socket) as mta:
        mta.begin()
        mta.send(message())
        assert [b"s"] == selectors(mta.end_of_message())
