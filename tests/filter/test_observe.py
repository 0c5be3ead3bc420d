"""Observe mode: everything evaluated, nothing changed."""

from __future__ import annotations

import pytest

from dkconf.filter.config import Conditions, KeyEntry
from dkconf.filter.report import summary
from tests.filter.mta import (
    BODY,
    HEADER,
    MakeMta,
    letters,
    make_settings,
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


@pytest.mark.parametrize(
    "action, words",
    [("tempfail", "would have tempfailed"), ("reject", "would have rejected"), ("accept", "accept")],
)
def test_observe_only_would_have_refused_for_a_fault_of_ours(
    mta: MakeMta, monkeypatch: pytest.MonkeyPatch, action: str, words: str
) -> None:
    """The log says that nothing was refused, and so do its structured fields."""
    monkeypatch.setattr("dkconf.filter.message.Message.finish", lambda *args: 1 / 0)
    conditions = {f"{name}_conditions": Conditions(int=action) for name in ("dkim", "domainkeys")}  # type: ignore[arg-type]
    client = mta(observe=True, **conditions)

    assert letters(client.send([(b"Authentication-Results", b" mx.example.net; dkim=pass"), *HEADER])) == "c"
    assert client.log[0] == (3, f"4BX2k1: {words}: int (internal error: ZeroDivisionError: division by zero)")
    assert client.logged[0]["observe"] is True
    assert client.logged[0]["action"] == action
    assert client.logged[0]["reason"] == "internal error: ZeroDivisionError: division by zero"


def test_a_connection_that_began_under_observe_ends_under_it(mta: MakeMta) -> None:
    """A reload took `observe` away: this MTA was told that nothing would be changed; the next one hears otherwise."""
    client = mta(observe=True, dkim_conditions=REJECT_ALL)
    client.session.engine = mta(dkim_conditions=REJECT_ALL).engine
    forged = (b"Authentication-Results", b" mx.example.net; dkim=pass")

    assert letters(client.send([forged, *signed()])) == "c"
    assert letters(client.send([forged, *signed()], BODY + b"more")) == "c"
    assert "would have rejected: DKIM bad" in client.line
    client.session.negotiate(*client.offer)
    assert letters(client.send([forged, *signed()])) == "mic"


def test_what_a_filter_does_in_a_few_words() -> None:
    """Observe is named last, where it cannot be overlooked; a host may have ten thousand domains."""
    many = tuple(KeyEntry(f"{n}.example", "s", "/k/rsa", ("dkim",)) for n in range(5))

    assert summary(make_settings()) == "signs for example.com (dkim, domainkeys), verifies"
    assert summary(make_settings(keys=())) == "signs nothing, verifies"
    assert summary(make_settings(roles=("verify",))) == "signs nothing, verifies"
    assert summary(make_settings(roles=("sign",), keys=many)) == (
        "signs for 0.example, 1.example, 2.example and 2 more (dkim)"
    )
    assert summary(make_settings(observe=True)).endswith(", verifies; only observes: changes and refuses nothing")
