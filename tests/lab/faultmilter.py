"""A small milter that does what it is told, faults included; shares no code with dkconf.

    python faultmilter.py --port 8891 --control FILE [--log FILE] [--name NAME]

The control file holds one line, read anew before every reply:

    ok                     add "X-Fault-Filter: NAME" at end of message (what a healthy signer looks like)
    pass                   accept, add nothing
    tempfail STAGE         answer tempfail at STAGE; likewise reject and discard
    reply STAGE TEXT       answer with an SMTP reply of its own, e.g. reply eom 451 4.7.1 key not found
    hang STAGE             never answer
    close STAGE            close the connection instead of an answer
    garbage STAGE          answer with octets that are no milter reply
    slow STAGE SECONDS     answer late
    down                   listen no more; connections that are open are closed

STAGE is negotiate, connect, helo, envfrom, envrcpt, data, header, eoh, body or eom. With --log, each command that
arrives is written as one line, "STAGE DATA", control characters escaped: an observer can wait for it.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import struct
import threading
import time
from pathlib import Path

# Command letters of the milter protocol (SMFIC_*) that are answered; D, A, Q and K never are.
STAGES = {
    b"O": "negotiate",
    b"C": "connect",
    b"H": "helo",
    b"M": "envfrom",
    b"R": "envrcpt",
    b"T": "data",
    b"L": "header",
    b"N": "eoh",
    b"B": "body",
    b"E": "eom",
}
VERDICTS = {"tempfail": b"t", "reject": b"r", "discard": b"d"}  # SMFIR_*
ADD_HEADERS = 0x01  # SMFIF_ADDHDRS
POLL_SECONDS = 0.02


class FaultFilter:
    """One listening filter; `serve` returns never."""

    def __init__(self, port: int, control: Path, log: Path | None, name: str) -> None:
        self.port, self.control, self.name = port, control, name
        self._log = log.open("a", buffering=1) if log else None
        self._listener: socket.socket | None = None
        self._open: set[socket.socket] = set()

    def order(self) -> list[str]:
        """Return the words of the control file; ["ok"] while there is none."""
        with contextlib.suppress(FileNotFoundError):
            return self.control.read_text().split(maxsplit=2) or ["ok"]
        return ["ok"]

    def serve(self) -> None:
        while True:
            down = self.order()[0] == "down"
            if down and self._listener:
                _shut(self._listener)
                self._listener = None
                for connection in tuple(self._open):
                    _shut(connection)
            elif not down and not self._listener:
                self._listener = socket.create_server(("127.0.0.1", self.port), reuse_port=False)
                threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()
            time.sleep(POLL_SECONDS)

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def _converse(self, connection: socket.socket) -> None:
        self._open.add(connection)
        with contextlib.suppress(OSError, EOFError), connection, connection.makefile("rb") as stream:
            while True:
                (length,) = struct.unpack("!I", _exactly(stream, 4))
                packet = _exactly(stream, length)
                letter, data = packet[:1], packet[1:]
                if self._log:
                    shown = data.decode("latin-1").encode("unicode_escape").decode("ascii")
                    self._log.write(f"{STAGES.get(letter, letter.decode('latin-1'))} {shown}\n")
                if letter in b"QK":
                    return
                if letter in STAGES and not self._answer(connection, STAGES[letter], data):
                    return
        self._open.discard(connection)

    def _answer(self, connection: socket.socket, stage: str, data: bytes) -> bool:
        """Answer one command; False ends the connection."""
        verb, *rest = self.order()
        due = bool(rest) and rest[0] == stage
        if due and verb == "hang":
            while self.order()[0] == "hang":
                time.sleep(POLL_SECONDS)
            return False
        if due and verb == "close":
            return False
        if due and verb == "garbage":
            connection.sendall(_packet(b"Z", b"\xff\x00 this is no reply"))
            return True
        if due and verb == "slow":
            time.sleep(float(rest[1]))
        if stage == "negotiate":
            version = min(6, struct.unpack("!I", data[:4])[0])
            connection.sendall(_packet(b"O", struct.pack("!III", version, ADD_HEADERS, 0)))
        elif due and verb == "reply":
            connection.sendall(_packet(b"y", rest[1].strip().encode() + b"\0"))
        elif due and verb in VERDICTS:
            connection.sendall(_packet(VERDICTS[verb]))
        else:
            signs = stage == "eom" and verb == "ok"
            signature = _packet(b"h", b"X-Fault-Filter\0" + self.name.encode() + b"\0") if signs else b""
            connection.sendall(signature + _packet(b"c"))
        return True


def _packet(letter: bytes, data: bytes = b"") -> bytes:
    return struct.pack("!I", 1 + len(data)) + letter + data


def _exactly(stream: object, length: int) -> bytes:
    octets: bytes = stream.read(length)  # type: ignore[attr-defined]
    if len(octets) < length:
        raise EOFError
    return octets


def _shut(opened: socket.socket) -> None:
    with contextlib.suppress(OSError):
        opened.shutdown(socket.SHUT_RDWR)
    opened.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--control", type=Path, required=True)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--name", default="fault")
    options = parser.parse_args()
    FaultFilter(options.port, options.control, options.log, options.name).serve()


if __name__ == "__main__":
    main()
