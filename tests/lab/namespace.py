"""Sockets that live in another network namespace, made from this process.

A socket belongs for ever to the namespace of the thread that made it; so a short-lived thread enters the namespace,
makes the socket and ends, and the rest of the process stays where it is.
"""

from __future__ import annotations

import ctypes
import os
import socket
import threading
from collections.abc import Callable

CLONE_NEWNET = 0x40000000


def in_network_of(pid: int, make: Callable[[], socket.socket]) -> socket.socket:
    """Return `make()`, called in the network namespace of process `pid`; its exception is raised here."""
    result: list[socket.socket] = []
    failure: list[BaseException] = []

    def enter_and_make() -> None:
        try:
            descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
            try:
                libc = ctypes.CDLL(None, use_errno=True)
                if libc.setns(descriptor, CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            finally:
                os.close(descriptor)
            result.append(make())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=enter_and_make)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return result[0]
