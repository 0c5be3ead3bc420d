"""Queue files as sendmail 8.17 writes them."""

from __future__ import annotations

from dkconf.sendmail import qf

SAMPLE = b"""V8
T1795508530
K0
N0
P30535
Fs
$_root@localhost
${daemon_flags}
Sdkconf-canary@example.org
MDeferred: a line with H in it
C:root
rRFC822; root@mx1.example.test
RPFD:root@mx1.example.test
H?P?Return-Path: <\x81g>
H??DKIM-Signature: v=1; a=rsa-sha256; d=Example.org; s=sel;
\tbh=abc=;
\tb=Cjsy aN1u
H??Received: (from root@localhost)
\tby mx1.example.test; Tue, 24 Nov 2026 08:22:10 GMT
H?x?Full-Name: Root
H??From: dkconf canary <dkconf-canary@example.org>
H?D??${x}?Date: now
H??Subject:no blank
H??X-8bit: \xe4
.
Hnot this
"""


def test_fields_in_order_with_exact_values() -> None:
    """Flags go, folds become CRLF, the rest is exact."""
    found = qf.parse_qf(SAMPLE)

    assert [b"Return-Path", b"DKIM-Signature", b"Received", b"Full-Name", b"From", b"Date", b"Subject", b"X-8bit"] == [
        f.name for f in found.fields
    ]
    by_name = {f.name: f for f in found.fields}
    assert (
        b" v=1; a=rsa-sha256; d=Example.org; s=sel;\r\n\tbh=abc=;\r\n\tb=Cjsy aN1u" == by_name[b"DKIM-Signature"].value
    )
    assert b"no blank" == by_name[b"Subject"].value
    assert b" \xe4" == by_name[b"X-8bit"].value
    assert b"P" == by_name[b"Return-Path"].flags
    assert b"" == by_name[b"From"].flags
    assert b"now" == by_name[b"Date"].value.strip()


def test_envelope() -> None:
    """Sender and recipients; the flags before a recipient's colon go."""
    found = qf.parse_qf(SAMPLE)

    assert (b"dkconf-canary@example.org", (b"root@mx1.example.test",)) == (found.sender, found.recipients)
    assert found.complete


def test_unfinished_file() -> None:
    """Without the line `.` sendmail has not written all of it."""
    assert not qf.parse_qf(SAMPLE.partition(b"\n.\n")[0]).complete


def test_selectors_that_wait_in_the_queue() -> None:
    """Domain and selector of each signature, in lower case."""
    assert {(b"example.org", b"sel")} == qf.selectors(qf.parse_qf(SAMPLE))


def test_tags_lose_their_blanks() -> None:
    """A folded b= is one word."""
    [field] = [f for f in qf.parse_qf(SAMPLE).fields if f.name == b"DKIM-Signature"]

    assert b"CjsyaN1u" == qf.signature_tags(field)[b"b"]


def test_body_gets_crlf() -> None:
    """df files have LF; what has CRLF already is not doubled."""
    assert b"a\r\n\r\nb\r\n" == qf.body_of_df(b"a\n\r\nb\n")


def test_garbage_is_no_error() -> None:
    """A queue file is written by others: nothing in it raises."""
    for octets in (b"", b"H", b"H?", b"H?x", b"H???", b" x\n", b"\n\n.", b"R\nS\nH:\n"):
        qf.parse_qf(octets)
