"""The parent: starts workers, replaces those that die or hang, and answers to signals. It serves no mail itself.

SIGTERM and SIGINT end the daemon once messages in flight are done. SIGHUP loads settings and keys anew: if they
are good, every worker gets the octets that were read and takes them for the next message; if not, all stay with
the old ones and the log says why. No connection is dropped either way.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from dkconf.errors import DkconfError
from dkconf.filter.report import summary
from dkconf.server import background, channel, journal, metrics, worker
from dkconf.server.fault import EX_OK, EX_SOFTWARE
from dkconf.server.listen import Listener
from dkconf.server.load import Bundle, Loaded, Loader, unchangeable
from dkconf.server.notify import Notifier
from dkconf.server.respawn import RateLimit
from dkconf.server.shared import NOBODY, Shared

HUNG_SECONDS: Final = 60.0
"""A worker that gave no sign of life for so long is killed; the longest honest work is milliseconds."""
_TICK_SECONDS: Final = 1.0
_RESOLV_CONF_SECONDS: Final = 5.0
"""Between two looks at resolv.conf; the C library looks at it before each lookup."""
_STANDSTILL_SECONDS: Final = 10.0
"""If we have not come to look for so long, the whole daemon was paused (SIGSTOP, a frozen container, a suspended
machine): nobody is judged by the time before."""


class _Child:
    """A worker process as the parent sees it."""

    def __init__(self, pid: int, index: int, ours: channel.Channel) -> None:
        self.pid, self.index, self.channel = pid, index, ours
        self.ready = False
        self.killed = False
        self.begun = time.monotonic()


class Supervisor:
    """See the module."""

    def __init__(
        self,
        loader: Loader,
        loaded: Loaded,
        listener: Listener,
        metrics_listener: Listener | None,
        log: journal.Log,
        notifier: Notifier,
        *,
        on_ready: Callable[[], None],
        on_fork: Callable[[], None],
    ) -> None:
        """`on_ready` is called once, when all workers serve; `on_fork` in each worker."""
        self._loader, self._loaded = loader, loaded
        self._listener, self._metrics_listener = listener, metrics_listener
        self._log, self._notifier, self._on_ready = log, notifier, on_ready
        self._on_fork = on_fork
        self._count = loaded.bundle.settings.workers or len(os.sched_getaffinity(0))
        self._shared = Shared(self._count)
        self._children: dict[int, _Child] = {}
        self._empty: dict[int, float] = {}
        """Slots without a worker, and when they get one."""
        self._limit = RateLimit()
        self._selector = selectors.DefaultSelector()
        self._endpoint: metrics.Endpoint | None = None
        self._signals: socket.socket | None = None
        self._wake: socket.socket | None = None
        self._caught: set[int] = set()
        """Signals that are still to be heeded."""
        self._first_settings = loaded.bundle.settings
        self._ticked_at = self._awake_since = time.monotonic()
        self._is_ready = False
        self._stopping = False
        self._kill_at = 0.0
        self._status = EX_OK
        self._watchdog_at = 0.0
        self._resolv_conf_at = time.monotonic() + _RESOLV_CONF_SECONDS
        self._started_at = time.time()
        self._restarts = 0
        self._reloads = {"good": 0, "bad": 0}

    # --- life

    def run(self) -> int:
        """Serve until the end; return the exit status."""
        self._catch_signals()
        if self._metrics_listener is not None:
            self._endpoint = metrics.Endpoint(self._selector, self._metrics_listener.sock, self._metrics)
        for index in range(self._count):
            self._start_worker(index)
        while self._children or not self._stopping:
            for key, mask in self._selector.select(self._pause()):
                key.data(mask)
            self._heed_signals()
            self._tick()
        self._close()
        return self._status

    def _pause(self) -> float:
        now = time.monotonic()
        due = [at - now for at in self._empty.values()] if not self._stopping else []
        return max(0.0, min([_TICK_SECONDS, *due]))

    def _tick(self) -> None:
        now = time.monotonic()
        if now - self._ticked_at > _STANDSTILL_SECONDS:
            self._awake_since = now
        self._ticked_at = now
        if self._stopping:
            if self._kill_at <= now:
                for child in self._children.values():
                    self._kill(child, "did not end in time")
            return
        for index, at in list(self._empty.items()):
            if at <= now:
                self._start_worker(index)
        for child in self._children.values():
            silent = now - max(child.begun, self._awake_since, self._shared.slots[child.index].beat)
            if silent > HUNG_SECONDS:
                self._kill(child, f"gave no sign of life for {int(silent)} s")
        if self._endpoint is not None:
            self._endpoint.sweep()
        if now >= self._resolv_conf_at:
            self._resolv_conf_at = now + _RESOLV_CONF_SECONDS
            self._look_at_resolv_conf()
        seconds = self._notifier.watchdog_seconds
        # Half the time is what the service manager's manual recommends.
        if seconds and now >= self._watchdog_at and self._children:
            self._notifier.send("WATCHDOG=1")
            self._watchdog_at = now + min(seconds / 2, seconds - _TICK_SECONDS)

    def _close(self) -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            # What is left is to remove the pid file, and a late signal must not spoil the exit status.
            signal.signal(number, signal.SIG_IGN)
        if self._endpoint is not None:
            self._endpoint.close()
        self._selector.close()
        for sock in (self._signals, self._wake):
            if sock is not None:
                sock.close()

    def _metrics(self) -> str:
        extra = {
            "dkconf_filter_start_time_seconds": self._started_at,
            metrics.RESTARTS: float(self._restarts),
            metrics.sample(metrics.RELOADS, result="good"): float(self._reloads["good"]),
            metrics.sample(metrics.RELOADS, result="bad"): float(self._reloads["bad"]),
        }
        return metrics.render(self._shared, extra)

    # --- signals

    def _catch_signals(self) -> None:
        self._signals, self._wake = socket.socketpair()
        self._signals.setblocking(False)
        self._wake.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda number, frame: self._caught.add(number))
            signal.siginterrupt(number, False)
        self._selector.register(self._signals, selectors.EVENT_READ, self._wake_up)

    def _wake_up(self, mask: int) -> None:
        """Empty the socket that wakes us. What it holds is not looked at: some hundred signals fill it."""
        assert self._signals is not None
        with contextlib.suppress(BlockingIOError, InterruptedError):
            self._signals.recv(65536)

    def _heed_signals(self) -> None:
        numbers, self._caught = self._caught, set()
        # The end first: workers that were told to end along with us are no deaths.
        if numbers & {signal.SIGTERM, signal.SIGINT}:
            self.stop()
        if signal.SIGCHLD in numbers:
            self._reap()
        if signal.SIGHUP in numbers and not self._stopping:
            self._reload()

    def stop(self) -> None:
        """Tell every worker to finish; `run` returns when they have."""
        if self._stopping:
            return
        self._stopping = True
        self._notifier.send("STOPPING=1")
        self._log(journal.INFO, "terminating: messages in flight are finished")
        # Nobody connects any more; a Unix socket's path goes with it.
        self._listener.close(unlink=True)
        self._empty.clear()
        self._kill_at = time.monotonic() + worker.GRACE_SECONDS + 5
        for child in self._children.values():
            os.kill(child.pid, signal.SIGTERM)

    # --- workers

    def _start_worker(self, index: int) -> None:
        self._empty.pop(index, None)
        try:
            ours, theirs = channel.pair()
        except OSError as error:
            self._put_off(index, f"socketpair(): {error.strerror}")
            return
        # Our handlers would swallow a SIGTERM that reaches the child before it has its own.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
        try:
            pid = os.fork()
        except OSError as error:
            ours.close()
            theirs.close()
            self._put_off(index, f"fork(): {error.strerror}")
            return
        else:
            if pid == 0:
                for number in (signal.SIGTERM, signal.SIGINT):
                    signal.signal(number, signal.SIG_DFL)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if pid == 0:
            self._become_worker(index, ours, theirs)
        theirs.close()
        child = self._children[pid] = _Child(pid, index, ours)
        self._selector.register(ours.sock, selectors.EVENT_READ, lambda mask: self._talk(child, mask))

    def _put_off(self, index: int, why: str) -> None:
        """No worker could be started for this slot: try again later."""
        self._log(journal.ERR, why)
        now = time.monotonic()
        self._empty[index] = now + self._limit.delay(now)

    def _become_worker(self, index: int, ours: channel.Channel, theirs: channel.Channel) -> None:
        """In the child: let go of what is the parent's, and serve; never returns."""
        try:
            signal.set_wakeup_fd(-1)
            self._on_fork()
            ours.close()
            for child in self._children.values():
                child.channel.close()
            for sock in (self._signals, self._wake):
                if sock is not None:
                    sock.close()
            if self._metrics_listener is not None:
                self._metrics_listener.sock.close()
            if self._endpoint is not None:
                self._endpoint.let_go()
            self._selector.close()
            self._log.close()
            background.keep_only(self._listener.sock.fileno(), theirs.sock.fileno())
            arguments: dict[str, Any] = {
                "shared": self._shared,
                "index": index,
                "listener": self._listener.sock,
                "bundle": self._loaded.bundle,
                "engine": self._loaded.engine,
                "log": self._log,
                "channel": theirs,
            }
            worker.serve(arguments)
        finally:
            os._exit(EX_SOFTWARE)

    def _talk(self, child: _Child, mask: int) -> None:
        if child.pid not in self._children:
            # Buried in this very round.
            return
        if mask & selectors.EVENT_WRITE:
            self._tell(child)
        if mask & selectors.EVENT_READ:
            self._hear(child)

    def _tell(self, child: _Child, octets: bytes = b"") -> None:
        """Send as much as the worker takes now: one that hangs holds up nobody but itself."""
        try:
            more = child.channel.post(octets)
        except OSError as error:
            self._kill(child, f"does not take new settings ({error})")
            return
        if child.channel.sock in self._selector.get_map():
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if more else 0)
            key = self._selector.get_key(child.channel.sock)
            self._selector.modify(key.fileobj, events, key.data)

    def _hear(self, child: _Child) -> None:
        try:
            messages = child.channel.receive()
        except EOFError:
            self._selector.unregister(child.channel.sock)
            return
        except channel.Garbled as error:
            self._selector.unregister(child.channel.sock)
            self._kill(child, str(error))
            return
        for kind, text in messages:
            if kind == "ready":
                child.ready = True
                if not self._is_ready and all(c.ready for c in self._children.values()) and not self._empty:
                    self._is_ready = True
                    self._notifier.send("READY=1", f"MAINPID={os.getpid()}")
                    self._on_ready()
            elif kind == "failed":
                self._log(journal.ERR, f"worker {child.pid} keeps the old settings: {text}")

    def _kill(self, child: _Child, why: str) -> None:
        if not child.killed:
            child.killed = True
            self._log(journal.ERR, f"worker {child.pid} {why}; killed")
            os.kill(child.pid, signal.SIGKILL)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            child = self._children.pop(pid, None)
            if child is not None:
                self._buried(child, status)

    def _buried(self, child: _Child, status: int) -> None:
        self._shared.slots[child.index].load = NOBODY
        if child.channel.sock in self._selector.get_map():
            self._selector.unregister(child.channel.sock)
        child.channel.close()
        if self._stopping:
            return
        how = (
            f"was killed by signal {os.WTERMSIG(status)}"
            if os.WIFSIGNALED(status)
            else f"exited with status {os.waitstatus_to_exitcode(status)}"
        )
        if not self._is_ready:
            # Not one message was served: there is nothing to hope for from another one.
            self._log(journal.CRIT, f"worker {child.pid} {how} before it was ready")
            self._status = EX_SOFTWARE
            self.stop()
            return
        now = time.monotonic()
        delay = self._limit.delay(now)
        self._restarts += 1
        self._empty[child.index] = now + delay
        soon = f"replaced in {delay:.0f} s" if delay else "replaced"
        self._log(journal.ERR, f"worker {child.pid} {how}; {soon}")

    # --- reload

    def _reload(self) -> None:
        self._notifier.reloading()
        try:
            invocation = self._loader.parse()
            loaded = self._loader.load(invocation)
        except DkconfError as error:
            self._reloads["bad"] += 1
            for line in str(error).splitlines():
                # What a start writes to standard error begins with the program's name, as each line of the log does.
                self._log(journal.ERR, f"reload: {line.removeprefix(f'{self._loader.prog}: ')}")
            self._log(journal.ERR, "reload: settings and keys stay as they were")
        else:
            self._reloads["good"] += 1
            self._take(loaded)
        self._notifier.send("READY=1")

    def _look_at_resolv_conf(self) -> None:
        """Ask other name servers as soon as the system does: at boot they may come after us, and change at any time."""
        bundle = self._loaded.bundle
        found = self._loader.other_nameservers(bundle)
        if found is None:
            return
        self._loaded.bundle = bundle = replace(bundle, nameservers=found)
        self._hand_out(bundle)
        self._log(journal.INFO, f"resolv.conf has changed: {', '.join(a for a, _ in found.addresses)} are asked now")

    def _hand_out(self, bundle: Bundle) -> None:
        """Let every worker use `bundle` from the next message on."""
        octets = channel.packed(("reload", bundle))
        for child in self._children.values():
            self._tell(child, octets)

    def _take(self, loaded: Loaded) -> None:
        fixed = unchangeable(self._first_settings, loaded.bundle.settings)
        self._loaded = loaded
        self._log.write_as(loaded.bundle.settings.log_format)
        for note in (*loaded.invocation.notes, *loaded.engine.notes):
            self._log(journal.WARNING, note)
        if fixed:
            self._log(journal.WARNING, f"reload: {', '.join(fixed)} changed; that needs a restart")
        self._hand_out(loaded.bundle)
        self._log(journal.INFO, f"reload: new messages use them: {summary(loaded.bundle.settings)}")
