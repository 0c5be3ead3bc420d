"""What is told of a message: its log line with the same in fields, and the names of the counters it adds to. Pure."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

from dkconf.filter.config import Settings
from dkconf.filter.message import Message, Result
from dkconf.filter.policy import Decision, Finding
from dkconf.filter.results import log_words, printable
from dkconf.mail.verdict import Verdict

ERR, WARNING, NOTICE, INFO = 3, 4, 5, 6
"""Priorities of syslog(3)."""

_WOULD_HAVE: Final = {
    "reject": "would have rejected",
    "tempfail": "would have tempfailed",
    "discard": "would have discarded",
    "quarantine": "would have quarantined",
}
_SHOWN_DOMAINS: Final = 3
_NO_FINDING: Final = Finding("")


def summary(settings: Settings) -> str:
    """What a filter with `settings` does, in a few words for the log at start and reload."""
    domains = list(dict.fromkeys(entry.domain for entry in settings.keys)) if "sign" in settings.roles else []
    schemes = dict.fromkeys(scheme for entry in settings.keys for scheme in entry.schemes)
    names = ", ".join(domains[:_SHOWN_DOMAINS])
    more = len(domains) - _SHOWN_DOMAINS
    names += f" and {more} more" if more > 0 else ""
    words = [f"signs for {names} ({', '.join(schemes)})" if domains else "signs nothing"]
    words += ["verifies"] if "verify" in settings.roles else []
    return ", ".join(words) + ("; only observes: changes and refuses nothing" if settings.observe else "")


class Line(NamedTuple):
    """A log line; `fields` say the same as `text`, for structured logs."""

    priority: int
    text: str
    fields: Mapping[str, Any]


def message_line(message: Message, result: Result, queue_id: str, observe: bool, stranger: str) -> Line:
    """The one line of a message.

    Args:
        stranger: A host that is not ours, if the message uses a domain of ours and that is to be told; else "".
    """
    decision, outcome = result.decision, result.outcome
    words: list[str] = []
    priority = INFO
    if decision.action != "accept" and decision.finding is not None:
        act = _WOULD_HAVE[decision.action] if observe else decision.action
        words.append(f"{act}: {printable(decision.finding.why())}")
        priority = NOTICE
    if stranger:
        words.append(f"external host {printable(stranger)} attempted to send as {printable(message.attempted)}")
        priority = NOTICE
    if message.signing is not None:
        signed = ", ".join(message.signing.names) or "by nothing"
        words.append(f"{'would have signed' if observe else 'signed'} {signed}")
        warning = "; ".join([*message.signing.problems, message.warning()]).rstrip("; ")
        if warning:
            words.append(warning)
            priority = WARNING
    if outcome is not None:
        if message.note and message.note != outcome.sender_fault and message.signing is None:
            words.append(f"not signed ({printable(message.note)})")
        words.append(log_words(outcome))
    if not words:
        words.append(f"left alone ({printable(message.note or message.excess or 'nothing to do')})")
    _, condition, reason, domain, selector = decision.finding or _NO_FINDING
    return Line(
        priority,
        f"{queue_id}: {'; '.join(words)}",
        {
            "queue_id": queue_id,
            "action": decision.action,
            "condition": condition,
            "domain": domain,
            "selector": selector,
            "reason": reason,
            "observe": observe,
        },
    )


def fault_lines(error: BaseException, decision: Decision, queue_id: str, observe: bool) -> list[tuple[int, str, Any]]:
    """The lines of a fault of ours, as `Line` has them: what became of the message, then the traceback."""
    act = _WOULD_HAVE.get(decision.action, decision.action) if observe else decision.action
    reason = f"internal error: {type(error).__name__}: {printable(str(error))}"
    trace = "".join(traceback.format_exception(error)).splitlines()
    fields = {
        "queue_id": queue_id,
        "action": decision.action,
        "condition": "int",
        "reason": reason,
        "observe": observe,
        "traceback": trace,
    }
    return [(ERR, f"{queue_id}: {act}: int ({reason})", fields), *((ERR, f"{queue_id}: | {t}", None) for t in trace)]


def message_counter(message: Message | None, verdicts: Sequence[Verdict] | None, condition: str, action: str) -> str:
    """The counter of a message; its result is `signed`, `pass` where any signature holds, else that of the first.

    Args:
        verdicts: None after a fault of ours: then there is no result.
    """
    role = result = "none"
    if message is not None and message.signing is not None:
        role = "sign"
        result = "none" if verdicts is None else "signed"
    elif message is not None and message.verification is not None:
        role = "verify"
        if verdicts:
            results = [verdict.result for verdict in verdicts]
            result = "pass" if "pass" in results else results[0]
    return _message_counter(role, result, condition, action)


# What is counted has few values: each name is made once.
@cache
def _message_counter(role: str, result: str, condition: str, action: str) -> str:
    return f'messages_total{{role="{role}",result="{result}",condition="{condition}",action="{action}"}}'


@cache
def signature_counter(scheme: str, result: str) -> str:
    """The counter of a signature."""
    return f'signatures_total{{scheme="{scheme}",result="{result}"}}'
