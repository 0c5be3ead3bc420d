"""Records files: a zone in small, for tests and demos."""

from __future__ import annotations

import pytest

from dkconf.mail.lookup import ABSENT, RecordsError, TxtAnswer, format_records, parse_records

TEXT = """\
; a comment
# another one

jan._domainkey.Example.com.   TXT  "v=DKIM1; k=rsa; " "p=MI;#()Gf"   ; the key
feb._domainkey.example.com    300 IN TXT ( "v=DKIM1; "   ; in two lines
                                           "p=AAAA" )
two.example.com TXT "a"
two.example.com TXT "b"
bare.example.com TXT v=DKIM1
esc.example.com TXT "a\\"b\\\\c\\255\\009\u00fc"
sick.example.com SERVFAIL
slow.example.com timeout
gone.example.com IN NXDOMAIN
"""


def test_parse() -> None:
    """Each line is its answer; what is not in the file does not exist."""
    records = parse_records(TEXT)

    assert (b"v=DKIM1; k=rsa; p=MI;#()Gf",) == records[b"jan._domainkey.example.com"].strings
    assert TxtAnswer("found", (b"v=DKIM1; p=AAAA",), ttl=300) == records[b"feb._domainkey.example.com"]
    assert (b"a", b"b") == records[b"two.example.com"].strings
    assert (b"v=DKIM1",) == records[b"bare.example.com"].strings
    assert (b'a"b\\c\xff\x09\xc3\xbc',) == records[b"esc.example.com"].strings
    assert ("failed", "SERVFAIL") == (records[b"sick.example.com"].status, records[b"sick.example.com"].reason)
    assert ("failed", "timeout") == (records[b"slow.example.com"].status, records[b"slow.example.com"].reason)
    assert ABSENT == records[b"gone.example.com"]
    assert ABSENT == records[b"nobody.example.com"]
    assert records.answer(b"JAN._domainkey.example.com.") is records[b"jan._domainkey.example.com"]


def test_round() -> None:
    """What is written reads back to the same answers."""
    records = parse_records(TEXT)

    assert records == parse_records(format_records(records))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.example\n", "line 1: expected"),
        ("\na.example TXT\n", "line 2: expected"),
        ("a.example A 192.0.2.1\n", "line 1: expected"),
        ("a.example SERVFAIL now\n", "line 1: expected"),
        ('a.example TXT "x\n', "line 1: the string is never closed"),
        ('a.example TXT ( "x"\n', "line 1: the parenthesis is never closed"),
        ('a.example TXT "x" )\n', "line 1: parentheses do not match"),
        ('a.example TXT "x" "y\\', "line 1: the string is never closed"),
        ("9" * 5000 + "\n", "line 1: expected"),
        ("a.example \u00b3\n", "line 1: expected"),
        ('"\\187" "\\187"\n', "line 1: expected"),
    ],
)
def test_faults(text: str, message: str) -> None:
    """The message names the line, and what would be right."""
    with pytest.raises(RecordsError, match=message):
        parse_records(text)
