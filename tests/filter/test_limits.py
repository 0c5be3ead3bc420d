"""Headers over the limits, and faults of ours."""

from __future__ import annotations

import pytest

from dkconf.filter.config import Conditions
from tests.filter.mta import (
    HEADER,
    Fields,
    MakeMta,
    letters,
)

ACCEPT_ALL = Conditions("accept", "accept", "accept", "accept", "accept", "accept")


@pytest.mark.parametrize(
    "fields, reason",
    [
        ([*HEADER, (b"X-Big", b"x" * 300_000)], "over 262144 octets of header"),
        ([*HEADER, *[(b"X", b"y")] * 1001], "over 1000 header fields"),
    ],
)
def test_a_header_over_the_limits_is_sec(mta: MakeMta, fields: Fields, reason: str) -> None:
    """Answered at the end of the message, with a text that names the limit; nothing is kept meanwhile."""
    client = mta()
    edits = client.send(fields)

    assert letters(edits) == "y"
    assert edits[0].value == b"451 4.7.0 dkconf-filter: header too large: DKIM sec (%b)" % reason.encode()
    assert client.line == f"4BX2k1: tempfail: DKIM sec ({reason})"


def test_a_large_header_hides_no_forged_result(mta: MakeMta) -> None:
    """Even where `sec` accepts, fields that claim our name are removed."""
    fields = [(b"X-Big", b"x" * 300_000), (b"Authentication-Results", b" mx.example.net; dkim=pass"), *HEADER]
    edits = mta(dkim_conditions=ACCEPT_ALL, domainkeys_conditions=ACCEPT_ALL).send(fields)

    assert letters(edits) == "mc"


@pytest.mark.parametrize("where", ["end_of_headers", "body", "end_of_message"])
def test_a_fault_of_ours_is_int(mta: MakeMta, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any exception inside is answered by the `int` action, and logged with its traceback."""

    def broken(*args: object, **more: object) -> object:
        raise ZeroDivisionError("secret detail")

    method = {"end_of_headers": "decide", "body": "feed", "end_of_message": "finish"}[where]
    monkeypatch.setattr(f"dkconf.filter.message.Message.{method}", broken)
    client = mta(at=b"127.0.0.1")
    edits = client.send(HEADER)

    assert letters(edits) == "y"
    assert edits[0].value == b"451 4.7.0 dkconf-filter: internal error: DKIM int (internal error: ZeroDivisionError)"
    assert client.log[0] == (3, "4BX2k1: tempfail: int (internal error: ZeroDivisionError: secret detail)")
    assert any("Traceback" in line for _, line in client.log)
    assert client.counted[-1].endswith('condition="int",action="tempfail"}')


def test_the_session_goes_on_after_a_fault(mta: MakeMta, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next message on the connection is signed."""
    client = mta(at=b"127.0.0.1")
    with monkeypatch.context() as patch:
        patch.setattr("dkconf.filter.message.Message.feed", lambda *args: 1 / 0)
        assert letters(client.send(HEADER)) == "y"

    assert letters(client.send(HEADER)) == "iic"
