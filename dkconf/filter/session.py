"""One milter connection: what the MTA says in, replies out. No socket, no clock, no DNS.

The server calls one method per command. A method returns an encoded reply, or None for "go on"; whether the
MTA expects a reply there is the server's business, since it depends on what was negotiated. We ask the MTA to
expect none before the end of the message, so that a message costs one round trip; what is wrong earlier (a
header too large, a fault of ours) is therefore kept, and answered at the end.

    end_of_headers    decides (sign, verify, leave alone), parses signatures; `queries` are the names to look up
    body              each piece goes to the hashes and is forgotten
    end_of_message    verdicts, signatures; all changes and the final reply in one piece
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from dkconf import __version__
from dkconf.errors import RemoteProtocolError
from dkconf.filter import report
from dkconf.filter.config import SCHEMES
from dkconf.filter.engine import Engine
from dkconf.filter.hosts import HostList
from dkconf.filter.message import Message, Result
from dkconf.filter.policy import PROGRAM, Decision, Finding
from dkconf.filter.results import authentication_results, domainkey_status, printable
from dkconf.mail.header import milter_value
from dkconf.mail.lookup import TxtAnswer
from dkconf.milter import codec
from dkconf.milter import messages as m

LogCall = Callable[[int, str, Mapping[str, Any] | None], None]
"""(priority, line, fields): `fields` say the same as the line, for structured logs."""
CountCall = Callable[[str], None]
"""Takes the name of a counter with its labels, Prometheus style, and adds one."""

_NO_REPLY: Final = (
    m.SMFIP_NR_HELO | m.SMFIP_NR_MAIL | m.SMFIP_NR_RCPT | m.SMFIP_NR_DATA
    | m.SMFIP_NR_UNKN | m.SMFIP_NR_HDR | m.SMFIP_NR_EOH | m.SMFIP_NR_BODY
)  # fmt: skip
_WANTED: Final = _NO_REPLY | m.SMFIP_HDR_LEADSPC | m.SMFIP_NOHELO | m.SMFIP_NORCPT | m.SMFIP_NOUNKNOWN | m.SMFIP_NODATA
# Where a macro is looked for: the latest stage first (libmilter's order).
_MESSAGE_STAGES: Final = (m.END_OF_MESSAGE, m.END_OF_HEADERS, m.DATA, m.RCPT, m.MAIL)
_STAGES: Final = (*_MESSAGE_STAGES, m.HELO, m.CONNECT)
_LONGEST_ID: Final = 64
"""Of a queue ID; sendmail's have 14 octets, Postfix' at most 20."""
_NOTHING: Final[dict[bytes, bytes]] = {}
_LONGEST_MACRO: Final = 1024
"""Octets of a value that is kept of a list that is longer than any MTA's."""
_LOOKED_AT: Final = (b"i", b"j", b"auth_type", b"daemon_name")


class Session:
    """One connection from an MTA."""

    __slots__ = (
        "_actions",
        "_address",
        "_clock",
        "_count",
        "_hostname",
        "_internal",
        "_leading_space",
        "_log",
        "_macros",
        "_message",
        "engine",
        "fields_left",
    )

    def __init__(
        self, engine: Engine, clock: Callable[[], float], log: LogCall, count: CountCall = lambda event: None
    ) -> None:
        """Begin.

        Args:
            engine: May be replaced at any time by assigning to `engine`; the next message uses it.
            clock: Seconds since 1970.
        """
        self.engine = engine
        self._clock, self._log, self._count = clock, log, count
        self._actions = 0
        self._leading_space = False
        self._macros: dict[int, dict[bytes, bytes]] = {}
        self._hostname = self._address = b""
        self._internal: tuple[Engine, bool] | None = None
        self._message: Message | None = None
        self.fields_left: Sequence[tuple[bytes, bytes]] = ()

    # --- the connection

    def negotiate(self, version: int, actions: int, protocol: int) -> tuple[int, int, int, dict[str, str]]:
        """What we answer to an offer: version, actions, protocol, macro lists by stage.

        Never more than was offered. 0 stands for what the oldest MTAs can do.

        Raises:
            RemoteProtocolError: The MTA is too old, or cannot change header fields as the settings need it.
        """
        if version < m.LOWEST_VERSION:
            raise RemoteProtocolError(f"the MTA offers milter version {version}; {m.LOWEST_VERSION} is the least")
        actions, protocol = actions or m.SMFIF_V1, protocol or m.SMFIP_V1
        settings = self.engine.settings
        needed = wanted = 0
        if not settings.observe:
            needed = m.SMFIF_ADDHDRS
            if self.engine.verifies:
                needed |= m.SMFIF_CHGHDRS
            if self.engine.actions.quarantines():
                needed |= m.SMFIF_QUARANTINE
            wanted = m.SMFIF_CHGHDRS
        missing = [
            name
            for name, flag in (
                ("add", m.SMFIF_ADDHDRS), ("change", m.SMFIF_CHGHDRS), ("quarantine", m.SMFIF_QUARANTINE)
            )
            if needed & flag & ~actions
        ]  # fmt: skip
        if missing:
            raise RemoteProtocolError(
                f"the MTA offers actions 0x{actions:x}, without {' and '.join(missing)}; they are needed"
            )
        self._actions = actions & (needed | wanted | m.SMFIF_SETSYMLIST)
        agreed = protocol & _WANTED
        if not self.engine.peers:
            # Without peers nothing is ever answered to CONNECT.
            agreed |= protocol & m.SMFIP_NR_CONN
        self._leading_space = bool(agreed & m.SMFIP_HDR_LEADSPC)
        if not self._leading_space and "simple" in (
            settings.canonicalization.domainkeys,
            settings.canonicalization.dkim.partition("/")[0],
        ):
            self._log(
                report.WARNING,
                "the MTA does not show blanks after a header field's colon (no SMFIP_HDR_LEADSPC):"
                " one is assumed, and simple header canonicalization is unsafe",
                None,
            )
        return min(version, m.HIGHEST_VERSION), self._actions, agreed & ~m.SMFI_INTERNAL, self._symlists()

    def _symlists(self) -> dict[str, str]:
        """The macros that we ask for; sendmail heeds the list of eom only where there is one of eoh."""
        if not self._actions & m.SMFIF_SETSYMLIST:
            return {}
        names = "i {auth_type}"
        tested = [name.decode("ascii") for name, _ in self.engine.macros if name not in (b"i", b"auth_type")]
        extra = [name if len(name) == 1 else "{" + name + "}" for name in tested]
        # sendmail takes 50 names per stage.
        return {"envfrom": names, "eoh": " ".join([names, *extra[:48]]), "eom": names}

    def macros(self, stage: int, values: dict[bytes, bytes]) -> None:
        """Take the macros that the MTA sends for a command (its letter); they replace those it sent before.

        As in libmilter those for other commands are not kept: there are 256 letters, each with up to 64 KiB. Of
        `LargeMacros` what is looked at is kept, and not more of it than anybody compares.
        """
        if stage not in _STAGES:
            return
        self._macros[stage] = values if type(values) is dict else self._short(values)

    def _short(self, values: dict[bytes, bytes]) -> dict[bytes, bytes]:
        names = {*_LOOKED_AT, *(name for name, _ in self.engine.macros)}
        spelled = [spelling for name in names for spelling in (name, b"{" + name + b"}")]
        return {name: values[name][:_LONGEST_MACRO] for name in spelled if name in values}

    def _macro(self, name: bytes) -> bytes:
        """The value of a macro, given without braces; b"" if it is not set."""
        braced = b"{" + name + b"}"
        for stage in _STAGES:
            values = self._macros.get(stage, _NOTHING)
            if values:
                value = values.get(braced)
                if value is None and len(name) == 1:
                    value = values.get(name)
                if value is not None:
                    return value
        return b""

    def connect(self, hostname: bytes, family: bytes, port: int, address: bytes) -> bytes | None:
        """Take the client's name and address; ACCEPT ends a peer's connection for us."""
        # As libmilter does: a command is the end of what was said of later ones. MAIL and HELO do it too.
        for stage in _STAGES[:-1]:
            self._macros.pop(stage, None)
        self._hostname, self._internal = hostname, None
        # A Unix socket is on this machine. Of any other family nothing is known, and without an address the name is
        # a claim: Postfix sends U for a client of which it was told nothing.
        self._address = address if family in (b"4", b"6") else b"127.0.0.1" if family == b"L" else b""
        if self.engine.peers and self._is_one_of(self.engine.peers):
            self._count('connections_total{kind="peer"}')
            return codec.ACCEPT
        return None

    def helo(self, name: bytes) -> bytes | None:
        """HELO ends a message that is open."""
        self.abort()
        return None

    def unknown(self, line: bytes) -> bytes | None:
        """Nothing."""
        return None

    def close(self) -> None:
        """The SMTP connection is over; another one may come on the same socket."""
        self.abort()
        self._macros.clear()
        self._hostname = self._address = b""
        self._internal = None

    # --- the message

    def envfrom(self, args: tuple[bytes, ...]) -> bytes | None:
        """A message begins."""
        for stage in _MESSAGE_STAGES[:-1]:
            self._macros.pop(stage, None)
        self._begin()
        return None

    def _begin(self) -> Message:
        settings = self.engine.settings
        name = settings.authserv_id or self._macro(b"j").decode("ascii", "replace") or "localhost"
        self._message = message = Message(self.engine, name)
        return message

    def envrcpt(self, args: tuple[bytes, ...]) -> bytes | None:
        """Nothing but the end of what was said of later commands."""
        for stage in _MESSAGE_STAGES[:-2]:
            self._macros.pop(stage, None)
        return None

    def data(self) -> bytes | None:
        """Nothing."""
        return None

    def header(self, name: bytes, value: bytes) -> bytes | None:
        """Take one header field as the milter protocol has it (folds are LF and a blank)."""
        return self.headers(((name, value),))

    def headers(self, pairs: Sequence[tuple[bytes, bytes]], stepwise: bool = False) -> bytes | None:
        """Take header fields, (name, value) each, that came together.

        Args:
            stepwise: Take a part of them if they may need some ms; `fields_left` are those to call again with.
        """
        message = self._message or self._begin()
        self.fields_left = pairs
        while self.fields_left:
            try:
                self.fields_left = message.add(self.fields_left, self._leading_space)
            except Exception as error:
                message.failure, message.unread = message.failure or error, True
                self.fields_left = ()
            if stepwise:
                break
        return None

    def end_of_headers(self) -> bytes | None:
        """Decide; `queries` are set afterwards."""
        message = self._message or self._begin()
        if message.failure is None:
            try:
                if message.decided:
                    while message.begin_one():
                        pass
                else:
                    message.decide(self._is_ours, self._removes, int(self._clock()))
            except Exception as error:
                message.failure = error
        return None

    def decide_one(self) -> bool:
        """Do a part of what `end_of_headers` does, ahead of it, where the message is `heavy`.

        Returns:
            Whether there is more to do; call again if so.
        """
        message = self._message
        if message is None or message.failure is not None:
            return False
        try:
            if message.decided:
                return message.begin_one()
            message.decide(self._is_ours, self._removes, int(self._clock()), stepwise=True)
        except Exception as error:
            message.failure = error
            return False
        return True

    @property
    def queries(self) -> tuple[bytes, ...]:
        """The TXT names to look up, from the end of the headers on."""
        message = self._message
        if message is None or message.verification is None:
            return ()
        return message.verification.queries

    @property
    def heavy(self) -> bool:
        """Whether `end_of_headers` may take some ms."""
        message = self._message
        return message is not None and message.heavy

    def judge_one(self, answers: Mapping[bytes, TxtAnswer]) -> bool:
        """Judge one of several signatures ahead of `end_of_message`, whose time others would wait for.

        Args:
            answers: As for `end_of_message`; the body is over.

        Returns:
            Whether there was one; call again if so.
        """
        message = self._message
        return message is not None and message.failure is None and message.judge_one(answers)

    def body(self, chunk: bytes | memoryview) -> bytes | None:
        """Take a piece of the body; nothing of it is kept."""
        message = self._message
        if message is not None and message.failure is None:
            try:
                message.feed(chunk)
            except Exception as error:
                message.failure = error
        return None

    def abort(self) -> None:
        """The message is off; harmless where there is none."""
        self._message = None
        for stage in _MESSAGE_STAGES:
            self._macros.pop(stage, None)

    def end_of_message(
        self, chunk: bytes | memoryview | None, answers: Mapping[bytes, TxtAnswer]
    ) -> bytes | tuple[bytes, ...]:
        """All changes and the final reply; or the names that must be looked up first.

        Args:
            chunk: A last piece of body that came with the command; None when called again with more answers.
            answers: To `queries`, and to what an earlier call asked for. A name without one counts as no answer.
        """
        message = self._message
        if message is None:
            return codec.CONTINUE
        if chunk:
            self.body(chunk)
        if message.failure is not None:
            return self.fault(message.failure)
        try:
            result = message.finish(answers, int(self._clock()))
            if not isinstance(result, Result):
                return result
            reply = self._answer(message, result)
        except Exception as error:
            return self.fault(error)
        self.abort()
        return reply

    def fault(self, error: BaseException) -> bytes:
        """A fault of ours, condition `int`: the final reply for the message; logged with its traceback."""
        message = self._message
        queue_id = self._queue_id()
        engine = self.engine if message is None else message.engine
        kind = type(error).__name__
        # The sender learns the kind; the rest is for the log.
        findings = [Finding(scheme, "int", f"internal error: {kind}") for scheme in SCHEMES]
        decision = engine.actions.decide(findings)
        if message is not None:
            decision = message.safe(decision)
        observe = self._observes(engine)
        for line in report.fault_lines(error, decision, queue_id, observe):
            self._log(*line)
        self._count(report.message_counter(message, None, "int", decision.action))
        removals = self._removal_edits(message) if message is not None and decision.delivers else []
        self.abort()
        if observe:
            return codec.CONTINUE
        return b"".join(removals) + self._final(decision)

    # --- where it comes from

    def _is_ours(self) -> bool:
        """Whether the message comes from one of ours; any of the signs is enough."""
        engine = self.engine
        if self._is_internal(engine) or self._macro(b"auth_type"):
            return True
        if engine.daemons and self._macro(b"daemon_name").lower() in engine.daemons:
            return True
        for name, wanted in engine.macros:
            value = self._macro(name)
            if value and (not wanted or value.lower() == wanted):
                return True
        return False

    def _is_internal(self, engine: Engine) -> bool:
        known = self._internal
        if known is None or known[0] is not engine:
            found = self._is_one_of(engine.internal_hosts)
            self._internal = known = (engine, found)
        return known[1]

    def _is_one_of(self, hosts: HostList) -> bool:
        return bool(self._address) and hosts.matches(self._hostname, self._address)

    def _queue_id(self) -> str:
        """The job id: with Postfix it comes late, so it is read again at the end."""
        value = self._macro(b"i")
        return printable(value[:_LONGEST_ID].decode("ascii", "backslashreplace")) if value else "(unknown-jobid)"

    # --- what it comes to

    def _observes(self, engine: Engine) -> bool:
        """Whether nothing is to be changed or refused: also where a reload ended that after this connection began.

        The MTA was told that no field will be added or changed, and need not take it now; what is forged would stay.
        """
        return engine.settings.observe or not self._actions & m.SMFIF_ADDHDRS

    @property
    def _removes(self) -> bool:
        return bool(self._actions & m.SMFIF_CHGHDRS)

    def _answer(self, message: Message, result: Result) -> bytes:
        """The edits and the final reply; the one log line of the message."""
        decision = result.decision
        observe = self._observes(message.engine)
        self._report(message, result, observe)
        if observe:
            return codec.CONTINUE
        if not decision.delivers:
            return self._final(decision)
        edits = self._edits(message, result)
        edits.append(self._final(decision))
        return b"".join(edits)

    def _final(self, decision: Decision) -> bytes:
        if decision.action == "quarantine" and not self._actions & m.SMFIF_QUARANTINE:
            # Possible only if a reload brought the action after this connection was negotiated.
            return codec.CONTINUE
        return decision.reply()

    def _edits(self, message: Message, result: Result) -> list[bytes]:
        """Deletions from the bottom up, signatures below the MTA's own Received, results above everything."""
        edits: list[bytes] = []
        if message.signing is not None or message.verification is not None or message.oversize:
            edits += self._removal_edits(message)
        settings = message.engine.settings
        for field in result.signatures:
            edits.append(self._insert(1, field.name, field.value))
        if settings.identify and (result.signatures or result.outcome is not None):
            text = f" {PROGRAM} v{__version__} {message.authserv_id} {self._queue_id()}"
            edits.append(self._insert(1, b"X-DomainKeys", text.encode("ascii", "replace")))
        outcome = result.outcome
        if outcome is not None:
            if settings.domainkey_status and "domainkeys" in outcome.schemes:
                status = domainkey_status(outcome)
                if status:
                    edits.append(self._insert(0, b"DomainKey-Status", status))
            if settings.authentication_results:
                value = authentication_results(message.authserv_id, outcome)
                edits.append(self._insert(0, b"Authentication-Results", value))
        return edits

    def _removal_edits(self, message: Message) -> list[bytes]:
        """Deletions, the highest occurrence first: right whether or not the MTA renumbers after each."""
        if not self._removes or not message.removals:
            return []
        return [codec.change_header(occurrence, name, b"") for occurrence, name in reversed(message.removals)]

    def _insert(self, index: int, name: bytes, value: bytes) -> bytes:
        return codec.insert_header(index, name, milter_value(value, leading_space=self._leading_space))

    def _report(self, message: Message, result: Result, observe: bool) -> None:
        stranger = ""
        if message.attempted and not message.engine.external_ignore.matches(self._hostname, self._address):
            stranger = self._hostname.decode("ascii", "backslashreplace")
        self._log(*report.message_line(message, result, self._queue_id(), observe, stranger))
        decision, outcome = result.decision, result.outcome
        verdicts = (*outcome.dkim, *outcome.domainkeys) if outcome is not None else ()
        condition = decision.finding.condition if decision.finding is not None else ""
        self._count(report.message_counter(message, verdicts, condition, decision.action))
        for verdict in verdicts:
            self._count(report.signature_counter(verdict.scheme, verdict.result))
