"""The lab's handle, held by a test or the demo outside it."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from tests.lab import client, mailhost
from tests.lab.namespace import in_network_of
from tests.lab.sink import Received, SmtpSink, SyslogSink
from tests.patience import LAST_RESORT_SECONDS

CHECKOUT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
BIN = "/etc/lab/bin"
"""In the lab: this checkout's programs, as commands."""
PROGRAMS = {"dkconf": "dkconf.cli.main", "dkconf-filter": "dkconf.server.main"}
TOOLS = ("unshare", "nsenter", "mount", "ip", "m4", "makemap", "sendmail")
UNSHARE = ("unshare", "--uts", "--mount", "--net", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc")
SENDMAIL = ("/usr/sbin/sendmail", "-L", "sm-mta", "-bd", "-q1m")
PATH = f"{BIN}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class LabError(Exception):
    """The lab itself does not work; never a finding about dkconf."""


def missing_tools(*more: str) -> str:
    """Return why no lab can be had here, "" if one can; `more` are further programs that are needed."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "the lab needs Linux and root"
    absent = [tool for tool in (*TOOLS, *more) if shutil.which(tool, path=PATH) is None]
    if not Path(mailhost.STOCK_MC).is_file():
        absent.append(mailhost.STOCK_MC)
    return f"the lab needs {', '.join(absent)}" if absent else _no_namespaces()


@functools.cache
def _no_namespaces() -> str:
    """Return why no namespaces can be had, as in a container without privileges; "" if they can."""
    tried = subprocess.run(
        [*UNSHARE, "mount", "--make-rprivate", "/"], capture_output=True, text=True, check=False, env={"PATH": PATH}
    )
    return f"the lab needs namespaces and mounts: {tried.stderr.strip()}" if tried.returncode else ""


@dataclass(frozen=True)
class Ran:
    """A program that ran in the lab."""

    argv: tuple[str, ...]
    status: int
    """Exit status; 128 + N if signal N ended it, as a shell has it."""
    out: str
    err: str

    def __str__(self) -> str:
        return f"$ {' '.join(self.argv)}\n{self.out}{self.err}[status {self.status}]"


@dataclass
class Running:
    """A program that runs on in the lab."""

    process: subprocess.Popen[bytes]
    pid: int
    """Of the program itself, as seen from outside."""

    def stop(self, signum: int = signal.SIGTERM) -> int:
        """Send `signum`, wait (SIGKILL where it does not end); return the exit status."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signum)
        try:
            return self.process.wait(LAST_RESORT_SECONDS)
        except subprocess.TimeoutExpired:
            os.kill(self.pid, signal.SIGKILL)
            return self.process.wait(LAST_RESORT_SECONDS)


class Lab:
    """A private mail host named mx1.example.test; a context manager."""

    def __init__(self, directory: Path, extra_mc: str = "", greet_pause_milliseconds: int = 0) -> None:
        """Start in `directory` (new or empty); sendmail does not run yet.

        Args:
            extra_mc: Goes into sendmail.mc, before the mailers.
            greet_pause_milliseconds: How long a client on standard input, as a canary is, waits for the banner.
        """
        if why := missing_tools():
            raise LabError(why)
        self.dir = directory
        self.dir.mkdir(parents=True, exist_ok=True)
        self._running: list[Running] = []
        self.syslog = SyslogSink(str(self.dir / "syslog.sock"))
        # sendmail drops privileges before it logs some lines.
        (self.dir / "syslog.sock").chmod(0o666)
        self._init = self._unshare()
        try:
            self.sink = SmtpSink(self.listen(mailhost.SINK_PORT))
            self._make_programs()
            self._make_mail_settings(
                mailhost.settings(Path(mailhost.STOCK_MC).read_text(), extra_mc, greet_pause_milliseconds)
            )
        except BaseException:
            self.stop()
            raise

    # — the lab itself —

    def _unshare(self) -> subprocess.Popen[bytes]:
        keep = (CHECKOUT, Path(sys.prefix), Path(sys.base_prefix))
        log = self.dir / "inside.log"
        argv = [
            *UNSHARE,
            *(sys.executable, "-S", "-E", str(HERE / "inside.py"), str(self.dir), *map(str, keep)),
        ]
        with log.open("wb") as errors:
            process = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env={"PATH": PATH}
            )
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            process.kill()
            raise LabError(f"the lab did not start: {log.read_text()}")
        self.pid = only_child(process.pid)
        return process

    def _make_programs(self) -> None:
        self.path(BIN).mkdir(parents=True)
        for name, module in PROGRAMS.items():
            program = self.path(f"{BIN}/{name}")
            program.write_text(
                f"#!{sys.executable}\nimport sys\nsys.path[:0] = [{str(CHECKOUT)!r}]\n"
                f"from {module} import main\nsys.exit(main())\n"
            )
            program.chmod(0o755)

    def _make_mail_settings(self, texts: Mapping[str, str]) -> None:
        source = self.dir / "mail"
        source.mkdir()
        for name, text in texts.items():
            (source / name).write_text(text)
        ran = self.run("sh", "-c", mailhost.BUILD, "build", str(source))
        if ran.status:
            raise LabError(str(ran))

    def stop(self) -> None:
        """End everything in the lab; its files vanish, `dir` stays."""
        init = self._init
        if init.stdin and not init.stdin.closed:
            init.stdin.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        init.wait(LAST_RESORT_SECONDS)
        if init.stdout:
            init.stdout.close()
        for running in self._running:
            running.process.wait(LAST_RESORT_SECONDS)
        if hasattr(self, "sink"):
            self.sink.close()
        self.syslog.close()

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def path(self, path: str) -> Path:
        """Return a path outside that leads to `path` inside, while the lab runs."""
        return Path(f"/proc/{self.pid}/root{path}")

    # — programs —

    def _argv(self, argv: Sequence[str], directory: str) -> list[str]:
        enter = ["nsenter", "--target", str(self.pid), "--uts", "--mount", "--net", "--ipc", "--pid", "--"]
        return [*enter, "env", f"--chdir={directory}", *argv]

    def _environment(self, more: Mapping[str, str] | None) -> dict[str, str]:
        own = {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8", "PYTHONPATH": str(CHECKOUT), "NO_COLOR": "1"}
        return {**own, "PYTHONDONTWRITEBYTECODE": "1", **(more or {})}

    def run(
        self,
        *argv: str,
        env: Mapping[str, str] | None = None,
        stdin: str = "",
        timeout: float = 3 * LAST_RESORT_SECONDS,
        directory: str = "",
    ) -> Ran:
        """Run a program in the lab to its end; raises LabError if it takes longer than `timeout` seconds."""
        try:
            done = subprocess.run(
                self._argv(argv, directory or str(self.dir)),
                env=self._environment(env),
                input=stdin.encode(),
                capture_output=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            said = f"{error.output!r}\n{error.stderr!r}"
            raise LabError(f"{' '.join(argv)}: no end within {timeout:g} s\n{said}") from None
        status = done.returncode if done.returncode >= 0 else 128 - done.returncode
        out, err = (octets.decode("utf-8", "replace") for octets in (done.stdout, done.stderr))
        return Ran(tuple(argv), status, out, err)

    def spawn(self, *argv: str, env: Mapping[str, str] | None = None, log: str = "spawned.log") -> Running:
        """Start a program in the lab; its output goes to `log` in the lab's directory."""
        with (self.dir / log).open("ab") as output:
            process = subprocess.Popen(
                self._argv(argv, str(self.dir)),
                env=self._environment(env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        running = Running(process, only_child(process.pid))
        self._running.append(running)
        return running

    def dkconf(
        self,
        *args: str,
        env: Mapping[str, str] | None = None,
        timeout: float = 3 * LAST_RESORT_SECONDS,
        stdin: str = "",
    ) -> Ran:
        """Run `dkconf ARGS` in the lab's directory, where inventory.yaml is."""
        return self.run("dkconf", *args, env=env, timeout=timeout, stdin=stdin)

    # — network —

    def connect(self, port: int, source: str = "127.0.0.1") -> socket.socket:
        """Return a connection, made in the lab, to 127.0.0.1:`port`."""
        return in_network_of(
            self.pid,
            lambda: socket.create_connection(("127.0.0.1", port), LAST_RESORT_SECONDS, source_address=(source, 0)),
        )

    def listen(self, port: int) -> socket.socket:
        """Return a socket that listens in the lab on 127.0.0.1:`port`."""
        return in_network_of(self.pid, lambda: socket.create_server(("127.0.0.1", port)))

    def answers(self, port: int) -> bool:
        """Return whether somebody listens on `port`."""
        with contextlib.suppress(OSError), self.connect(port):
            return True
        return False

    def wait_for_port(self, port: int, timeout: float = LAST_RESORT_SECONDS) -> None:
        """Return once somebody listens on `port`."""
        if not eventually(lambda: self.answers(port), timeout):
            raise LabError(f"nobody listens on port {port} after {timeout:g} s: {self.maillog[-20:]}")

    def wait_for_port_closed(self, port: int, timeout: float = LAST_RESORT_SECONDS) -> None:
        """Return once nobody listens on `port`."""
        if not eventually(lambda: not self.answers(port), timeout):
            raise LabError(f"port {port} is still open after {timeout:g} s")

    # — mail —

    def start_sendmail(self) -> None:
        """Start sendmail's daemon as a service manager would, and wait for both ports."""
        ran = self.run(*SENDMAIL)
        if ran.status:
            raise LabError(str(ran))
        self.wait_for_port(25)
        self.wait_for_port(587)

    def restart_sendmail(self) -> None:
        """Stop the daemon, if it runs, and start it again, as a reboot would."""
        self.run("pkill", "-x", "sendmail-mta|sendmail")
        self.wait_for_port_closed(25)
        self.start_sendmail()

    def sendmail_pid(self) -> int:
        """Return the daemon's process ID, as seen in the lab."""
        return int(self.path("/run/sendmail/mta/sendmail.pid").read_text().split()[0])

    def send(
        self, message: bytes | None = None, port: int = 25, source: str = "127.0.0.1", **how: object
    ) -> client.Outcome:
        """Send one message over SMTP; `how` goes to `client.send`."""
        octets = client.build_message() if message is None else message
        return client.send(lambda: self.connect(port, source), octets, **how)  # type: ignore[arg-type]

    def deliver(
        self, subject: str, message: bytes | None = None, timeout: float = LAST_RESORT_SECONDS, **how: object
    ) -> Received:
        """Send a message that must be accepted, and return it as it left."""
        octets = client.build_message(subject) if message is None else message
        outcome = self.send(octets, **how)  # type: ignore[arg-type]
        if not outcome.accepted:
            raise LabError(f"not accepted: {outcome.final}\n" + "\n".join(self.maillog[-20:]))
        received = self.sink.received.wait(lambda item: item.subject == subject, timeout)
        if received is None:
            raise LabError(f"{subject!r} did not leave within {timeout:g} s\n" + "\n".join(self.maillog[-20:]))
        return received

    @property
    def maillog(self) -> list[str]:
        """Syslog lines so far, without priority and time."""
        return self.syslog.lines.items

    def wait_for_log(self, text: str, timeout: float = LAST_RESORT_SECONDS) -> str:
        """Return the first log line that holds `text`; raises LabError."""
        line = self.syslog.lines.wait(lambda item: text in item, timeout)
        if line is None:
            raise LabError(f"no log line with {text!r} within {timeout:g} s\n" + "\n".join(self.maillog[-20:]))
        return line


def eventually(holds: Callable[[], bool], timeout: float, every: float = 0.05) -> bool:
    """Ask until `holds()` or `timeout` seconds are over; return the last answer."""
    deadline = time.monotonic() + timeout
    while not holds():
        if time.monotonic() >= deadline:
            return False
        time.sleep(every)
    return True


def only_child(parent: int) -> int:
    """Return the process that `parent` has started, waiting for it a little."""
    found: list[int] = []

    def look() -> bool:
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                # "pid (name) state ppid ...": the name may hold blanks and parentheses.
                if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                    found.append(int(stat.parent.name))
        return bool(found)

    if not eventually(look, LAST_RESORT_SECONDS, every=0.005):
        raise LabError(f"process {parent} has no child")
    return found[0]
