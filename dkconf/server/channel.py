"""Messages between the parent and a worker: length and pickle, over a socket pair.

Pickle is safe here: both ends are the same program, forked, and nobody else holds the sockets.
"""

from __future__ import annotations

import pickle
import socket
from typing import Any, Final

_HEAD_OCTETS: Final = 8
_READ_OCTETS: Final = 65536


def packed(message: object) -> bytes:
    """Return the octets of one message."""
    octets = pickle.dumps(message)
    return len(octets).to_bytes(_HEAD_OCTETS, "big") + octets


class Channel:
    """One end. Neither reading nor writing blocks."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._pending = bytearray()
        self._unsent: list[memoryview] = []
        self._begun = False
        """Whether a part of the first unsent message is sent."""

    def post(self, octets: bytes = b"") -> bool:
        """Send a message (as from `packed`) and what is left of earlier ones, as far as the other end takes it.

        A message that waits and has not begun is replaced: of several settings only the last ones count.

        Returns:
            Whether anything is left: then call it again, without a message, when the socket can be written.

        Raises:
            OSError: The other end is gone.
        """
        if octets:
            self._unsent[1 if self._begun else 0 :] = [memoryview(octets)]
        while self._unsent:
            try:
                count = self.sock.send(self._unsent[0])
            except (BlockingIOError, InterruptedError):
                return True
            self._begun = count < len(self._unsent[0])
            self._unsent[:1] = [self._unsent[0][count:]] if self._begun else []
        return False

    def receive(self) -> list[Any]:
        """Return the messages that have arrived whole.

        Raises:
            EOFError: The other end is gone.
        """
        try:
            octets = self.sock.recv(_READ_OCTETS)
        except (BlockingIOError, InterruptedError):
            return []
        except OSError:
            octets = b""
        if not octets:
            raise EOFError
        self._pending += octets
        messages = []
        while len(self._pending) >= _HEAD_OCTETS:
            end = _HEAD_OCTETS + int.from_bytes(self._pending[:_HEAD_OCTETS], "big")
            if len(self._pending) < end:
                break
            messages.append(pickle.loads(bytes(self._pending[_HEAD_OCTETS:end])))
            del self._pending[:end]
        return messages

    def close(self) -> None:
        """Close this end."""
        self.sock.close()


def pair() -> tuple[Channel, Channel]:
    """Return the two ends of a new channel."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    return Channel(ours), Channel(theirs)
