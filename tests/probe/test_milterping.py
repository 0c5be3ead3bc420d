"""A filter answers when it negotiates; an accepted connection alone proves nothing."""

from __future__ import annotations

import socket
import struct
import threading
from pathlib import Path

import pytest

from dkconf.probe.milterping import answers
from dkconf.sendmail.endpoint import EndpointError
from tests.patience import LAST_RESORT_SECONDS

GOOD = struct.pack("!IcIII", 13, b"O", 6, 0x11, 0x10)


def serve(listener: socket.socket, answer: bytes) -> threading.Thread:
    def run() -> None:
        link, _ = listener.accept()
        with link:
            link.recv(17)
            link.sendall(answer)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.mark.parametrize(
    "answer,why",
    [
        (GOOD, ""),
        (GOOD[:3] + b"\x11" + GOOD[4:] + b"\0\0\0\x05", ""),
        (b"", "closed the connection without an answer"),
        (GOOD[:9], "closed the connection without an answer"),
        (b"\0\0\0\x01c", "answered b'c'"),
        (b"HTTP/1.1 400", "answered"),
    ],
)
def test_answers(tmp_path: Path, answer: bytes, why: str) -> None:
    """A whole option negotiation, and what is none."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        thread = serve(listener, answer)
        said = answers(f"local:{tmp_path}/s", LAST_RESORT_SECONDS)
        thread.join(LAST_RESORT_SECONDS)

    assert why in said if why else said == ""


def test_silence(tmp_path: Path) -> None:
    """A process that hangs accepts connections, through the kernel, and does not answer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        said = answers(f"inet:{listener.getsockname()[1]}@127.0.0.1", 0.2)

    assert "no answer within 0.2 s" in said


def test_nobody(tmp_path: Path) -> None:
    """No socket, or nobody behind it."""
    assert "No such file" in answers(f"local:{tmp_path}/none")
    with pytest.raises(EndpointError):
        answers("nonsense")
