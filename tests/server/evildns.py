"""A name server of a hostile domain, and an MTA that brings its mail: `python -m tests.server.evildns [SOCKET PORT]`.

Without arguments the server; it prints its port. The first letters of a selector say what it answers, see `KINDS`.
With arguments an attacker: it sends messages to the filter at SOCKET as fast as it can, until its standard input ends.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from tests.filter.attacks import ATTACKS
from tests.server.mta import Mta, message

GOOD = {b"good": b"v=DKIM1; p=", b"_domainkey": b"o=~"}
"""Names that begin so have such a record: a key, a policy."""
_TXT = b"\0\x10\0\1\0\0\1\x2c"
_CNAME = b"\0\5\0\1\0\0\1\x2c"
_OTHER = b"\5other\7example\0"
MOST = 65_500


def _fill(record: bytes, octets: int = MOST) -> tuple[int, bytes]:
    number = octets // len(record)
    return number, record * number


def _record(owner: bytes, kind: bytes, data: bytes) -> bytes:
    return owner + kind + len(data).to_bytes(2, "big") + data


def _deep(number: int) -> bytes:
    """Records whose owners have a hundred labels by as many pointers."""
    # Each name is a letter and a pointer to the name before it, in the data of one long record.
    base = 300
    names = b"".join(b"\1a" + (0xC000 | (base + 4 * (i - 1) if i else 12)).to_bytes(2, "big") for i in range(100))
    owner = (0xC000 | (base + 4 * 99)).to_bytes(2, "big")
    return names + _record(owner, _TXT, b"\1x") * number


# By the letters at the start of the selector: number of answers and the answers; the name asked for is at 12.
KINDS: dict[bytes, tuple[int, bytes]] = {
    b"tiny": _fill(_record(b"\xc0\x0c", _TXT, b"\0")),
    b"other": _fill(_record(_OTHER, _TXT, b"\1x")),
    b"one": (1, _record(b"\xc0\x0c", _TXT, (b"\xff" + b"x" * 255) * 255)),
    b"loop": (60, _record(b"\xc0\x0c", _CNAME, b"\xc0\x0c") * 60),
    b"self": (1, b"\xc0\x40" * 2000),
    b"labels": _fill(_record(b"\1a" * 120 + b"\xc0\x0c", _TXT, b"\1x"), 8000),
    b"deep": (64, _deep(64)),
    b"lies": (65_535, b""),
    b"trickle": (1, _record(b"\xc0\x0c", _TXT, (b"\xff" + b"x" * 255) * 20)),
    b"stall": (1, b""),
    b"silent": (0, b""),
    b"strange": (1, _record(b"\xc0\x0c", _TXT, b"\xffx")),
}
SMALL = (b"loop", b"strange", b"lies", b"labels", b"deep", b"self")
"""Kinds that come by UDP; the others say "truncated" there."""


def answer(question: bytes, *, tcp: bool) -> tuple[bytes, bytes]:
    """The kind, and the octets to answer."""
    end = question.index(b"\0", 12) + 5
    label = question[13 : 13 + question[12]].lower()
    head = question[:2] + b"\x81\x80\0\1"
    if label in GOOD:
        record = _record(b"\xc0\x0c", _TXT, bytes([len(GOOD[label])]) + GOOD[label])
        return label, head + b"\0\1\0\0\0\0" + question[12:end] + record
    kind = next((kind for kind in KINDS if label.startswith(kind)), b"")
    if not kind:
        return b"", question[:2] + b"\x81\x83\0\1\0\0\0\0\0\0" + question[12:end]
    if not tcp and kind not in SMALL:
        return kind, question[:2] + b"\x83\x80\0\1\0\0\0\0\0\0" + question[12:end]
    number, records = KINDS[kind]
    return kind, (head + number.to_bytes(2, "big") + b"\0\0\0\0" + question[12:end] + records)[:65535]


class _Udp(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        kind, octets = answer(data, tcp=False)
        if kind != b"silent":
            self.transport.sendto(octets, addr)  # type: ignore[attr-defined]


async def _tcp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        size = int.from_bytes(await reader.readexactly(2), "big")
        kind, octets = answer(await reader.readexactly(size), tcp=True)
        octets = len(octets).to_bytes(2, "big") + octets
        if kind == b"stall":
            await asyncio.sleep(60)
        elif kind == b"trickle":
            for position in range(len(octets)):
                if writer.is_closing():
                    break
                writer.write(octets[position : position + 1])
                await asyncio.sleep(0.001)
        else:
            writer.write(octets)
        await writer.drain()
    except (OSError, EOFError):
        pass
    finally:
        writer.close()


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    while True:
        transport, _ = await loop.create_datagram_endpoint(_Udp, local_addr=("127.0.0.1", 0))
        port = transport.get_extra_info("sockname")[1]
        try:
            server = await asyncio.start_server(_tcp, "127.0.0.1", port)
            break
        except OSError:  # somebody has the port for TCP
            transport.close()
    print(port, flush=True)
    async with server:
        await server.serve_forever()


def signature(selector: bytes, domain: bytes) -> tuple[bytes, bytes]:
    """A signature whose key is to be looked up."""
    digest, text = base64.b64encode(b"x" * 32), base64.b64encode(b"y" * 256)
    tags = b" v=1; a=rsa-sha256; c=relaxed/relaxed; d=%b; s=%b; h=from; bh=%b; b=%b"
    return b"DKIM-Signature", tags % (domain, selector, digest, text)


def hostile_messages() -> Callable[[], bytes]:
    """What an attacker sends, one message after another: ten lookups each, and in turn all that costs much."""
    counter = itertools.count()
    costly = []
    for make in ATTACKS.values():
        attack = make()
        fields = [(name, value) for name, value in attack.fields if len(value) < 65_000]
        costly.append(message(fields, attack.body))

    def make_one() -> bytes:
        number = next(counter)
        if number % 4 == 3:
            return costly[number // 4 % len(costly)]
        # The same kind ten times, of a domain of which there are a hundred.
        kinds = list(KINDS)
        kind = kinds[number % len(kinds)]
        fields = [
            signature(b"%b%d-%d-%d" % (kind, os.getpid(), number, i), b"evil%d.example" % (number % 100))
            for i in range(10)
        ]
        return message([*fields, (b"From", b" joe@evil%d.example" % (number % 100))])

    return make_one


def _attack(path: str, connections: int) -> None:
    os.nice(19)
    make, lock = hostile_messages(), threading.Lock()

    def run() -> None:
        while True:
            try:
                with Mta(Path(path)) as mta:
                    mta.begin(b"192.0.2.1")
                    with lock:
                        octets = make()
                    mta.send(octets)
                    mta.end_of_message()
            except OSError:
                continue

    for _ in range(connections):
        threading.Thread(target=run, daemon=True).start()
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _attack(sys.argv[1], int(sys.argv[2]))
    else:
        os.nice(19)
        asyncio.run(_serve())
