"""A dialogue on every daemon port of the live sendmail, and whether it has become worse.

Only a reply worse than before is a failure: a stock Debian answers MAIL on port 587 with 530 (it wants AUTH),
and RCPT with 451 4.1.8 where DNS is not to be had. The dialogue ends in RSET, so that no mail is left behind,
unless a recipient for whole messages is given. Ports that want AUTH or TLS are judged by banner and EHLO.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from email.utils import formatdate

from dkconf.probe import smtp
from dkconf.sendmail.cf import CfModel, Daemon

TIMEOUT_SECONDS = 60.0
"""For one port: greet_pause, a throttled RCPT and a slow DNS answer fit in; not a filter's R= of minutes."""


@dataclass(frozen=True, slots=True)
class PortResult:
    daemon: str
    port: str
    """Number, or path of a local socket."""
    replies: tuple[smtp.Reply, ...]
    shallow: bool
    """Only banner and EHLO were looked at: AUTH or TLS comes first."""

    def reply(self, step: str) -> smtp.Reply | None:
        """Return the reply at a step, None where the dialogue did not reach it."""
        return next((r for r in self.replies if r.step == step), None)

    @property
    def accepts(self) -> bool:
        """Every step was answered well."""
        return all(r.rank == 2 for r in self.replies)

    def __str__(self) -> str:
        worst = next((r for r in self.replies if r.rank < 2), None)
        return f"port {self.port} ({self.daemon}): " + ("accepts" if worst is None else str(worst))


@dataclass(frozen=True, slots=True)
class PortReport:
    results: tuple[PortResult, ...]

    def __str__(self) -> str:
        return "\n".join(str(one) for one in self.results)


def probe_all(
    model: CfModel, *, sender: str = "", recipient: str = "", timeout_seconds: float = TIMEOUT_SECONDS
) -> PortReport:
    """Hold the dialogue with every daemon of the model.

    Args:
        sender: Envelope sender; "" = the null sender, which needs no DNS.
        recipient: Whole messages go to this address; "" = RCPT to root, then RSET.
    """
    return PortReport(tuple(probe(d, sender, recipient, timeout_seconds) for d in model.daemons))


def probe(daemon: Daemon, sender: str, recipient: str, timeout_seconds: float) -> PortResult:
    """Hold the dialogue with one daemon; never raises: silence is a reply with the code 0."""
    shallow = any(flag in daemon.modifiers for flag in "as")
    replies: list[smtp.Reply] = []
    try:
        with smtp.connect_daemon(daemon, timeout_seconds) as client:
            try:
                if "s" not in daemon.modifiers:
                    shallow = _dialogue(client, sender, recipient, shallow)
                else:
                    client.replies.append(smtp.Reply("banner", 220, "220 a listener; TLS comes first"))
            finally:
                replies = client.replies
    except smtp.SmtpFailed as error:
        step = str(error).partition(":")[0] if replies else "banner"
        replies = [*replies, smtp.Reply(step, 0, str(error))]
    return PortResult(daemon.name, smtp.port_words(daemon), tuple(replies), shallow)


def _dialogue(client: smtp.Client, sender: str, recipient: str, shallow: bool) -> bool:
    """Run the steps until one is refused; return whether only banner and EHLO count."""
    client.banner()
    if client.replies[-1].rank < 2:
        return shallow
    if client.command("EHLO", "EHLO localhost").rank == 2 and not shallow:
        mail = client.command("MAIL", f"MAIL FROM:<{sender}>")
        if mail.code == 530:  # RFC 4954 section 6, RFC 3207 section 4: AUTH or STARTTLS comes first
            shallow = True
        elif mail.rank == 2:
            accepted = client.command("RCPT", f"RCPT TO:<{recipient or 'root'}>").rank == 2
            if accepted and recipient and client.command("DATA", "DATA").code == 354:
                client.message(_message(sender, recipient))
    if client.replies[-1].step != "message":
        client.command("RSET", "RSET")
    client.command("QUIT", "QUIT")
    return shallow


def _message(sender: str, recipient: str) -> bytes:
    now = time.time()
    lines = (
        f"From: <{sender or recipient}>",
        f"To: <{recipient}>",
        f"Date: {formatdate(now)}",
        f"Message-ID: <dkconf.{int(now * 1000)}@{(sender or recipient).rpartition('@')[2] or 'localhost'}>",
        "Subject: dkconf probe",
        "",
        "Sent by dkconf after a change to this host's mail filters.",
        "",
    )
    return "\r\n".join(lines).encode("ascii", "backslashreplace")


def worse(before: PortReport, after: PortReport, closed: Collection[str] = ()) -> list[str]:
    """Return in words every port that answers worse than before; [] = healthy.

    A port that the earlier report does not have must accept.

    Args:
        closed: Daemons that keep their port closed because of load: no connection to them is nothing worse.
    """
    found = []
    earlier = {(one.daemon, one.port): one for one in before.results}
    for now in after.results:
        was = earlier.get((now.daemon, now.port))
        for reply in now.replies:
            old = was.reply(reply.step) if was is not None else None
            if was is not None and old is None and not was.accepts:
                continue  # the earlier dialogue stopped before this step
            if reply.code == 0 and reply.step == "banner" and now.daemon in closed:
                break
            if reply.rank < (2 if old is None else old.rank):
                used_to = "" if old is None else f" (before: {old.last_line})"
                found.append(f"port {now.port} ({now.daemon}): {reply}{used_to}")
                break
    return found
