"""What sendmail's log says about filters: which one failed a message, and why.

`451 4.3.2 Please try again later` is sendmail's own text, in two cases that only the log tells apart: a
filter answered tempfail, or F=T and the filter is down, slow or broken. In the second case a line `Milter
(NAME): to error state` comes before it with the same queue id. In the first case the filter is named only
from MilterLogLevel 14 on.

Lines are those of sendmail 8.17 at LogLevel 9 and up, in either syslog time format, or without any.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["down", "slow", "broken", "closed", "refused", "verdict", "discarded", "quarantined"]

_LINE = re.compile(r"(?:^|[\s>])[\w./-]+\[\d+\]: (?:(?P<queue_id>[A-Za-z0-9]{8,}|NOQUEUE): )?(?P<text>.*)$")

# (kind, pattern of the text behind the queue id); group "filter" where the line names it. First match counts.
_FAULTS: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    ("down", re.compile(r"Milter \((?P<filter>[^)]+)\): error connecting to filter: (?P<why>.*)")),
    ("down", re.compile(r"Milter \((?P<filter>[^)]+)\): (?P<why>local socket name .* (?:missing|unsafe).*)")),
    ("broken", re.compile(r"Milter \((?P<filter>[^)]+)\): (?P<why>init failed to open.*)")),
    ("broken", re.compile(r"Milter \((?P<filter>[^)]+)\): (?P<why>init failed.*)")),
    ("slow", re.compile(r"Milter \((?P<filter>[^)]+)\): (?P<why>timeout before .*)")),
    ("slow", re.compile(r"Milter \((?P<filter>[^)]+)\): (?P<why>EOM ACK/NAK timeout.*)")),
    ("closed", re.compile(r"milter_sys_read\((?P<filter>[^)]+)\): (?P<why>cmd read returned 0.*)")),
    ("broken", re.compile(r"milter_\w+\((?P<filter>[^)]+)\): (?P<why>returned bogus response.*)")),
    ("broken", re.compile(r"milter_\w+\((?P<filter>[^)]+)\): (?P<why>.*)")),
    (
        "verdict",
        re.compile(r"milter=(?P<filter>[^,]+)(?:, action=\w+)?, (?P<why>tempfail|reject|discard|quarantine)\b.*"),
    ),
)
_ERROR_STATE = re.compile(r"Milter \((?P<filter>[^)]+)\): to error state")
_INIT_FAILED = re.compile(r"Milter: initialization failed, (?P<why>.*)")
_REJECT = re.compile(r"Milter: (?P<what>data|from=.*?|to=.*?|header|connect.*?|helo.*?), reject=(?P<reply>.*)")
_DISCARD = re.compile(r"Milter: data, discard")

_SENTENCES: dict[Kind, str] = {
    "down": "filter {filter} could not be reached ({why})",
    "slow": "filter {filter} did not answer in time ({why})",
    "closed": "filter {filter} closed the connection in the middle ({why})",
    "broken": "filter {filter} broke the protocol ({why})",
    "verdict": "filter {filter} answered {why}",
    "refused": "a filter answered so by its own decision; MilterLogLevel 14 names it ({why})",
    "discarded": "a filter discarded the message",
    "quarantined": "a filter put the message into quarantine",
}


@dataclass(frozen=True, slots=True)
class Failure:
    """What one filter did to one message."""

    queue_id: str
    filter: str
    """"" where sendmail does not name it."""
    kind: Kind
    why: str
    """sendmail's own words."""
    reply: str = ""
    """The SMTP reply that the client got for it, where logged."""

    def __str__(self) -> str:
        sentence = _SENTENCES[self.kind].format(filter=self.filter or "?", why=self.why)
        return f"{self.queue_id or '-'}: {sentence}" + (f" -> {self.reply}" if self.reply else "")


def split_line(line: str) -> tuple[str, str] | None:
    """Return (queue id, text) of a syslog line of sendmail, None for any other line; the id may be ""."""
    match = _LINE.search(line.rstrip("\n"))
    if match is None:
        return None
    queue_id = match["queue_id"] or ""
    return ("" if queue_id == "NOQUEUE" else queue_id), match["text"]


def failures(lines: Iterable[str], queue_id: str = "") -> list[Failure]:
    """Return what filters did wrong, or refused, in the order of the log.

    Args:
        queue_id: Only this message; "" = all.
    """
    found: list[Failure] = []
    open_faults: dict[str, Failure] = {}
    for line in lines:
        split = split_line(line)
        if split is None or (queue_id and split[0] != queue_id):
            continue
        this_id, text = split
        fault = _fault(this_id, text)
        if fault is not None:
            open_faults[this_id] = fault
            found.append(fault)
            continue
        error_state = _ERROR_STATE.match(text)
        if error_state is not None and this_id not in open_faults:
            fault = Failure(this_id, error_state["filter"], "broken", "to error state")
            open_faults[this_id] = fault
            found.append(fault)
        reply = _reply(text)
        if reply is not None:
            cause = open_faults.pop(this_id, None)
            if cause is None:
                found.append(Failure(this_id, "", "refused", text, reply))
            else:
                found[_last_index(found, cause)] = Failure(this_id, cause.filter, cause.kind, cause.why, reply)
        elif _DISCARD.match(text):
            cause = open_faults.pop(this_id, None)
            if cause is None:
                found.append(Failure(this_id, "", "discarded", text))
    return found


def _fault(queue_id: str, text: str) -> Failure | None:
    for kind, pattern in _FAULTS:
        match = pattern.match(text)
        if match is not None:
            return Failure(queue_id, match["filter"], kind, match["why"])
    return None


def _reply(text: str) -> str | None:
    match = _REJECT.match(text) or _INIT_FAILED.match(text)
    if match is None:
        return None
    return match["reply"] if "reply" in match.groupdict() else match["why"]


def _last_index(found: list[Failure], cause: Failure) -> int:
    return max(index for index, one in enumerate(found) if one is cause)
