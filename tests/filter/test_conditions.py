"""Conditions and their actions: dkconf/filter/policy.py and incoming.py."""

from __future__ import annotations

import pytest

from dkconf.filter.config import Conditions, KeyEntry
from dkconf.mail.lookup import ABSENT, TxtAnswer
from tests.filter.mta import (
    BODY,
    HEADER,
    TIMEOUT,
    Fields,
    MakeMta,
    arrived,
    found,
    letters,
    results,
    signed,
)

BOTH = ("dkim", "domainkeys")


ABSENT_KEY = {b"jan._domainkey.example.com": ABSENT}
NO_ANSWER = {b"jan._domainkey.example.com": TIMEOUT}
REVOKED = {b"jan._domainkey.example.com": found(b"v=DKIM1; p=")}
UNDECODABLE = {b"jan._domainkey.example.com": found(b"v=DKIM1; p=!!!!")}
SIGNS_ALL = {b"_domainkey.example.com": found(b"o=-")}
TESTING_POLICY = {b"_domainkey.example.com": found(b"o=-; t=y")}
BROKEN_BODY = BODY + b"more\r\n"
CAUSES = [
    ("bad", "body", signed(), BROKEN_BODY, {}),
    ("bad", "absent key", signed(), BODY, ABSENT_KEY),
    ("bad", "revoked key", signed(), BODY, REVOKED),
    ("bad", "undecodable key", signed(), BODY, UNDECODABLE),
    ("dns", "no answer", signed(), BODY, NO_ANSWER),
    ("no", "unsigned", HEADER, BODY, {}),
]
ACTIONS = {
    "accept": ("ic", b""),
    "reject": ("y", b"550 5.7."),
    "tempfail": ("y", b"451 4.7.0 "),
    "discard": ("d", b""),
    "quarantine": ("iqc", b""),
}


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("scheme", BOTH)
@pytest.mark.parametrize("condition, cause, fields, body, answers", CAUSES)
def test_each_condition_gets_its_action_in_each_scheme(
    mta: MakeMta,
    condition: str,
    cause: str,
    fields: Fields,
    body: bytes,
    answers: dict[bytes, TxtAnswer],
    scheme: str,
    action: str,
) -> None:
    """bad, dns and no, by their causes: the table of the scheme decides, and the reply text says why."""
    accept = Conditions("accept", "accept", "accept", "accept", "accept", "accept")
    tables = {f"{name}_conditions": accept for name in BOTH}
    tables[f"{scheme}_conditions"] = Conditions(**{**_dict(accept), condition: action})  # type: ignore[arg-type]
    client = mta(answers=answers, **tables)
    edits = client.send(fields, body)
    expected, code = ACTIONS[action]

    assert letters(edits) == expected
    if code:
        text = edits[-1].value
        name = {"dkim": b"DKIM", "domainkeys": b"DomainKeys"}[scheme]
        assert text.startswith(code)
        assert b"dkconf-filter: " in text
        assert name + b" " + condition.encode() in text
    if action != "accept":
        words = client.line.removeprefix(f"4BX2k1: {action}: ")
        assert words.startswith({"dkim": "DKIM", "domainkeys": "DomainKeys"}[scheme] + " " + condition)
        if condition != "no":
            assert "d=example.com s=jan (" in words


def _dict(table: Conditions) -> dict[str, object]:
    return {name: getattr(table, name) for name in ("bad", "dns", "int", "no", "miss", "sec")}


REJECT_ALL = Conditions("reject", "tempfail", "tempfail", "reject", "reject", "reject")
ACCEPT_ALL = Conditions("accept", "accept", "accept", "accept", "accept", "accept")


def test_miss_needs_a_policy_that_signs_all(mta: MakeMta) -> None:
    """Unsigned with o=- is `miss`, without it `no`."""
    table = Conditions("accept", "accept", "accept", "accept", "reject", "accept")
    client = mta(answers=SIGNS_ALL, domainkeys_conditions=table, dkim_conditions=ACCEPT_ALL)

    assert client.send(HEADER)[-1].value == (
        b"550 5.7.0 dkconf-filter: message not signed, though its domain signs all mail:"
        b" DomainKeys miss d=example.com (policy o=-: all mail is signed)"
    )
    assert client.asked == [b"_domainkey.example.com"]
    assert letters(mta(domainkeys_conditions=table, dkim_conditions=ACCEPT_ALL).send(HEADER)) == "ic"


def test_policy_in_test_mode_refuses_nothing(mta: MakeMta) -> None:
    """t=y in the policy: unverified mail is handled like verified mail, signed badly or not at all."""
    client = mta(answers=TESTING_POLICY, domainkeys_conditions=REJECT_ALL, dkim_conditions=ACCEPT_ALL)

    assert results(client.send(HEADER)) == ["dkim=none", "domainkeys=neutral"]
    assert results(client.send(signed(schemes=("domainkeys",)), BROKEN_BODY)) == ["dkim=none", "domainkeys=fail"]


def test_key_in_test_mode(mta: MakeMta) -> None:
    """DomainKeys: never refused. DKIM: a failing signature counts as none, so `no` acts and `bad` does not."""
    fields = signed(selector="test")
    lenient = mta(domainkeys_conditions=REJECT_ALL, dkim_conditions=Conditions("reject", no="accept", miss=None))
    strict = mta(domainkeys_conditions=REJECT_ALL, dkim_conditions=Conditions("accept", no="reject", miss=None))

    assert results(lenient.send(fields, BROKEN_BODY)) == ["dkim=fail", "domainkeys=fail"]
    assert b"DKIM no" in strict.send(fields, BROKEN_BODY)[-1].value
    assert results(strict.send(fields)) == ["dkim=pass", "domainkeys=pass"]


def test_a_dkim_pass_satisfies_domainkeys_no_and_miss(mta: MakeMta) -> None:
    """Nobody signs DomainKeys any more: without this rule `no=reject` would refuse all good mail."""
    fields = signed(schemes=("dkim",))
    client = mta(answers=SIGNS_ALL, domainkeys_conditions=REJECT_ALL, dkim_conditions=REJECT_ALL)

    assert results(client.send(fields)) == ["dkim=pass", "domainkeys=none"]
    assert client.asked == [b"jan._domainkey.example.com"]
    assert b"550 5.7.20" in client.send(fields, BROKEN_BODY)[-1].value


def test_domainkeys_no_waits_for_a_dkim_key_that_did_not_answer(mta: MakeMta) -> None:
    """A DKIM signature may yet pass: the message is deferred, not refused."""
    client = mta(answers=NO_ANSWER, domainkeys_conditions=REJECT_ALL, dkim_conditions=REJECT_ALL)

    assert client.send(signed(schemes=("dkim",)))[-1].value.startswith(b"451 4.7.0 dkconf-filter: ")


def test_a_failed_policy_lookup_defers_only_where_it_matters(mta: MakeMta) -> None:
    """`dns` if no and miss differ; otherwise the answer could change nothing."""
    answers = {b"_domainkey.example.com": TIMEOUT}
    differ = Conditions(no="accept", miss="reject")

    assert letters(mta(answers=answers, domainkeys_conditions=differ).send(HEADER)) == "y"
    assert letters(mta(answers=answers).send(HEADER)) == "ic"


def test_the_top_most_fitting_signature_decides(mta: MakeMta) -> None:
    """A pass is enough; of several that fail, the top-most of the sender's own domain counts."""
    good = signed(schemes=("dkim",))
    other = (b"DKIM-Signature", good[0][1].replace(b"d=example.com", b"d=list.example"))
    bad = (b"DKIM-Signature", good[0][1].replace(b"s=jan", b"s=feb"))
    client = mta(dkim_conditions=REJECT_ALL, domainkeys_conditions=ACCEPT_ALL)

    assert results(client.send([other, bad, *good])) == ["dkim=permerror", "dkim=permerror", "dkim=pass",
                                                         "domainkeys=none"]  # fmt: skip
    assert b"d=example.com s=feb" in client.send([other, bad, *HEADER])[-1].value
    assert b"d=list.example s=jan" in client.send([other, *HEADER])[-1].value


def test_header_b_tells_signatures_apart(mta: MakeMta) -> None:
    """RFC 6008: with several DKIM signatures each result names the start of its b=."""
    keys = (KeyEntry("example.com", "jan", "/k/rsa"), KeyEntry("example.com", "ed", "/k/ed"))
    edits = mta().send(arrived(HEADER, mta(at=b"127.0.0.1", keys=keys).send(HEADER)))

    assert edits[-2].value.count(b"header.b=") == 2


def test_minus_q_quarantines_what_fails(mta: MakeMta) -> None:
    """dk-filter's -q: `bad` that would be accepted is quarantined, with the reason."""
    edits = mta(quarantine=True).send(signed(), BROKEN_BODY)

    assert letters(edits) == "iqc"
    assert edits[1].value == (
        b"dkconf-filter: signature not acceptable: DKIM bad d=example.com s=jan (body hash did not verify)"
    )


@pytest.mark.parametrize(
    "fields, words",
    [
        (HEADER[1:], b"no From field"),
        ([HEADER[0], *HEADER], b"more than one From field"),
        ([(b"From", b" undisclosed"), *HEADER[1:]], b"no usable address in From"),
        ([(b"Sender", b" nobody"), *HEADER], b"no usable address in Sender"),
    ],
)
def test_an_unusable_from_goes_through_the_table(mta: MakeMta, fields: Fields, words: bytes) -> None:
    """Never signed, never simply accepted: `no` where it is unsigned."""
    table = Conditions(no="reject", miss=None)
    client = mta(at=b"127.0.0.1", dkim_conditions=table)

    edits = client.send(fields)
    assert letters(edits) == "y"
    assert words in edits[-1].value
    assert letters(mta(at=b"127.0.0.1").send(fields)) == "ic"


def test_a_second_from_spoils_a_dkim_pass(mta: MakeMta) -> None:
    """Without oversigning a From can be added above a good signature: then it is `bad`."""
    fields = signed(schemes=("dkim",))
    signature = fields[0][1]
    assert b"from:from" in signature
    client = mta(dkim_conditions=REJECT_ALL, domainkeys_conditions=ACCEPT_ALL)

    assert b"DKIM bad" in client.send([(b"From", b" ceo@bank.example"), *fields])[-1].value


def test_reply_text_doubles_percent_signs(mta: MakeMta) -> None:
    """sendmail replaces a text with a lone % by its default."""
    answers = {b"jan._domainkey.example.com": TxtAnswer("failed", reason="100% lost\r\n250 ok")}
    edits = mta(answers=answers).send(signed())

    assert b"100%% lost??250 ok" in edits[-1].value
