"""Measure lookups: the filter's own sockets against dnspython's resolver, each name asked for once.

    python bench/resolver.py [LOOKUPS]     CPU time per lookup of each, in turn, medians of five rounds

A name server in another process answers with a key record of 2048 bits; 32 lookups are under way at once.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

SIDE_BY_SIDE = 32
RECORD = b"v=DKIM1; k=rsa; p=" + b"A" * 392


def serve(sock: socket.socket) -> None:
    """Answer every question with the record."""
    parts = [RECORD[:255], RECORD[255:]]
    data = b"".join(bytes([len(part)]) + part for part in parts)
    answer = b"\xc0\x0c\0\x10\0\1\0\0\x0e\x10" + len(data).to_bytes(2, "big") + data
    while True:
        question, address = sock.recvfrom(2048)
        end = question.index(b"\0", 12) + 5
        head = question[:2] + b"\x81\x80\0\1\0\1\0\0\0\0"
        sock.sendto(head + question[12:end] + answer, address)


async def by_us(address: tuple[str, int], names: list[str]) -> None:
    """The filter's resolver."""
    from dkconf.server.nameservers import Nameservers
    from dkconf.server.resolver import Resolver

    loop = asyncio.get_running_loop()
    resolver = Resolver(loop, Nameservers((address,)), 5.0)

    async def ask(name: str) -> None:
        future: asyncio.Future[None] = loop.create_future()
        if resolver.lookup(name.encode(), lambda _, answer: future.set_result(None)) is None:
            await future

    await side_by_side(ask, names)


async def by_dnspython(address: tuple[str, int], names: list[str]) -> None:
    """dns.asyncresolver."""
    import dns.asyncresolver

    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers, resolver.port = [address[0]], address[1]
    resolver.use_edns(0, 0, 1232)

    async def ask(name: str) -> None:
        await resolver.resolve(name + ".", "TXT", search=False, lifetime=5)

    await side_by_side(ask, names)


async def side_by_side(ask: Callable[[str], Awaitable[None]], names: list[str]) -> None:
    """Ask for all names, some at once."""
    left = iter(names)

    async def one_after_another() -> None:
        for name in left:
            await ask(name)

    await asyncio.gather(*(one_after_another() for _ in range(SIDE_BY_SIDE)))


def main() -> None:
    """Print the microseconds."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    server = multiprocessing.get_context("fork").Process(target=serve, args=(sock,), daemon=True)
    server.start()
    found: dict[str, list[float]] = {"own sockets": [], "dns.asyncresolver": []}
    for turn in range(5):
        for ways, way in zip(found.values(), (by_us, by_dnspython), strict=True):
            names = [f"s{turn}-{i}._domainkey.example.org" for i in range(count)]
            begin = time.process_time()
            asyncio.run(way(sock.getsockname(), names))
            ways.append((time.process_time() - begin) / count * 1e6)
    server.terminate()
    for name, times in found.items():
        print(f"{name:20} {statistics.median(times):7.0f} us CPU per lookup")


if __name__ == "__main__":
    main()
