"""RFC 6376 section 3.2 and RFC 4870 appendix A."""

from __future__ import annotations

import pytest

from dkconf.mail.taglist import MAX_TAGS, TagListError, parse, without_value


@pytest.mark.parametrize(
    ("octets", "tags"),
    [
        (b"", {}),
        (b"  \r\n ", {}),
        (b"a=1", {b"a": b"1"}),
        (b"a=1;", {b"a": b"1"}),
        (b" a = 1 ; b1_ = x = y ;\r\n\t", {b"a": b"1", b"b1_": b"x = y"}),
        (b"a=;B=", {b"a": b"", b"B": b""}),
        (b"a=1;A=2", {b"a": b"1", b"A": b"2"}),
        (b"n=\xfc\xc3\xbc", {b"n": b"\xfc\xc3\xbc"}),
        (b"a=b\r\n\tc", {b"a": b"b\r\n\tc"}),
    ],
)
def test_parse(octets: bytes, tags: dict[bytes, bytes]) -> None:
    """Blanks around names and values do not count; names keep their case; order stays."""
    assert list(tags.items()) == list(parse(octets).items())


@pytest.mark.parametrize(
    "octets",
    [
        b";",
        b"a",
        b"a=1;;b=2",
        b"=1",
        b"1a=1",
        b"a-b=1",
        b"a b=1",
        b"a=1;a=2",
        b"a=\x00",
        b"a=\x7f",
        b"\xff=1",
        b"a=1;" * (MAX_TAGS + 1),
        b"a=1;" * 250_000,
        b"x" * 1_000_000 + b"=1",
    ],
)
def test_no_tag_list(octets: bytes) -> None:
    """One error for all of it, with a reason; in linear time."""
    with pytest.raises(TagListError) as caught:
        parse(octets)

    assert len(caught.value.reason) < 80


@pytest.mark.parametrize("octets", [b"ab=1", b"A=1", b"1=1", b"=1"])
def test_one_letter(octets: bytes) -> None:
    """DomainKeys knows tags of one lower-case letter only."""
    assert {b"a": b"1", b"v": b"DKIM1"} == parse(b"a=1; v=DKIM1", one_letter=True)
    with pytest.raises(TagListError):
        parse(octets, one_letter=True)


@pytest.mark.parametrize(
    ("octets", "without"),
    [
        (b" a=1; b = xx ; c=3", b" a=1; b =; c=3"),
        (b"b=xx", b"b="),
        (b"b=xx;", b"b=;"),
        (b"bh=1; b=\r\n x\r\n ", b"bh=1; b="),
        (b"a=b=c; b=d", b"a=b=c; b="),
        (b"a=1", b"a=1"),
        (b"", b""),
        (b"b=1; b=2", b"b=1; b="),
    ],
)
def test_without_value(octets: bytes, without: bytes) -> None:
    """Only the value of that tag goes, with the blanks around it (RFC 6376 section 3.7)."""
    assert without == without_value(octets, b"b")
