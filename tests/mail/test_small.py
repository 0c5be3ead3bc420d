"""Base64, domain names, folding, and the passes over octets."""

from __future__ import annotations

import pytest

from dkconf.mail import base64, octets
from dkconf.mail.domain import is_domain, key_name, within
from dkconf.mail.folding import fold_text, fold_words


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"AAAA", b"\0\0\0"),
        (b" A A\r\n\tAA ", b"\0\0\0"),
        (b"AA==", b"\0"),
        (b"AA", b"\0"),
        (b"AAA", b"\0\0"),
        (b"", b""),
        (b"A", None),
        (b"AA=", None),
        (b"A===", None),
        (b"AA==AA==", None),
        (b"AA=A", None),
        (b"AA-_", None),
        (b"AAAA\x00", None),
        (b"\xff\xff\xff\xff", None),
    ],
)
def test_base64(value: bytes, expected: bytes | None) -> None:
    """Blanks anywhere, padding optional, nothing else forgiven."""
    assert expected == base64.decode(value)


def test_domains() -> None:
    """Lower case, letters, digits, `-` and `_`, labels of 1 to 63 octets, 253 in all."""
    for good in (b"example.com", b"a", b"_x.y-z.1", b"a" * 63 + b".b", b"a." * 126 + b"b"):
        assert is_domain(good)
    for bad in (b"", b".", b"a.", b".a", b"a..b", b"A", b"a b", b"a/b", b"\xc3\xbc.de", b"a" * 64, b"a." * 127):
        assert not is_domain(bad)
    assert within(b"example.com", b"example.com")
    assert within(b"a.b.example.com", b"example.com")
    assert not within(b"notexample.com", b"example.com")
    assert not within(b"com", b"example.com")
    assert b"s._domainkey.d" == key_name(b"s", b"d")


def test_fold_words() -> None:
    """No line grows beyond the width unless a single word does; the glue ends the line, a blank is dropped."""
    words = [b"aaaa", b"bbbb", b"c" * 30, b"d"]

    assert b"aaaa:bbbb:\r\n\t" + b"c" * 30 + b":\r\n\td" == fold_words(words, 3, 20, b":")
    assert b"aaaa\r\n\tbbbb\r\n\t" + b"c" * 30 + b"\r\n\td" == fold_words(words, 12, 20)
    assert b"" == fold_words([], 0, 10)


def test_fold_text() -> None:
    """The first line may be shorter."""
    assert b"ab\r\n\tcde\r\n\tf" == fold_text(b"abcdef", 2, 3)
    assert b"ab" == fold_text(b"ab", 2, 3)
    assert b"" == fold_text(b"", 2, 3)


@pytest.mark.parametrize("needle", [b" \r\n", b"  ", b"\r\n  "])
def test_every_way_to_cut_agrees(needle: bytes) -> None:
    """`split`, strstr and memmem cut at the same places, NULs and all, however many there are."""
    many = octets.MAX_SINGLE_CUTS
    samples = [
        b"",
        b"\0",
        needle,
        b"a" + needle,
        needle + b"a",
        b"\0" + needle,
        needle[:-1],
        b"\0" * 9,
        b"a" * 99 + needle,
    ]
    samples += [(b"a" + needle) * count for count in (many - 1, many, many + 1, 5 * many)]
    samples += [needle * 1000, b" " * 999, b"\r\n" * 999, b" \r\n" * 999, b"a\0" + needle + b"b" + needle]
    candidates = octets._candidates(needle)

    assert octets.cutter(needle) is octets.cutter(needle)
    assert 3 == len(candidates)
    for sample in samples:
        for candidate in candidates:
            assert sample.split(needle) == candidate(sample)


@pytest.mark.parametrize("count", [0, 1, 2, 32768, 32769, 100_000])
def test_crlfs(count: int) -> None:
    """The pieces are that many CRLFs, none of them large."""
    pieces = octets.crlfs(count)

    assert b"\r\n" * count == b"".join(pieces)
    assert all(len(piece) <= octets.FILL_OCTETS for piece in pieces)
