"""The pre-flight canary: a whole SMTP dialogue with a candidate .cf, before it is live.

`sendmail -C CAND.cf -bs` over a private queue takes a message from a signing domain through the filters that
really run. Nothing is delivered (DeliveryMode=q); the queued message is read instead. What the replies and
the queue file say is what sendmail would do, except where a daemon differs from `-bs`: the connection is one from
127.0.0.1, there is no {daemon_name} and no {auth_type}, and a daemon's own filter list is not used; so the canary is
run once per distinct list.
"""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from email.utils import formatdate
from pathlib import Path

from dkconf.files.making import NOBODYS, make_folders
from dkconf.files.trees import read_below
from dkconf.files.writing import write_file
from dkconf.probe import logs, smtp
from dkconf.probe.live import PATH
from dkconf.sendmail import cf, qf
from dkconf.sendmail.cf import CfModel

OVERALL_SECONDS = 90.0
"""On top of what the filters may take: sendmail sleeps 60 s at start where its host name has no domain."""
MAX_SECONDS = 600.0
# Replies of check_mail for a sender domain that the DNS does not know now, or at all.
_UNRESOLVABLE = ("4.1.8", "5.1.8")

MAX_QUEUE_OCTETS = 1024 * 1024
"""Of one queue file: the canary has 500 octets, and what filters add is a few fields."""


@dataclass(frozen=True, slots=True)
class Canary:
    """What became of one canary."""

    filters: tuple[str, ...]
    """The list it was run with."""
    domain: str
    """Of its From: field."""
    replies: tuple[smtp.Reply, ...]
    fields: tuple[qf.Field, ...]
    """Of the queued message; () where it was not accepted."""
    body: bytes
    queue_id: str
    quarantine: str = ""
    """The reason for which a filter put it into quarantine."""
    logged: tuple[str, ...] = ()
    """Where it was not accepted: what sendmail logged about the filters, in words."""

    @property
    def accepted(self) -> bool:
        """The message was taken, and is in the queue: not refused, discarded or in quarantine."""
        return bool(self.fields) and not self.quarantine

    @property
    def verdict(self) -> smtp.Reply:
        """The reply that tells: the first one that is not a good one, else the one to the message."""
        bad = next((r for r in self.replies if r.rank < 2), None)
        if bad is not None:
            return bad
        return next((r for r in self.replies if r.step == "message"), smtp.Reply("banner", 0, "no reply"))

    def __str__(self) -> str:
        """What became of it, in words: sendmail's reply, or what the reply does not tell."""
        if self.quarantine:
            return f"it is put into quarantine ({self.quarantine})"
        if self.verdict.step == "message" and self.verdict.rank == 2 and not self.fields:
            return "it is discarded after a good reply"
        return str(self.verdict)


def timeout_seconds(model: CfModel, filters: Sequence[str]) -> float:
    """Return how long a dialogue may take when every filter takes all the time it has."""
    times = [model.filters[n].timeouts for n in filters if n in model.filters]
    # connect, four commands, the header and body, and the end of the message.
    needed = sum(t["C"] + 8 * t["R"] + t["E"] for t in times)
    return min(OVERALL_SECONDS + needed, MAX_SECONDS)


def prepare(
    cf_text: str, model: CfModel, directory: Path, sockets: Mapping[str, str], name: str = "canary"
) -> tuple[str, Path]:
    """Write the canary's .cf and its queue below `directory`; return both paths.

    Args:
        sockets: Filter name -> S= of the throwaway instance that stands in for it.
    """
    queue = directory / f"{name}.queue"
    owner = NOBODYS
    if model.run_as_user:
        entry = pwd.getpwnam(model.run_as_user)
        owner = (entry.pw_uid, entry.pw_gid)
    for place in (queue, *(queue / group for group in model.queues)):
        make_folders(str(place), mode=0o700, owner=owner)
    text = cf.replace_queues(cf_text, str(queue))
    for one, socket in sockets.items():
        text = cf.replace_socket(text, one, socket)
    path = directory / f"{name}.cf"
    # RunAsUser reads it once more after root has.
    write_file(str(path), text.encode("latin-1"), mode=0o644, replace=False)
    return str(path), queue


def run(
    sendmail: str,
    cf_path: str,
    queue: Path,
    model: CfModel,
    *,
    domain: str,
    host: str,
    filters: Sequence[str] | None = None,
    limit_seconds: float = 0.0,
    explain: bool = False,
) -> Canary:
    """Hold the dialogue and read what is in the queue.

    Args:
        domain: Signing domain of the message.
        host: This host's qualified name.
        filters: A daemon's own list to be used; None = the global one.
        limit_seconds: 0 = by the filters' own timeouts.
        explain: Where it is not accepted, look into the log for the reason.
    """
    called = tuple(model.input_filters if filters is None else filters)
    options = ["-ODeliveryMode=q", f"-OQueueDirectory={queue}", "-OQueueLA=100", "-ORefuseLA=100"]
    if filters is not None:
        options.append(f"-OInputMailFilters={','.join(filters)}")
    before = _queue_files(queue)
    place, pid = logs.mark(), 0
    replies: list[smtp.Reply] = []
    try:
        limit = limit_seconds or timeout_seconds(model, called)
        with smtp.spawn([sendmail, "-C", cf_path, "-bs", *options], limit, {"PATH": PATH}) as client:
            pid = client.pid
            try:
                _dialogue(client, domain, host)
            finally:
                replies = client.replies
    except smtp.SmtpFailed as error:
        step = str(error).partition(":")[0]
        replies = [*replies, smtp.Reply(step, 0, str(error).partition(": ")[2])]
    fields, body, queue_id, quarantine = _queued({p: c for p, c in _queue_files(queue).items() if p not in before})
    found = Canary(called, domain, tuple(replies), fields, body, queue_id, quarantine)
    if explain and not found.accepted and pid:
        found = replace(found, logged=tuple(str(one) for one in logs.failures(place, pid)))
    return found


def _dialogue(client: smtp.Client, domain: str, host: str) -> None:
    if client.banner().rank == 2 and client.command("EHLO", f"EHLO {host}").rank == 2:
        if _envelope(client, f"dkconf-canary@{domain}", f"root@{host}"):
            reply = client.command("DATA", "DATA")
            if reply.code == 354:
                client.message(message(domain, host))
        client.command("QUIT", "QUIT")


def _envelope(client: smtp.Client, sender: str, recipient: str) -> bool:
    """Send MAIL and RCPT; once more with the null sender where the DNS does not know the domain now."""
    for envelope in (sender, ""):
        first = len(client.replies)
        reply = client.command("MAIL", f"MAIL FROM:<{envelope}>")
        if reply.rank == 2:
            reply = client.command("RCPT", f"RCPT TO:<{recipient}>")
            if reply.rank == 2:
                return True
        if not envelope or reply.last_line[4:9] not in _UNRESOLVABLE:
            return False
        # Filters look at From:, so nothing is lost: these replies say nothing about them.
        client.command("RSET", "RSET")
        del client.replies[first:]
    return False


def message(domain: str, host: str) -> bytes:
    """Return the canary message: every field that signers ask for, a body that canonicalization changes."""
    now = time.time()
    lines = (
        f"From: dkconf canary <dkconf-canary@{domain}>",
        f"To: root@{host}",
        f"Date: {formatdate(now)}",
        f"Message-ID: <dkconf.canary.{int(now * 1000)}.{os.getpid()}@{host}>",
        "Subject: dkconf canary,",
        "\tnever delivered",
        "",
        "This message shows what the filters of this host do to mail.",
        "It is read in a private queue  and removed; nobody gets it. ",
        ". a line with a dot in front",
        "",
    )
    return "\r\n".join(lines).encode("ascii", "backslashreplace")


def _queue_files(queue: Path) -> dict[str, bytes]:
    """Return the queue's files by path: qf, hf and df, as they are now.

    The queue belongs to sendmail's user: nothing in it but regular files of bounded size is read.
    """
    found = read_below(str(queue), limit=MAX_QUEUE_OCTETS, closed=True)
    return {p: c for p, c in found.items() if isinstance(c, bytes) and os.path.basename(p)[1:2] == "f"}


def _queued(files: Mapping[str, bytes]) -> tuple[tuple[qf.Field, ...], bytes, str, str]:
    """Return (header fields, body, queue id, why in quarantine) of the message; nothing where there is none.

    `qf`, or `hf` where a filter put it into quarantine.
    """
    for path in sorted(files):
        place, _, name = path.rpartition("/")
        if name[:2] not in ("qf", "hf"):
            continue
        queue_file = qf.parse_qf(files[path])
        body = qf.body_of_df(files.get(f"{place}/df{name[2:]}" if place else f"df{name[2:]}", b""))
        held = queue_file.quarantine.decode("utf-8", "replace") or ("yes" if name[:2] == "hf" else "")
        return queue_file.fields, body, name[2:], held
    return (), b"", "", ""
