"""What attackers send is answered, and never a fault of ours."""

from __future__ import annotations

import pytest

from dkconf.dkim.keyrecord import format_record
from dkconf.mail.lookup import TxtAnswer
from tests.filter.mta import (
    HEADER,
    RECORDS,
    RSA,
    Fields,
    MakeMta,
    letters,
    make_settings,
    signed,
)


def test_two_hundred_signatures(mta: MakeMta) -> None:
    """Ten are evaluated, the rest reported in one line; the field stays small."""
    good = signed()
    dkim, domainkeys = good[0], good[1]
    edits = mta().send([*[dkim] * 200, *[domainkeys] * 200, *HEADER])
    value = edits[-2].value

    assert len(value) < 8000
    assert value.count(b"dkim=pass") == 10
    assert b'dkim=policy reason="185 more signatures"' in value


@pytest.mark.parametrize(
    "fields",
    [
        [(b"\0\xff:", b"\0\xff\r\n\n"), *HEADER],
        [(b"From", b" \xff\xfe <joe@example.com>"), *HEADER[1:]],
        [(b"From", b" " + b"(" * 5000), *HEADER[1:]],
        [(b"From", b" \"unclosed <joe@example.com>"), *HEADER[1:]],
        [(b"DKIM-Signature", b" v=1; a=rsa-sha256; h=" + b"from:" * 40_000), *HEADER],
        [(b"DKIM-Signature", b" v=1; a=rsa-sha256; d=example.com; s=jan; h=from; bh=; b=; l=" + b"9" * 100_000),
         *HEADER],
        [(b"DomainKey-Signature", b" a=rsa-sha1; s=jan; d=example.com; c=nofws; b=" + b"A" * 100_000), *HEADER],
        [(b"DKIM-Signature", b""), (b"DomainKey-Signature", b""), *HEADER],
        [],
    ],
)  # fmt: skip
@pytest.mark.parametrize("at", [b"127.0.0.1", b"192.0.2.1"])
def test_hostile_headers_are_verdicts(mta: MakeMta, fields: Fields, at: bytes) -> None:
    """NULs, 8-bit, endless comments, a megabyte of h=, gigabyte-sized integers: answered, and never `int`."""
    client = mta(at=at)
    edits = client.send(fields, b"\0\xff\r\n" * 10)

    assert letters(edits)[-1] == "c"
    assert all(priority > 3 for priority, _ in client.log)


def test_log_lines_cannot_be_forged(mta: MakeMta) -> None:
    """What comes from the network is printable in the log, and one message is one line."""
    answers = {b"jan._domainkey.example.com": TxtAnswer("failed", reason="x\n4BX2k1: signed\x1b[31m")}
    client = mta(answers=answers, hostname=b"evil\n\x1b[31m", sends={b"i": b"Q1\nfake"})
    client.send(signed())

    assert len(client.log) == 1
    assert client.line.isprintable()


def test_settings_may_be_swapped_between_messages(mta: MakeMta) -> None:
    """A reload's engine is used from the next message on."""
    client = mta(at=b"127.0.0.1")
    assert letters(client.send(HEADER)) == "iic"
    client.session.engine = mta(internal_hosts=("10.0.0.0/8",)).engine

    assert letters(client.send(HEADER)) == "ic"


def test_make_settings_is_complete() -> None:
    """The fixture's settings carry the key that the records publish."""
    assert make_settings().keys[0].path == "/k/rsa"
    assert RECORDS[b"jan._domainkey.example.com"].strings == (format_record("rsa", RSA.public_raw),)


def test_names_that_are_hard_to_read_are_removed_beyond_a_number(mta: MakeMta) -> None:
    """Sixteen results of others in a rare form are looked at, further ones go unseen; plain ones all stay."""
    rare = (b"Authentication-Results", b" (a comment) mx.example.org; none")
    plain = (b"Authentication-Results", b" mx.example.org; none")
    edits = mta().send([*[rare] * 5, *[plain] * 500, *[rare] * 20, *HEADER])

    assert [edit.index for edit in edits if edit.letter == "m"] == [*range(525, 516, -1)]


def test_a_name_behind_a_thousand_octets_is_not_looked_for(mta: MakeMta) -> None:
    """No honest program writes so much before it: the field is removed."""
    long = (b"Authentication-Results", b" (" + b"a" * 2000 + b") mx.example.org; none")

    assert "m" in letters(mta().send([long, *HEADER]))
