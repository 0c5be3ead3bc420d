"""Does a filter answer? One option negotiation over its socket, as sendmail itself begins, then quit.

A connection alone proves little: the kernel accepts it for a process that hangs.
"""

from __future__ import annotations

import contextlib
import socket
import struct

from dkconf.sendmail import endpoint

# SMFIC_OPTNEG with version 6, all actions and all protocol bits, as sendmail 8.17 offers; SMFIC_QUIT.
_OPTNEG = struct.pack("!IcIII", 13, b"O", 6, 0x1FF, 0x1FFFFF)
_QUIT = struct.pack("!Ic", 1, b"Q")
MAX_REPLY_OCTETS = 64 * 1024


def answers(value: str, timeout_seconds: float = 5.0) -> str:
    """Return "" when the filter behind an S= negotiates, else why it does not.

    Raises:
        EndpointError: `value` is not an S=.
    """
    place = endpoint.parse(value)
    try:
        with connect(place, timeout_seconds) as link:
            link.sendall(_OPTNEG)
            head = _exactly(link, 5)
            length, letter = struct.unpack("!Ic", head)
            if letter != b"O" or not 13 <= length <= MAX_REPLY_OCTETS:
                return f"{value}: answered {letter!r} of {length} octets to an option negotiation"
            _exactly(link, length - 1)
            with contextlib.suppress(OSError):
                link.sendall(_QUIT)  # it has answered; that it hangs up first is no fault
    except TimeoutError:
        return f"{value}: no answer within {timeout_seconds:g} s"
    except EOFError:
        return f"{value}: closed the connection without an answer"
    except OSError as error:
        return f"{value}: {error.strerror or error}"
    return ""


def connect(place: endpoint.Endpoint, timeout_seconds: float) -> socket.socket:
    """Return a connected socket with a timeout; raises OSError."""
    if place.family == "unix":
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            link.settimeout(timeout_seconds)
            link.connect(place.path)
        except OSError:
            link.close()
            raise
        return link
    port = int(place.port) if place.port.isdigit() else socket.getservbyname(place.port, "tcp")
    return socket.create_connection((place.host, port), timeout=timeout_seconds)


def _exactly(link: socket.socket, octets: int) -> bytes:
    held = b""
    while len(held) < octets:
        chunk = link.recv(octets - len(held))
        if not chunk:
            raise EOFError
        held += chunk
    return held
