"""The sendmail fragment: X lines as m4 calls, in call order, and confMILTER_*.

Source: cf/README "Milter" and sendmail's op.me; forms and traps observed with sendmail 8.17.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dkconf.desired.errors import NotRenderable
from dkconf.desired.state import MilterFilter
from dkconf.desired.templates import render
from dkconf.inventory.model import Filter, Milter, OnFailure, Timeouts

MAX_FILTERS: Final = 24
"""sendmail's MAXFILTERS is 25, and counts one more than it takes."""

_F_EQUATE: Final[dict[OnFailure, str]] = {"accept": "", "tempfail": "T", "reject": "R", "shutdown": "4"}
_STAGES: Final = ("connect", "helo", "envfrom", "envrcpt", "data", "eoh", "eom")
# sendmail's own lists (cfhead.m4): a macro that is there already is not added again.
_SENT_ALREADY: Final[dict[str, frozenset[str]]] = {
    "connect": frozenset(("j", "_", "{daemon_name}", "{if_name}", "{if_addr}")),
    "helo": frozenset(("{tls_version}", "{cipher}", "{cipher_bits}", "{cert_subject}", "{cert_issuer}")),
    "envfrom": frozenset(
        (
            "i",
            "{auth_type}",
            "{auth_authen}",
            "{auth_ssf}",
            "{auth_author}",
            "{mail_mailer}",
            "{mail_host}",
            "{mail_addr}",
        )
    ),
    "envrcpt": frozenset(("{rcpt_mailer}", "{rcpt_host}", "{rcpt_addr}")),
    "eom": frozenset(("{msg_id}",)),
}


@dataclass(frozen=True, slots=True)
class _Call:
    """One call in the template."""

    name: str
    equates: str
    enabled: bool


def duration(seconds: int) -> str:
    """`seconds` in sendmail's largest unit that divides it: 300 -> 5m, 90 -> 90s, 0 -> 0s."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def equates(socket: str, on_failure: OnFailure, timeouts: Timeouts) -> str:
    """S=, F= (where it says anything) and T= of an X line.

    Raises:
        NotRenderable: The socket holds a comma or blank, which would end the equate.
    """
    if re.search(r"[,\s]", socket) or not socket:
        raise NotRenderable(f"socket: {socket!a} cannot stand in S=; a comma or blank would end it")
    parts = [f"S={socket}"]
    if letter := _F_EQUATE[on_failure]:
        parts.append(f"F={letter}")
    times = (
        ("C", timeouts.connect),
        ("S", timeouts.send),
        ("R", timeouts.read),
        ("E", timeouts.end_of_message),
    )
    parts.append("T=" + ";".join(f"{letter}:{duration(seconds)}" for letter, seconds in times))
    return ", ".join(parts)


def milter_socket(spec: Filter) -> str:
    """`spec.socket` as the MTA needs it: it requires `@host`, where the filter may go without.

    IPv6 addresses stand in brackets, for sendmail reads a bare one as a name.
    """
    kind, colon, rest = spec.socket.partition(":")
    if not colon or kind not in ("inet", "inet6"):
        return spec.socket
    port, at, host = rest.partition("@")
    if not at:
        host = "127.0.0.1" if kind == "inet" else "[::1]"
    elif kind == "inet6" and ":" in host and not host.startswith("["):
        host = f"[{host}]"
    return f"{kind}:{port}@{host}"


def _added_macros(milter: Milter) -> list[tuple[str, tuple[str, ...]]]:
    """Per stage (in capitals, as cf.m4 writes it) the macros that sendmail would not send by itself."""
    out = []
    for stage in _STAGES:
        words = [w for w in re.split(r"[,\s]+", milter.macros.get(stage, "")) if w]
        names = [w if w.startswith("{") or len(w) == 1 else f"{{{w}}}" for w in words]
        known = _SENT_ALREADY.get(stage, frozenset())
        if new := tuple(dict.fromkeys(n for n in names if n not in known)):
            out.append((stage.upper(), new))
    return out


def fragment(filters: Sequence[MilterFilter], milter: Milter) -> bytes:
    """The fragment's octets.

    Raises:
        NotRenderable: A name or value that m4 could not take verbatim, or more filters than sendmail takes.
    """
    if len(filters) > MAX_FILTERS:
        raise NotRenderable(f"filters: {len(filters)} are too many; sendmail takes at most {MAX_FILTERS}")
    calls = [_Call(f.name, equates(f.socket, f.on_failure, f.timeouts), f.enabled) for f in filters]
    return render("sendmail/dkconf.m4.j2", filters=calls, log_level=milter.log_level, macros=_added_macros(milter))
