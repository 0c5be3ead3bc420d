"""The SMTP client waits for whole replies, and says at which step none came."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from dkconf.probe import smtp
from tests.patience import LAST_RESORT_SECONDS


@contextmanager
def server(script: Callable[[socket.socket], None]) -> Iterator[int]:
    """Serve one connection by `script`; yield the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            link, _ = listener.accept()
            with link:
                script(link)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(LAST_RESORT_SECONDS)


def replies(link: socket.socket, *answers: bytes) -> None:
    """Send the first answer at once, and one more per line that arrives."""
    link.sendall(answers[0])
    reader = link.makefile("rb")
    for answer in answers[1:]:
        reader.readline()
        link.sendall(answer)
    reader.close()


def test_reply_over_several_lines_in_pieces() -> None:
    """A reply ends at the line whose fourth character is not `-`, however the octets arrive."""

    def script(link: socket.socket) -> None:
        for octet in b"220-one\r\n220 two\r\n":
            link.sendall(bytes([octet]))

    with server(script) as port, smtp.connect("127.0.0.1", port, LAST_RESORT_SECONDS) as client:
        reply = client.banner()

    assert (220, "220-one\n220 two", "220 two", 2) == (reply.code, reply.text, reply.last_line, reply.rank)


def test_ehlo_keywords_are_kept() -> None:
    """Keywords in upper case, with what follows them."""
    ehlo = b"250-mx1\r\n250-size 100\r\n250-STARTTLS\r\n250 AUTH PLAIN LOGIN\r\n"
    with (
        server(lambda link: replies(link, b"220 x\r\n", ehlo)) as port,
        smtp.connect("127.0.0.1", port, LAST_RESORT_SECONDS) as client,
    ):
        client.banner()
        client.command("EHLO", "EHLO me")

    assert {"SIZE": "100", "STARTTLS": "", "AUTH": "PLAIN LOGIN"} == client.extensions


def test_dots_are_doubled() -> None:
    """RFC 5321 section 4.5.2: a line that begins with a dot gets one more."""
    seen: list[bytes] = []

    def script(link: socket.socket) -> None:
        link.sendall(b"220 x\r\n")
        with link.makefile("rb") as reader:
            while (line := reader.readline()) != b".\r\n":
                seen.append(line)
        link.sendall(b"250 ok\r\n")

    with server(script) as port, smtp.connect("127.0.0.1", port, LAST_RESORT_SECONDS) as client:
        client.banner()
        client.message(b".a\r\n.\r\nb")

    assert [b"..a\r\n", b"..\r\n", b"b\r\n"] == seen


def test_warnings_before_the_banner_are_no_banner() -> None:
    """`sendmail -bs` prints warnings first."""
    script = lambda link: replies(link, b"Warning: x\r\n220 mx\r\n")  # noqa: E731
    with server(script) as port, smtp.connect("127.0.0.1", port, LAST_RESORT_SECONDS) as client:
        assert 220 == client.banner().code
    assert ["Warning: x"] == client.chatter


@pytest.mark.parametrize(
    "answer,words",
    [(b"", "banner: connection closed"), (b"220-half\r\n", "banner: connection closed"), (b"2" * 70000, "more than")],
)
def test_broken_servers(answer: bytes, words: str) -> None:
    """What ends early, or never ends a line, is said with its step."""
    with (
        server(lambda link: link.sendall(answer)) as port,
        smtp.connect("127.0.0.1", port, LAST_RESORT_SECONDS) as client,
        pytest.raises(smtp.SmtpFailed, match=words),
    ):
        client.banner()


def test_silence_ends_at_the_deadline() -> None:
    """One deadline for the whole dialogue."""
    done = threading.Event()

    def silent(link: socket.socket) -> None:
        done.wait(LAST_RESORT_SECONDS)

    with server(silent) as port:
        with smtp.connect("127.0.0.1", port, 0.2) as client, pytest.raises(smtp.SmtpFailed, match="no reply in time"):
            client.banner()
        done.set()


def test_nobody_listens() -> None:
    """A closed port is a sentence, not a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(smtp.SmtpFailed, match=f"127.0.0.1:{port}: Connection refused"):
        smtp.connect("127.0.0.1", port, 1)


def test_dialogue_with_a_program() -> None:
    """As with `sendmail -bs`: standard input and output, and the program's end is waited for."""
    program = "print('220 x', flush=True); input(); print('250 y', flush=True)"
    with smtp.spawn([sys.executable, "-c", program], 10) as client:
        assert 220 == client.banner().code
        assert 250 == client.command("EHLO", "EHLO me").code


def test_a_program_has_a_client_of_this_machine() -> None:
    """The program's input and output are a connection from 127.0.0.1: sendmail gives filters that address."""
    program = "import socket; link = socket.socket(fileno=0); print('220', *link.getpeername(), flush=True)"
    with smtp.spawn([sys.executable, "-c", program], 10) as client:
        assert client.banner().text.startswith("220 127.0.0.1 ")


def test_program_that_is_missing() -> None:
    """A program that cannot be started is named."""
    with pytest.raises(smtp.SmtpFailed, match="/nonexistent/sendmail"):
        smtp.spawn(["/nonexistent/sendmail"], 1)
