"""Published records against the wanted ones."""

from __future__ import annotations

import pytest

from dkconf.desired.state import TxtRecord
from dkconf.dns.check import key_problem, signs_all
from dkconf.mail.lookup import ABSENT, TxtAnswer

WANTED = TxtRecord("s1._domainkey.example.org", b"v=DKIM1; k=rsa; p=QUJD", 3600, "key", "example.org", "s1")


@pytest.mark.parametrize(
    "answer,words",
    [
        (TxtAnswer("found", (b"v=DKIM1; k=rsa; p=QUJD",)), ""),
        (TxtAnswer("found", (b"k=rsa; t=y; n=note; p=QU JD",)), ""),
        (TxtAnswer("found", (b"p=QUJE",)), "another key"),
        (TxtAnswer("found", (b"v=DKIM1; k=ed25519; p=QUJD",)), "another key"),
        (TxtAnswer("found", (b"v=DKIM1; p=",)), "revoked"),
        (TxtAnswer("found", (b"hello",)), "not a key record"),
        (TxtAnswer("found", (b"p=QUJD", b"p=QUJD")), "2 TXT records"),
        (ABSENT, "no TXT record is published"),
        (TxtAnswer("failed", reason="timeout"), "could not be looked up"),
        (TxtAnswer("broken", reason="CNAME loop"), "no verifier can read what is published (CNAME loop)"),
        (TxtAnswer("found", (b"",)), "not a key record"),
    ],
)  # fmt: skip
def test_key_problem(answer: TxtAnswer, words: str) -> None:
    """The key must be the same; flags, notes and spelling may differ."""
    found = key_problem(WANTED, answer)

    assert words in found if words else found == ""
    assert found == "" or found.startswith("s1._domainkey.example.org: ")


@pytest.mark.parametrize(
    "answer,strict",
    [
        (TxtAnswer("found", (b"o=-",)), True),
        (TxtAnswer("found", (b"t=y; o=-; n=x",)), True),
        (TxtAnswer("found", (b"o=~",)), False),
        (TxtAnswer("found", (b"v=spf1 -all", b"o=-")), True),
        (TxtAnswer("found", (b"garbage",)), False),
        (ABSENT, False),
        (TxtAnswer("failed"), False),
        (TxtAnswer("broken"), False),
    ],
)
def test_signs_all(answer: TxtAnswer, strict: bool) -> None:
    """Only a published o=- promises signatures; what is not known promises nothing."""
    assert strict == signs_all(answer)
