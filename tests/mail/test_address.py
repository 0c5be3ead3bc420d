"""The first address of From and Sender: RFC 5322 with what real mail adds."""

from __future__ import annotations

import pytest

from dkconf.mail.address import Sender, find_sender, sender_address
from dkconf.mail.header import parse_message

ADDRESSES: list[tuple[bytes, tuple[bytes, bytes] | None]] = [
    (b" joe@example.com", (b"joe", b"example.com")),
    (b"joe@Example.COM", (b"joe", b"example.com")),
    (b" Joe Doe <Joe@example.com>", (b"Joe", b"example.com")),
    (b' "Doe, Joe" <joe@example.com>', (b"joe", b"example.com")),
    (b' "a\\"b" <joe@example.com>', (b"joe", b"example.com")),
    (b" joe@example.com (Joe (the) Doe)", (b"joe", b"example.com")),
    (b" (x) joe (y) @ (z) example.com (\\))", (b"joe", b"example.com")),
    (b" Joe\r\n <joe@example.com>", (b"joe", b"example.com")),
    (b" <joe@example.com>, <ann@example.org>", (b"joe", b"example.com")),
    (b" joe@example.com, ann@example.org", (b"joe", b"example.com")),
    (b" ,, joe@example.com", (b"joe", b"example.com")),
    (b" friends: joe@example.com, ann@example.org;", (b"joe", b"example.com")),
    (b" nobody:; , joe@example.com", (b"joe", b"example.com")),
    (b" <@a.example,@b.example:joe@example.com>", (b"joe", b"example.com")),
    (b' "joe doe"@example.com', (b"joe doe", b"example.com")),
    (b' "joe@x"@example.com', (b"joe@x", b"example.com")),
    (b" joe.doe@example.com", (b"joe.doe", b"example.com")),
    (b" joe..doe.@docomo.example", (b"joe..doe.", b"docomo.example")),
    (b" joe@[192.0.2.1]", (b"joe", b"[192.0.2.1]")),
    (b" joe@example.com.", (b"joe", b"example.com")),
    (b" J\xfc\xc3\xbc <joe@example.com>", (b"joe", b"example.com")),
    (b" j\xc3\xbc@b\xc3\xbc.example", (b"j\xc3\xbc", b"b\xc3\xbc.example")),
    (b" a@b.example <joe@example.com>", (b"joe", b"example.com")),
    (b" =?utf-8?q?J=C3=B6?= <joe@example.com>", (b"joe", b"example.com")),
    (b"", None),
    (b" joe", None),
    (b" <joe>", None),
    (b" <>", None),
    (b" @example.com", None),
    (b" joe@", None),
    (b" joe@@example.com", None),
    (b" joe@a@example.com", None),
    (b" joe doe@example.com", None),
    (b" joe@exam ple.com", None),
    (b" joe@.example.com", None),
    (b" joe@example..com", None),
    (b" Doe, Joe <joe@example.com>", None),
    (b" <joe@example.com", None),
    (b" joe@example.com>", None),
    (b" <joe@example.com> x", None),
    (b" <<joe@example.com>>", None),
    (b' "joe@example.com', None),
    (b" (joe@example.com", None),
    (b" joe\x00@example.com", None),
    (b" joe@[1.2.3.4", None),
    (b" undisclosed:;", None),
]


@pytest.mark.parametrize(("value", "expected"), ADDRESSES, ids=[repr(value)[:40] for value, _ in ADDRESSES])
def test_sender_address(value: bytes, expected: tuple[bytes, bytes] | None) -> None:
    """The first address, or None."""
    assert expected == sender_address(value)


@pytest.mark.parametrize(
    "value",
    [b"(" * 1_000_000, b"<" * 1_000_000, b'"' + b"\\" * 1_000_000, b"a " * 500_000, b"," * 1_000_000, b"a:" * 500_000],
)
def test_a_hostile_megabyte(value: bytes) -> None:
    """Linear, not recursive, and no address."""
    assert sender_address(value) is None


@pytest.mark.parametrize(
    ("header", "sender", "problem"),
    [
        (b"From: Joe <joe@Example.com>\r\n", Sender("from", b"joe", b"example.com"), ""),
        (b"from: joe@example.com\r\nSENDER: l@lists.example\r\n", Sender("sender", b"l", b"lists.example"), ""),
        (b"To: a@b.c\r\n", None, "no From field"),
        (b"Sender: a@b.c\r\n", None, "no From field"),
        (b"From: a@b.c\r\nFrom: a@b.c\r\n", None, "more than one From field"),
        (b"From: a@b.c\r\nSender: a@b.c\r\nSender: a@b.c\r\n", None, "more than one Sender field"),
        (b"From: a\r\nSender: a@b.c\r\n", None, "no usable address in From"),
        (b"From: a@b.c\r\nSender: a\r\n", None, "no usable address in Sender"),
    ],
)
def test_find_sender(header: bytes, sender: Sender | None, problem: str) -> None:
    """RFC 4870 sections 3.1 and 3.5.1: both must be usable, and Sender wins."""
    assert (sender, problem) == find_sender(parse_message(header + b"\r\n")[0])


def test_address_text() -> None:
    """For logs."""
    assert "joe@example.com" == Sender("from", b"joe", b"example.com").address
