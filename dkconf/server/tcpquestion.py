"""One DNS question over TCP, with a socket on the event loop and no stream in between. RFC 7766.

The other end decides in which pieces its answer comes. After each piece that does not complete it the socket is left
alone, longer each time: an answer in two pieces comes some ms later, one that trickles octet by octet costs a few
calls and not thousands.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from typing import Final

from dkconf.server.dnswire import MAX_ANSWER_OCTETS

Done = Callable[[bytes, str], None]
"""Called once with the answer and "", or with octets of no meaning and why there is no answer."""

_FIRST_REST_SECONDS: Final = 0.005
_LONGEST_REST_SECONDS: Final = 0.64
"""Each rest is twice as long as the one before: eleven pieces in the five seconds of a lookup."""
_LENGTH_OCTETS: Final = 2
_PIECE_OCTETS: Final = 4096


class TcpQuestion:
    """See the module. `close` may be called at any time, and `done` is not called after it."""

    __slots__ = ("_buffer", "_done", "_loop", "_question", "_rest", "_sock", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, question: bytes, done: Done) -> None:
        self._loop, self._done = loop, done
        self._question = len(question).to_bytes(_LENGTH_OCTETS, "big") + question
        self._sock: socket.socket | None = None
        self._buffer = bytearray()
        self._timer: asyncio.TimerHandle | None = None
        self._rest = _FIRST_REST_SECONDS

    def ask(self, address: tuple[str, int] | tuple[str, int, int, int]) -> None:
        """Connect and ask.

        Raises:
            OSError: The server cannot even be tried.
        """
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._sock = sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        number = sock.connect_ex(address)
        if number not in (0, errno.EINPROGRESS, errno.EINTR):
            self.close()
            raise OSError(number, os.strerror(number))
        self._loop.add_writer(sock, self._connected)

    def close(self) -> None:
        """Give up; harmless when it is over already."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._sock is not None:
            self._loop.remove_writer(self._sock)
            self._loop.remove_reader(self._sock)
            self._sock.close()
            self._sock = None

    def _connected(self) -> None:
        sock = self._sock
        assert sock is not None, "closed questions are not called"
        number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            self._end(os.strerror(number))
            return
        self._loop.remove_writer(sock)
        try:
            # A question has 300 octets at most: an empty send buffer has room for it.
            whole = sock.send(self._question) == len(self._question)
        except OSError as error:
            self._end(error.strerror or str(error))
            return
        if not whole:
            self._end("the question cannot be sent")
            return
        self._loop.add_reader(sock, self._readable)

    def _readable(self) -> None:
        sock, buffer = self._sock, self._buffer
        assert sock is not None, "closed questions are not called"
        try:
            piece = sock.recv(_PIECE_OCTETS)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(error.strerror or str(error))
            return
        if not piece:
            self._end("closed before the end of the answer")
            return
        buffer += piece
        if len(buffer) >= _LENGTH_OCTETS:
            length = min(int.from_bytes(buffer[:_LENGTH_OCTETS], "big"), MAX_ANSWER_OCTETS + 1)
            # Of a longer answer one octet too many is read: enough to know whose question it answers, and its fault.
            if len(buffer) >= _LENGTH_OCTETS + length:
                self._end("", bytes(buffer[_LENGTH_OCTETS : _LENGTH_OCTETS + length]))
                return
        if len(piece) < _PIECE_OCTETS:
            self._loop.remove_reader(sock)
            self._timer = self._loop.call_later(self._rest, self._again)
            self._rest = min(2 * self._rest, _LONGEST_REST_SECONDS)

    def _again(self) -> None:
        assert self._sock is not None, "closed questions are not called"
        self._timer = None
        self._loop.add_reader(self._sock, self._readable)

    def _end(self, reason: str, octets: bytes = b"") -> None:
        self.close()
        self._done(octets, reason)
