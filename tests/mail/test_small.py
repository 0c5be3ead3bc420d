"""Base64, domain names and folding."""

from __future__ import annotations

import pytest

from dkconf.mail import base64
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
