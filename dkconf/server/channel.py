"""Messages between the parent and a worker: a length and octets, over a socket pair.

Down, settings and keys are pickled: a worker may believe its parent. Up there are a few words as JSON, of bounded
length: a worker talks to the network, and whoever took it over must not run code in the parent.
"""

from __future__ import annotations

import json
import pickle
import socket
from typing import Any, Final

_HEAD_OCTETS: Final = 8
_READ_OCTETS: Final = 65536
LONGEST_WORDS_OCTETS: Final = 16384
_LONGEST_TEXT: Final = 1000


class Garbled(Exception):
    """The other end says what nobody would."""


def packed(message: object) -> bytes:
    """Return the octets of one message of the parent's."""
    return _framed(pickle.dumps(message))


def words(kind: str, text: str) -> bytes:
    """Return the octets of one message of a worker's; a long text is cut."""
    return _framed(json.dumps([kind, text[:_LONGEST_TEXT]]).encode("ascii"))


def _framed(octets: bytes) -> bytes:
    return len(octets).to_bytes(_HEAD_OCTETS, "big") + octets


def _words_in(octets: bytes) -> tuple[str, str]:
    try:
        kind, text = json.loads(octets)
    except (ValueError, TypeError, RecursionError):
        kind = text = None
    if not isinstance(kind, str) or not isinstance(text, str):
        raise Garbled("sent what is no message")
    return kind, text


class Channel:
    """One end. Neither reading nor writing blocks."""

    def __init__(self, sock: socket.socket, *, hears_words: bool) -> None:
        """`hears_words`: the end of the parent, who hears `words` and nothing else."""
        self.sock = sock
        self._hears_words = hears_words
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
            Garbled: A worker sent what is no message of a worker's.
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
            if self._hears_words and end > LONGEST_WORDS_OCTETS:
                raise Garbled(f"sent a message of {end - _HEAD_OCTETS:,} octets; {LONGEST_WORDS_OCTETS:,} are the most")
            if len(self._pending) < end:
                break
            message = bytes(self._pending[_HEAD_OCTETS:end])
            messages.append(_words_in(message) if self._hears_words else pickle.loads(message))
            del self._pending[:end]
        return messages

    def close(self) -> None:
        """Close this end."""
        self.sock.close()


def pair() -> tuple[Channel, Channel]:
    """Return the two ends of a new channel: the parent's, the worker's."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    return Channel(ours, hears_words=True), Channel(theirs, hears_words=False)
