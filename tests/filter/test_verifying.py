"""What is written about a verified message, and what of others is removed."""

from __future__ import annotations

import itertools

import pytest

from dkconf.filter.config import Conditions
from dkconf.mail.header import parse_message
from dkconf.mail.lookup import ABSENT, TxtAnswer
from tests.dkim.helpers import NAME, RECORD, sign_with_length
from tests.filter.mta import (
    HEADER,
    RECORDS,
    TIMEOUT,
    MakeMta,
    arrived,
    found,
    inserted,
    letters,
    results,
    signed,
)


def test_one_folded_field_above_everything(mta: MakeMta) -> None:
    """Authentication-Results goes to index 0, with the macro j as authserv-id, folded with LF + TAB."""
    edits = mta().send(signed())
    field = edits[-2]

    assert inserted(edits) == [(0, "Authentication-Results")]
    assert field.value == (
        b" mx.example.net;\n\tdkim=pass header.d=example.com header.s=jan header.a=rsa-sha256;\n"
        b"\tdomainkeys=pass header.d=example.com header.from=joe@example.com"
    )


def test_results_of_many_signatures_are_short_lines(mta: MakeMta) -> None:
    """Mail readers have lost data over a field without folds of more than a thousand octets."""
    domain = b".".join([b"x" * 60] * 4)
    tags = b" v=1; a=rsa-sha256; d=%b; s=%b; i=%b@%b; h=from; bh=AAAA; b=AAAA"
    many = [(b"DKIM-Signature", tags % (domain, b"s" * 63, b"u" * 64, domain))] * 100
    value = mta(max_signatures=100).send([*many, *HEADER])[-2].value

    assert max(map(len, value.split(b"\n"))) <= len(b"\theader.d=;") + len(domain)
    assert len(value) < 10_000
    assert b"85 more signatures" in value


def test_settings_name_the_authserv_id(mta: MakeMta) -> None:
    """`authserv_id` overrides the macro j."""
    edits = mta(authserv_id="mail.example.org").send(HEADER)

    assert edits[-2].value.startswith(b" mail.example.org;")


@pytest.mark.parametrize("count", range(1, 4))
def test_forged_results_are_removed_from_the_bottom_up(mta: MakeMta, count: int) -> None:
    """Every k of n fields: those that claim our name or cannot be parsed go, highest occurrence first."""
    kinds = {
        "ours": b" mx.example.net; dkim=pass",
        "OURS": b" MX.Example.NET. 1; dkim=pass",
        "broken": b" ((",
        "nameless": b" dkim=pass header.d=example.com",
        "other": b" mx.example.org; dkim=pass",
    }
    for chosen in itertools.product(kinds, repeat=count):
        fields = [(b"authentication-RESULTS", kinds[kind]) for kind in chosen]
        edits = mta().send([*fields, *HEADER])
        removed = [edit.index for edit in edits if edit.letter == "m"]

        assert removed == [n for n in range(count, 0, -1) if chosen[n - 1] != "other"]
        assert all(e.value == b"" and e.name == b"Authentication-Results" for e in edits if e.letter == "m")
        left = [name for name, _ in arrived([*fields, *HEADER], edits)]
        assert left.count(b"authentication-RESULTS") == chosen.count("other")


HIDDEN = b" hello\rAuthentication-Results: mx.example.net; dkim=pass header.d=bank.example"


@pytest.mark.parametrize("name", [b"Comments", b"SUBJECT", b"DomainKey-Status", b"DomainKey-Signature", b"Comments "])
@pytest.mark.parametrize("status", [True, False])
def test_a_field_that_hides_forged_results_is_removed(mta: MakeMta, name: bytes, status: bool) -> None:
    """Behind a lone CR, where Python's email package begins a new field; the fields of its name around it stay."""
    fields = [
        (b"Comments", b" a"), (name, HIDDEN), (b"comments", b" b"), (b"Subject", b" x"), (name, HIDDEN.upper()),
        (b"Comments", b" no\r\n authentication-results: of a fold"), (b"Subject", b" a lone\rCR"),
    ]  # fmt: skip
    edits = mta(domainkey_status=status).send([*fields, *HEADER])

    left = [field for field in arrived([*fields, *HEADER], edits) if field in [*fields, *HEADER]]
    assert [*fields[:1], *fields[2:4], *fields[5:], *HEADER] == left


def test_what_is_no_claim_of_ours_stays(mta: MakeMta) -> None:
    """ARC's own field names us wherever we sealed (RFC 8617 section 4.1.1); other names are other fields."""
    fields = [
        (b"ARC-Authentication-Results", b" i=1; mx.example.net; dkim=pass"),
        (b"X-Authentication-Results", b" mx.example.net; dkim=pass"),
        (b"Authentication-Results-Original", b" mx.example.net; dkim=pass"),
        (b"DomainKey-Status", b" good"),
    ]

    assert "m" not in letters(mta().send([*fields, *HEADER]))


def test_a_blank_before_the_colon_hides_nothing(mta: MakeMta) -> None:
    """An MTA that keeps it counts the fields with it by themselves, and so do we."""
    ours, other = b" mx.example.net; dkim=pass", b" mx.example.org; dkim=pass"
    named = (b"Authentication-Results", b"authentication-results ", b"Authentication-Results\t")
    fields = [(name, value) for value in (other, ours) for name in named]
    edits = mta().send([*fields, *HEADER])

    assert [(edit.index, edit.name) for edit in edits if edit.letter == "m"] == [
        (2, b"Authentication-Results\t"),
        (2, b"Authentication-Results "),
        (2, b"Authentication-Results"),
    ]
    left = [value for name, value in arrived([*fields, *HEADER], edits) if name.strip() != b"Subject"]
    assert left.count(ours) == 0
    assert left.count(other) == 3


@pytest.mark.parametrize("chunk", [1, 7, 65535])
@pytest.mark.parametrize("form", ["simple", "relaxed"])
@pytest.mark.parametrize(
    "choice, result, reply", [("accept", "dkim=pass", "c"), ("policy", "dkim=policy", "y")], ids=["accept", "policy"]
)
def test_unsigned_content(mta: MakeMta, form: str, chunk: int, choice: str, result: str, reply: str) -> None:
    """A setting decides what a signature with l= is worth; the field and the log say how much it leaves unsigned."""
    fields, body = parse_message(sign_with_length(b"From: joe@example.com\r\nSubject: x\r\n\r\n12345678\r\n", 10, form))
    answers = {NAME: found(RECORD)}
    pairs = [(field.name, field.value) for field in fields]
    refusing = Conditions(bad="reject", miss=None)
    client = mta(answers=answers, unsigned_content=choice, dkim_conditions=refusing, keys=())

    assert b"unsigned" not in client.send(pairs, body, chunk=chunk)[-2].value
    edits = client.send(pairs, body + b"bank on\t\r\n\r\n\r\n", chunk=chunk)
    words = f"{10 if form == 'simple' else 9} octets unsigned"
    assert edits[-1].letter == reply
    assert f"{result} d=example.com s=jan ({words})" in client.line
    if choice == "accept":
        assert f'{result} reason="{words}" header.d=example.com'.encode() in edits[-2].value
        return
    assert words.encode() in edits[-1].value
    (seen,) = mta(answers=answers, unsigned_content=choice, keys=()).send(pairs, body + b"x")[-2:-1]
    assert f'{result} reason="3 octets unsigned"'.encode() in seen.value


def test_a_signature_does_not_cover_what_we_remove(mta: MakeMta) -> None:
    """On an own message the forged field goes too, and the DomainKeys signature verifies without it."""
    fields = [*HEADER, (b"Authentication-Results", b" mx.example.net; dkim=pass")]
    edits = mta(at=b"127.0.0.1").send(fields)

    assert letters(edits) == "miic"
    assert results(mta().send(arrived(fields, edits))) == ["dkim=pass", "domainkeys=pass"]


def test_domainkey_status_replaces_those_of_others(mta: MakeMta) -> None:
    """Where wanted; readers accept only "good", so no other field of that name may stay."""
    fields = [(b"DomainKey-Status", b" good"), (b"DomainKey-Status", b" good")]
    edits = mta(domainkey_status=True).send([*fields, *HEADER])

    assert [(e.letter, e.index, e.name) for e in edits[:3]] == [
        ("m", 2, b"DomainKey-Status"),
        ("m", 1, b"DomainKey-Status"),
        ("i", 0, b"DomainKey-Status"),
    ]
    assert edits[2].value == b" non-participant"


@pytest.mark.parametrize(
    "name, answer, policy, status",
    [
        ("good", RECORDS[b"jan._domainkey.example.com"], ABSENT, b" good"),
        ("no key", ABSENT, ABSENT, b" no key"),
        ("revoked", found(b"k=rsa; p="), ABSENT, b" revoked"),
        ("undecodable", found(b"k=rsa; p=AAAA"), ABSENT, b" bad format"),
        ("no answer", TIMEOUT, ABSENT, b""),
    ],
)
def test_domainkey_status_words(mta: MakeMta, name: str, answer: TxtAnswer, policy: TxtAnswer, status: bytes) -> None:
    """RFC 4870 section 3.8; a failed lookup has no word."""
    accept = Conditions(dns="accept")
    client = mta(
        answers={b"jan._domainkey.example.com": answer},
        domainkey_status=True,
        domainkeys_conditions=accept,
        dkim_conditions=Conditions(dns="accept", miss=None),
    )
    edits = client.send(signed())
    words = [e.value for e in edits if e.name == b"DomainKey-Status"]

    assert words == ([status] if status else [])
