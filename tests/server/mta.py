"""An MTA's side of a milter connection, and a dkconf-filter to talk to."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from dkconf.milter import codec
from tests.patience import LAST_RESORT_SECONDS, cpu_seconds

OFFER = (6, 0x1FF, 0x1FFFFF)
ROOT = Path(__file__).parent.parent.parent


def pack(letter: bytes, *strings: bytes) -> bytes:
    """One command whose data are NUL-terminated strings."""
    return codec.packet(letter, b"".join(s + b"\0" for s in strings))


def connect_command(address: bytes = b"127.0.0.1") -> bytes:
    """CONNECT of an IPv4 client."""
    return codec.packet(b"C", b"client.example.net\0" + b"4\x12\x34" + address + b"\0")


def message(
    fields=((b"From", b" a@example.org"),),
    body=b"hello\r\n",
    queue_id=b"q1",
    chunk=65535,
) -> bytes:
    """All commands of one message, from its macros to end of message."""
    out = [
        codec.packet(b"D", b"Mi\0" + queue_id + b"\0"),
        pack(b"M", b"<a@example.org>"),
        pack(b"R", b"<b@example.net>"),
        *(pack(b"L", name, value) for name, value in fields),
        codec.packet(b"N"),
        *(codec.packet(b"B", body[i : i + chunk]) for i in range(0, len(body), chunk)),
        codec.packet(b"E"),
    ]
    return b"".join(out)


class Mta:
    """A connection to a filter."""

    def __init__(self, path: Path | str | tuple[str, int] | socket.socket) -> None:
        self._pending = b""
        if isinstance(path, socket.socket):
            self.sock = path
            return
        inet = isinstance(path, tuple)
        self.sock = socket.socket(socket.AF_INET if inet else socket.AF_UNIX)
        self.sock.settimeout(LAST_RESORT_SECONDS)
        self.sock.connect(path if inet else str(path))

    def __enter__(self) -> Mta:
        return self

    def __exit__(self, *exc: object) -> None:
        self.sock.close()

    def send(self, octets: bytes) -> None:
        self.sock.sendall(octets)

    def reply(self) -> tuple[bytes, bytes]:
        """The next packet: letter and data; (b"", b"") if the filter has closed."""
        while len(self._pending) < 4 or len(self._pending) < 4 + int.from_bytes(self._pending[:4], "big"):
            try:
                octets = self.sock.recv(65536)
            except ConnectionResetError:
                octets = b""
            if not octets:
                return b"", b""
            self._pending += octets
        end = 4 + int.from_bytes(self._pending[:4], "big")
        packet, self._pending = self._pending[:end], self._pending[end:]
        return packet[4:5], packet[5:]

    def negotiate(self, offer: tuple[int, int, int] = OFFER) -> tuple[int, ...]:
        """Send the offer, return what was agreed on."""
        self.send(codec.packet(b"O", b"".join(n.to_bytes(4, "big") for n in offer)))
        letter, data = self.reply()
        assert letter == b"O", (letter, data)
        return tuple(int.from_bytes(data[i : i + 4], "big") for i in (0, 4, 8))

    def begin(self, address: bytes = b"127.0.0.1") -> None:
        """Negotiate and connect; no reply is due."""
        protocol = self.negotiate()[2]
        self.send(codec.packet(b"D", b"Cj\0mx.example.net\0") + connect_command(address))
        if not protocol & 0x1000:
            assert self.reply()[0] in b"ca"

    def end_of_message(self) -> list[tuple[bytes, bytes]]:
        """All packets up to the final one."""
        replies = [self.reply()]
        while replies[-1][0] not in b"acrtdy" or not replies[-1][0]:
            if not replies[-1][0]:
                break
            replies.append(self.reply())
        return replies

    def quiet(self, seconds: float = 0.2) -> bool:
        """Whether nothing comes for so long."""
        return not self._pending and not select.select([self.sock], [], [], seconds)[0]


def header_of(replies: list[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    """The values of the fields of that name that were inserted."""
    found = []
    for letter, data in replies:
        if letter == b"i":
            field, value, _ = data[4:].split(b"\0")
            if field == name:
                found.append(value)
    return found


def selectors(replies) -> list[bytes]:
    """The selectors of the DKIM signatures that were added."""
    return [v.split(b"s=")[1].split(b";")[0] for v in header_of(replies, b"DKIM-Signature")]


def alive(pid: int) -> bool:
    """Whether a process runs and is no zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Daemon:
    """A dkconf-filter in the foreground, with a socket and settings in `path`."""

    def __init__(self, path: Path, key: Path | None, extra: str = "", workers: int = 2, **env: str) -> None:
        self.path, self.socket = path, path / "milter.sock"
        self.config, self.metrics_path, self.log_path = path / "f.toml", path / "m.sock", path / "log"
        self.extra, self.workers, self.env = extra, workers, env
        self.key = key
        self.write_config()
        self.process: subprocess.Popen[bytes] | None = None

    def write_config(self, selector: str = "s", key: Path | None = None) -> None:
        key = key or self.key
        keys = f'[[keys]]\ndomain = "example.org"\nselector = "{selector}"\npath = "{key}"\n' if key else ""
        self.config.write_text(
            f'socket = "local:{self.socket}"\nlog = "stderr"\nworkers = {self.workers}\n'
            f'metrics = "local:{self.metrics_path}"\n{self.extra}\n{keys}'
        )

    def start(self, *arguments: str) -> Daemon:
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dkconf.server.main", "--config", str(self.config), "-f", *arguments],
                stderr=log,
                cwd=ROOT,
                env={**os.environ, **self.env},
            )
        self.wait_for("ready on")
        return self

    def check(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """What `-n` says to the same settings."""
        argv = [sys.executable, "-m", "dkconf.server.main", "--config", str(self.config), "-n", *arguments]
        return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)

    def start_patched(self, patch: str, nap_seconds: float = 0.0) -> Daemon:
        """Start with some of its times changed; `_nap` takes so long, but not before it serves."""
        code = f"import dkconf.server.{patch}; from dkconf.server.main import main; raise SystemExit(main())"
        if nap_seconds:
            code = f"import time; f = []; _nap = lambda: f and time.sleep({nap_seconds}) or f.append(1)\n{code}"
        with self.log_path.open("ab") as log:
            argv = [sys.executable, "-c", code, "--config", str(self.config), "-f"]
            self.process = subprocess.Popen(argv, stderr=log, cwd=ROOT)
        self.wait_for("ready on")
        return self

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def wait_for(self, text: str, count: int = 1) -> None:
        """Wait until the log holds `text`."""
        deadline = time.monotonic() + LAST_RESORT_SECONDS
        while self.log.count(text) < count:
            assert time.monotonic() < deadline, f"no {text!r} in the log:\n{self.log}"
            assert self.process is None or self.process.poll() is None, self.log
            time.sleep(0.02)

    def children(self) -> list[int]:
        assert self.process is not None
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return sorted(map(int, path.read_text().split()))

    def cpu_seconds(self) -> float:
        """The processor time that parent and workers have used."""
        assert self.process is not None
        return sum(map(cpu_seconds, [self.process.pid, *self.children()]))

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(LAST_RESORT_SECONDS)

    def metrics_text(self) -> str:
        """What the metrics' socket says."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(LAST_RESORT_SECONDS)
            sock.connect(str(self.metrics_path))
            sock.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            octets = b""
            while piece := sock.recv(65536):
                octets += piece
        return octets.partition(b"\r\n\r\n")[2].decode()

    def metrics(self) -> dict[str, float]:
        """Values by sample, named as they are written."""
        return {
            line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
            for line in self.metrics_text().splitlines()
            if not line.startswith("#")
        }

    def __enter__(self) -> Daemon:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.stop()


def sign_one(daemon: Daemon) -> None:
    """A message comes back signed."""
    with Mta(daemon.socket) as mta:
        mta.begin()
        mta.send(message())
        assert [b"s"] == selectors(mta.end_of_message())
