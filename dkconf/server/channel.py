"""Messages between the parent and a worker: length and pickle, over a socket pair.

Pickle is safe here: both ends are the same program, forked, and nobody else holds the sockets.
"""

from __future__ import annotations

import pickle
import socket
from typing import Any, Final

_HEAD_OCTETS: Final = 8
_READ_OCTETS: Final = 65536


class Channel:
    """One end. Reading does not block; writing does, until the other end has read."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._pending = bytearray()

    def send(self, message: object) -> None:
        """Send one message. Raises OSError if the other end is gone."""
        octets = pickle.dumps(message)
        self.sock.setblocking(True)
        self.sock.settimeout(30)
        try:
            self.sock.sendall(len(octets).to_bytes(_HEAD_OCTETS, "big") + octets)
        finally:
            self.sock.setblocking(False)

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
