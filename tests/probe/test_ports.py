"""Two reports about the live ports: only what is worse than before counts."""

from __future__ import annotations

import pytest

from dkconf.probe.ports import PortReport, PortResult, worse
from dkconf.probe.smtp import Reply

GOOD = (("banner", 220), ("EHLO", 250), ("MAIL", 250), ("RCPT", 250), ("RSET", 250), ("QUIT", 221))


def report(*steps: tuple[str, int], port: str = "25", shallow: bool = False) -> PortReport:
    replies = tuple(Reply(step, code, f"{code} {step.lower()}") for step, code in steps)
    return PortReport((PortResult("MTA", port, replies, shallow),))


@pytest.mark.parametrize(
    "before,after,expected",
    [
        (GOOD, GOOD, []),
        # A filter that is down with F=T, F=R.
        (GOOD, (*GOOD[:2], ("MAIL", 451)), ["port 25 (MTA): MAIL: 451 mail (before: 250 mail)"]),
        (GOOD, (("banner", 554),), ["port 25 (MTA): banner: 554 banner (before: 220 banner)"]),
        (GOOD, (("banner", 0),), ["port 25 (MTA): banner: 0 banner (before: 220 banner)"]),
        # No DNS before and after; then DNS comes back, then it goes.
        ((*GOOD[:3], ("RCPT", 451)), (*GOOD[:3], ("RCPT", 451)), []),
        ((*GOOD[:3], ("RCPT", 451)), GOOD, []),
        (GOOD, (*GOOD[:3], ("RCPT", 451)), ["port 25 (MTA): RCPT: 451 rcpt (before: 250 rcpt)"]),
        ((*GOOD[:3], ("RCPT", 451)), (*GOOD[:3], ("RCPT", 550)), ["port 25 (MTA): RCPT: 550 rcpt (before: 451 rcpt)"]),
        # 530 on 587 stays 530; the filter's 451 before it is cured by a disable.
        ((*GOOD[:2], ("MAIL", 530)), (*GOOD[:2], ("MAIL", 530)), []),
        ((*GOOD[:2], ("MAIL", 451)), GOOD, []),
        # The earlier dialogue stopped at MAIL: what comes behind it now has nothing to be compared with.
        ((*GOOD[:2], ("MAIL", 451)), (*GOOD[:3], ("RCPT", 550)), []),
    ],
)  # fmt: skip
def test_worse(before: tuple[tuple[str, int], ...], after: tuple[tuple[str, int], ...], expected: list[str]) -> None:
    """A reply of a lower class than before at the same step, and nothing else."""
    assert expected == worse(report(*before), report(*after))


def test_a_new_port_must_accept() -> None:
    """There is no before for it."""
    assert [] == worse(report(*GOOD), report(*GOOD, port="2525"))
    assert 1 == len(worse(report(*GOOD), report(("banner", 554), port="2525")))


@pytest.mark.parametrize(
    ("after", "closed", "expected"),
    [
        ((("banner", 0),), {"MTA"}, 0),
        ((("banner", 0),), {"other"}, 1),
        ((("banner", 0),), set(), 1),
        # A port that takes the connection is not closed: what it says counts.
        ((("banner", 554),), {"MTA"}, 1),
        ((*GOOD[:2], ("MAIL", 451)), {"MTA"}, 1),
        ((*GOOD[:2], ("MAIL", 0)), {"MTA"}, 1),
    ],
)
def test_a_port_that_is_closed_because_of_load(
    after: tuple[tuple[str, int], ...], closed: set[str], expected: int
) -> None:
    """No connection to it is nothing worse; everything else is."""
    assert expected == len(worse(report(*GOOD), report(*after), closed))


def test_report_in_words() -> None:
    """One line per port: it accepts, or the first reply that is not a good one."""
    assert "port 25 (MTA): accepts" == str(report(*GOOD))
    assert "port 25 (MTA): MAIL: 451 mail" == str(report(*GOOD[:2], ("MAIL", 451)))
