"""Messages for the benchmark of the filter: bodies of each kind, plain and signed, always the same octets."""

from __future__ import annotations

import base64
import random
from collections.abc import Callable
from pathlib import Path

from dkconf.crypto.keys import PrivateKey
from dkconf.dkim.canonical import BodyHasher
from dkconf.dkim.signer import Signer
from dkconf.mail.header import format_message, parse_message

DOMAIN = "example.org"
NOW = 1_700_000_000

HEADER = (
    "Received: from client.example.org (client.example.org [192.0.2.7])\r\n"
    "\tby mx.example.net (8.17.1/8.17.1) with ESMTPS id 4BX2k1000001\r\n"
    "\tfor <recipient@example.net>; Tue, 14 Nov 2023 22:13:20 GMT\r\n"
    "From: A Sender <sender@example.org>\r\n"
    "To: Some Recipient <recipient@example.net>,\r\n Another One <another@example.net>\r\n"
    "Subject: a message  of the usual kind, with a subject that is folded\r\n  once\r\n"
    "Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n"
    "Message-ID: <20231114221320.4711@client.example.org>\r\n"
    "MIME-Version: 1.0\r\n"
    "Content-Type: text/plain; charset=utf-8\r\n"
    "Content-Transfer-Encoding: 8bit\r\n"
    "User-Agent: bench/1\r\n"
    "X-Spam-Status: No, score=-1.2\r\n"
)

WORDS = (
    "the", "of", "and", "a", "to", "in", "is", "you", "that", "it", "he", "was", "for", "on", "are", "as", "with",
    "his", "they", "at", "be", "this", "have", "from",
)  # fmt: skip


def prose(octets: int) -> bytes:
    """Lines of words; one of eight has a run of blanks, one of six ends in blanks."""
    rng = random.Random(7)
    lines, size = [], 0
    while size < octets:
        line = " ".join(rng.choices(WORDS, k=rng.randint(6, 15)))
        if rng.random() < 1 / 8:
            line = line.replace(" ", "  ", 1)
        line += rng.choice(("", "", "", "", "", rng.choice((" ", "  \t")))) + "\r\n"
        lines.append(line)
        size += len(line)
    return "".join(lines).encode()[: octets - 2].rstrip(b"\r") + b"\r\n"


def html(octets: int) -> bytes:
    """Tags, each on a line of its own, indented by up to 24 blanks."""
    rng = random.Random(7)
    lines, size = [], 0
    while size < octets:
        line = " " * (2 * rng.randint(0, 12)) + f'<td class="c{rng.randint(1, 9)}">{rng.choice(WORDS)}</td>\r\n'
        lines.append(line)
        size += len(line)
    return "".join(lines).encode()[: octets - 2].rstrip(b"\r") + b"\r\n"


def base64_lines(octets: int) -> bytes:
    """An attachment."""
    return base64.encodebytes(random.Random(7).randbytes(octets * 3 // 4)).replace(b"\n", b"\r\n")


def _repeated(piece: bytes) -> Callable[[int], bytes]:
    return lambda octets: b"x" + piece * (octets // len(piece)) + b"\r\n"


BODIES: dict[str, Callable[[int], bytes]] = {
    "prose": prose,
    "html": html,
    "base64": base64_lines,
    "blanks": _repeated(b" "),
    "blank-crlf": _repeated(b" \r\n"),
    "crlf": _repeated(b"\r\n"),
    "tab-words": _repeated(b"a \t b\r\n"),
}


def plain(path: Path, kind: str, octets: int) -> Path:
    """Write a message without a signature; return its path."""
    path.write_bytes(HEADER.encode() + b"\r\n" + BODIES[kind](octets))
    return path


def signed(path: Path, key: PrivateKey, selector: str, canon: str, octets: int, kind: str = "prose") -> Path:
    """Write a message with a DKIM signature; return its path."""
    fields, body = parse_message(HEADER.encode() + b"\r\n" + BODIES[kind](octets))
    header_canon, _, body_canon = canon.partition("/")
    signer = Signer(DOMAIN, selector, key, header_canon=header_canon, body_canon=body_canon)
    job = signer.begin(fields)
    hasher = BodyHasher(body_canon, "sha256", None)
    hasher.update(body)
    path.write_bytes(format_message([job.finish(hasher.digest(), NOW), *fields], body))
    return path
