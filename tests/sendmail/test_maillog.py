"""Which filter failed a message and why, from sendmail's own log lines."""

from __future__ import annotations

import pytest

from dkconf.sendmail.maillog import failures, split_line

# What a filter did -> sendmail 8.17's lines behind `sendmail[PID]: ` at LogLevel 9 (14 where said).
EOM_TEMPFAIL = ["6AO6F82k010721: Milter: data, reject=451 4.3.2 Please try again later"]
EOM_TEMPFAIL_14 = [
    "6AO6Fu4o011039: milter=dk-filter, action=body, continue",
    "6AO6Fu4o011039: milter=dk-filter, tempfail",
    "6AO6Fu4o011039: Milter: data, reject=451 4.3.2 Please try again later",
]
MAIL_TEMPFAIL = ["6AO6F9B8010737: Milter: from=<mail-t@example.org>, reject=451 4.3.2 Please try again later"]
CLOSED = [
    "6AO6FEAP010835: milter_sys_read(dk-filter): cmd read returned 0, expecting 5",
    "6AO6FEAP010835: Milter (dk-filter): to error state",
    "6AO6FEAP010835: Milter: data, reject=451 4.3.2 Please try again later",
]
GARBAGE = [
    "6AO6FEZL010839: milter_data(dk-filter): returned bogus response Z",
    "6AO6FEZL010839: Milter (dk-filter): to error state",
]
HANG = [
    "6AO6FBih010821: Milter (dk-filter): timeout before data read, where=eom",
    "6AO6FBih010821: Milter (dk-filter): to error state",
    "6AO6FBih010821: Milter: data, reject=451 4.3.2 Please try again later",
]
DOWN_T = [
    "6AO6FB9P010815: Milter (dk-filter): error connecting to filter: Connection refused by localhost",
    "6AO6FB9P010815: Milter (dk-filter): to error state",
    "6AO6FB9P010815: Milter: initialization failed, temp failing commands",
]
DISCARD = ["6AO6F9Hg010729: Milter: data, discard", "6AO6F9Hg010729: discarded"]
FINE = [
    "6AO6F8jB010693: from=<ok@example.org>, size=247, class=0, nrcpts=1, proto=ESMTP, daemon=MTA, relay=localhost",
    "6AO6Fu3A011033: Milter (dk-filter): init success to negotiate",
    "6AO6Fu3A011033: Milter accept: message",
    "6AO6Fu3A011033: Milter (dk-filter) insert (1): header: DomainKey-Signature: a=rsa-sha1; q=dns",
]

CASES = [
    (EOM_TEMPFAIL, [("refused", "", "451 4.3.2 Please try again later")]),
    (EOM_TEMPFAIL_14, [("verdict", "dk-filter", "451 4.3.2 Please try again later")]),
    (MAIL_TEMPFAIL, [("refused", "", "451 4.3.2 Please try again later")]),
    (CLOSED, [("closed", "dk-filter", "451 4.3.2 Please try again later")]),
    (GARBAGE, [("broken", "dk-filter", "")]),
    (HANG, [("slow", "dk-filter", "451 4.3.2 Please try again later")]),
    (DOWN_T, [("down", "dk-filter", "temp failing commands")]),
    (DISCARD, [("discarded", "", "")]),
    (FINE, []),
]  # fmt: skip


def log(lines: list[str], prefix: str = "Nov 24 06:15:09 mx1 sm-mta[10721]: ") -> list[str]:
    return [prefix + line for line in lines]


@pytest.mark.parametrize("lines,expected", CASES)
def test_each_case(lines: list[str], expected: list[tuple[str, str, str]]) -> None:
    """One failure per case: its kind, the filter where it is named, the reply."""
    assert expected == [(f.kind, f.filter, f.reply) for f in failures(log(lines))]


def test_cases_mixed_up() -> None:
    """Lines of several messages at once are told apart by their queue ids."""
    mixed = [line for pair in zip(CLOSED, HANG, DOWN_T, strict=True) for line in pair]

    assert [("closed", "451"), ("slow", "451"), ("down", "temp")] == [
        (f.kind, f.reply.split()[0]) for f in failures(log(mixed))
    ]


def test_one_message_only() -> None:
    """With a queue id, other messages are left out."""
    assert ["slow"] == [f.kind for f in failures(log(CLOSED + HANG), "6AO6FBih010821")]


def test_sentence_begins_with_the_queue_id() -> None:
    """What is printed reads like a log line."""
    [found] = failures(log(HANG))

    assert str(found) == (
        "6AO6FBih010821: filter dk-filter did not answer in time (timeout before data read, where=eom) "
        "-> 451 4.3.2 Please try again later"
    )


@pytest.mark.parametrize(
    "prefix",
    ["Nov 24 06:15:09 sendmail[1]: ", "2026-11-24T06:15:09.123456+00:00 mx1 sm-mta[1]: ", "<22>sendmail[1]: ",
     "sendmail[1]: "],
)  # fmt: skip
def test_syslog_formats(prefix: str) -> None:
    """Old and new time stamps, or none."""
    assert ("6AO6F82k010721", "x: y") == split_line(prefix + "6AO6F82k010721: x: y\n")


def test_other_lines_are_none() -> None:
    """Lines of other programs, and lines without a queue id."""
    assert split_line("kernel: something") is None
    assert ("", "starting daemon (8.17.1.9): SMTP") == split_line("Nov 24 x[1]: starting daemon (8.17.1.9): SMTP")
    assert ("", "x") == split_line("Nov 24 x[1]: NOQUEUE: x")
