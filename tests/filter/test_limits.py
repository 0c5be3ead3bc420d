"""Headers over the limits, and faults of ours."""

from __future__ import annotations

import pytest

from dkconf.filter.config import Conditions
from tests.filter.mta import (
    HEADER,
    TIMEOUT,
    Fields,
    MakeMta,
    arrived,
    letters,
    signed,
)

ACCEPT_ALL = Conditions("accept", "accept", "accept", "accept", "accept", "accept")
FORGED = (b"Authentication-Results", b" mx.example.net; dkim=pass")
OTHERS = (b"Authentication-Results", b" list.example; dkim=pass")
HIDING = (b"X", b" x\rAuthentication-Results: mx.example.net; dkim=pass")


def all_of(action: str, condition: str) -> dict[str, Conditions]:
    """Settings: this action for one condition, in both schemes."""
    return {f"{name}_conditions": Conditions(**{condition: action}) for name in ("dkim", "domainkeys")}  # type: ignore[arg-type]


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize(
    "fields, reason",
    [
        ([*HEADER, (b"X-Big", b"x" * 300_000)], "300159 octets of header, 262144 at most"),
        ([(b"X-Big", b"x" * 300_000), *HEADER, *[(b"X", b"y")] * 1001], "305164 octets of header, 262144 at most"),
        ([*HEADER, *[(b"X", b"y")] * 1001], "1006 header fields, 1000 at most"),
    ],
)
def test_a_header_over_the_limits_is_sec(mta: MakeMta, fields: Fields, reason: str, together: bool) -> None:
    """Answered at the end of the message: which limit, how much there was, what is legal."""
    client = mta()
    edits = client.send(fields, at_once=together)

    assert letters(edits) == "y"
    assert edits[0].value == b"451 4.3.4 dkconf-filter: header too large: DKIM sec (%b)" % reason.encode()
    assert client.line == f"4BX2k1: tempfail: DKIM sec ({reason})"


@pytest.mark.parametrize(
    "action, reply, text",
    [
        ("tempfail", "y", b"451 4.3.4 "),
        ("reject", "y", b"552 5.3.4 "),
        ("quarantine", "qc", b""),
        ("discard", "d", None),
        ("accept", "c", None),
    ],
)
def test_who_sends_too_large_a_header_learns_the_limit(
    mta: MakeMta, action: str, reply: str, text: bytes | None
) -> None:
    """552 as sendmail has it for its own limit; a reason for the quarantine too; the log says it in any case."""
    client = mta(header_fields=10, **all_of(action, "sec"))
    edits = client.send([*HEADER, *[(b"X", b"y")] * 7])
    reason = "12 header fields, 10 at most"

    assert letters(edits) == reply
    if text is not None:
        assert edits[0].value == text + b"dkconf-filter: header too large: DKIM sec (%b)" % reason.encode()
    assert reason in client.line


@pytest.mark.parametrize("action, code", [("tempfail", b"451 "), ("reject", b"550 "), ("quarantine", b"")])
@pytest.mark.parametrize(
    "condition, fields, why",
    [
        ("bad", signed(schemes=("domainkeys",), selector="feb"), b"DomainKeys bad d=example.com s=feb (no key)"),
        ("dns", signed(), b"DKIM dns d=example.com s=jan (key unavailable: timeout)"),
        ("no", HEADER[1:], b"DKIM no (no From field)"),
    ],
)
def test_every_refusal_says_why(
    mta: MakeMta, action: str, code: bytes, condition: str, fields: Fields, why: bytes
) -> None:
    """The filter's name, the condition, the signature and the reason: nobody has to guess who refused."""
    answers = {b"jan._domainkey.example.com": TIMEOUT} if condition == "dns" else {}
    edits = mta(answers=answers, **all_of(action, condition)).send(fields)
    text = next(edit.value for edit in edits if edit.letter in "yq")

    assert text.startswith(code)
    assert b"dkconf-filter: " in text
    assert text.endswith(why)


def test_a_large_header_hides_no_forged_result(mta: MakeMta) -> None:
    """Even where `sec` accepts, fields that claim our name are removed."""
    fields = [(b"X-Big", b"x" * 300_000), (b"Authentication-Results", b" mx.example.net; dkim=pass"), *HEADER]
    edits = mta(dkim_conditions=ACCEPT_ALL, domainkeys_conditions=ACCEPT_ALL).send(fields)

    assert letters(edits) == "mc"


@pytest.mark.parametrize("action", ["accept", "quarantine"])
def test_as_many_forged_results_as_fields_are_removed(mta: MakeMta, action: str) -> None:
    """None is left in a message that somebody may read; those of others stay."""
    fields = [*HEADER, *[FORGED, OTHERS] * 1000]
    edits = mta(**all_of(action, "sec")).send(fields)

    assert letters(edits) == "m" * 1000 + {"accept": "c", "quarantine": "qc"}[action]
    assert arrived(fields, edits) == [*HEADER, *[OTHERS] * 1000]


@pytest.mark.parametrize("action", ["accept", "quarantine"])
def test_more_forged_results_than_can_be_removed_are_refused(mta: MakeMta, action: str) -> None:
    """What is kept of them is bounded, so that a flood would hide the last: such a message is never let through."""
    client = mta(domainkey_status=True, **all_of(action, "sec"))
    edits = client.send([*HEADER, *[FORGED] * 1000, (b"DomainKey-Status", b" good")])
    reason = "1001 header fields with forged results, 1000 at most are removed"

    assert letters(edits) == "y"
    assert edits[0].value == b"552 5.3.4 dkconf-filter: header too large: DKIM sec (%b)" % reason.encode()
    assert client.line == f"4BX2k1: reject: DKIM sec ({reason})"


@pytest.mark.parametrize("fields", [[HIDING] * 17, [(b"X-Big", b"x" * 300_000), HIDING]])
def test_hidden_results_that_cannot_be_removed_are_refused(mta: MakeMta, fields: Fields) -> None:
    """More of them than anybody could send by mistake, or in a header of which not all is kept."""
    edits = mta(**all_of("accept", "sec")).send([*fields, *HEADER])

    assert letters(edits) == "y"


def test_a_flood_of_forged_results_takes_no_memory(mta: MakeMta) -> None:
    """A hundred thousand of them: a thousand are kept in mind."""
    client = mta(**all_of("accept", "sec"))
    client.session.headers([FORGED] * 100_000)
    message = client.session._message

    assert message is not None
    assert len(message.removals) == 1000
    assert client.session.end_of_headers() is None
    assert b"100000 header fields with forged results" in client.session.end_of_message(None, {})


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
    assert edits[0].value == b"451 4.3.0 dkconf-filter: internal error: DKIM int (internal error: ZeroDivisionError)"
    assert client.log[0] == (3, "4BX2k1: tempfail: int (internal error: ZeroDivisionError: secret detail)")
    assert any("Traceback" in line for _, line in client.log)
    assert client.logged[0]["observe"] is False
    assert client.counted[-1].endswith('condition="int",action="tempfail"}')


@pytest.mark.parametrize("action", ["accept", "quarantine"])
def test_a_fault_of_ours_lets_no_forged_result_pass(mta: MakeMta, action: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where `int` delivers, what claims our name is removed all the same."""
    monkeypatch.setattr("dkconf.filter.message.Message.decide", lambda *args: 1 / 0)
    edits = mta(**all_of(action, "int")).send([FORGED, *HEADER, FORGED])

    assert [edit.index for edit in edits if edit.letter == "m"] == [2, 1]
    assert letters(edits) == {"accept": "mmc", "quarantine": "mmqc"}[action]


@pytest.mark.parametrize("action", ["accept", "quarantine"])
def test_a_fault_among_the_header_fields_is_never_let_through(
    mta: MakeMta, action: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The field that we could not read may be a forged result: the message has to come again."""
    monkeypatch.setattr("dkconf.filter.message.claims", lambda *args: 1 / 0)
    client = mta(**all_of(action, "int"))
    edits = client.send([*HEADER, FORGED, *HEADER])

    assert letters(edits) == "y"
    assert edits[0].value.startswith(b"451 4.3.0 dkconf-filter: internal error: DKIM int (")
    assert client.log[0] == (3, "4BX2k1: tempfail: int (internal error: ZeroDivisionError: division by zero)")
    assert letters(client.send(HEADER)) == "ic"


def test_the_session_goes_on_after_a_fault(mta: MakeMta, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next message on the connection is signed."""
    client = mta(at=b"127.0.0.1")
    with monkeypatch.context() as patch:
        patch.setattr("dkconf.filter.message.Message.feed", lambda *args: 1 / 0)
        assert letters(client.send(HEADER)) == "y"

    assert letters(client.send(HEADER)) == "iic"
