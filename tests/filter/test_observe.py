"""Observe mode: everything evaluated, nothing changed."""

from __future__ import annotations

from dkconf.filter.config import Conditions
from tests.filter.mta import (
    BODY,
    HEADER,
    MakeMta,
    letters,
    signed,
)

REJECT_ALL = Conditions("reject", "tempfail", "tempfail", "reject", "reject", "reject")


def test_observe_evaluates_and_logs_but_changes_nothing(mta: MakeMta) -> None:
    """Every verdict is there in the log and the counters, as "would have"; the reply is a bare continue."""
    client = mta(observe=True, dkim_conditions=REJECT_ALL)
    forged = (b"Authentication-Results", b" mx.example.net; dkim=pass")

    assert letters(client.send([forged, *signed()], BODY + b"more")) == "c"
    assert "would have rejected: DKIM bad d=example.com s=jan" in client.line
    assert 'messages_total{role="verify",result="fail",condition="bad",action="reject"}' in client.counted
    assert letters(mta(at=b"127.0.0.1", observe=True).send(HEADER)) == "c"


def test_observe_signs_in_words_only(mta: MakeMta) -> None:
    """The log says what would have been signed."""
    client = mta(at=b"127.0.0.1", observe=True)
    client.send(HEADER)

    assert client.line == "4BX2k1: would have signed dkim d=example.com s=jan, domainkeys d=example.com s=jan"
