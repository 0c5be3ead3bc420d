"""A session as an MTA drives it: fakes for keys, DNS, clock and log."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from dkconf.crypto.keys import PrivateKey, generate
from dkconf.dkim.keyrecord import format_record
from dkconf.filter.config import KeyEntry, Settings
from dkconf.filter.engine import Engine
from dkconf.filter.session import Session
from dkconf.mail.authres import parse_authres
from dkconf.mail.lookup import Records, TxtAnswer

NOW = 1_700_000_000
RSA_PEM = generate("rsa", 1024)
ED_PEM = generate("ed25519")
RSA = PrivateKey.load_pem(RSA_PEM)
ED = PrivateKey.load_pem(ED_PEM)
FILES = {"/k/rsa": RSA_PEM, "/k/ed": ED_PEM}

Fields = list[tuple[bytes, bytes]]
HEADER: Fields = [
    (b"From", b" Joe <joe@example.com>"),
    (b"To", b" ann@example.org"),
    (b"Subject", b" what we\n\ttalked about"),
    (b"Date", b" Tue, 14 Nov 2023 22:13:20 +0000"),
    (b"Message-ID", b" <1@example.com>"),
]
BODY = b"Hello  there \r\nand bye\r\n\r\n"


def found(*strings: bytes) -> TxtAnswer:
    """An answer with these TXT records."""
    return TxtAnswer("found", strings, ttl=300)


TIMEOUT = TxtAnswer("failed", reason="timeout")
RECORDS: dict[bytes, TxtAnswer] = {
    b"jan._domainkey.example.com": found(format_record("rsa", RSA.public_raw)),
    b"ed._domainkey.example.com": found(format_record("ed25519", ED.public_raw)),
    b"test._domainkey.example.com": found(format_record("rsa", RSA.public_raw, testing=True)),
}


def read(path: str) -> bytes:
    """A key file."""
    try:
        return FILES[path]
    except KeyError:
        raise FileNotFoundError(2, "No such file or directory", path) from None


def make_settings(**changes: Any) -> Settings:
    """Settings with one key for both schemes, changed as named."""
    entry = KeyEntry("example.com", "jan", "/k/rsa", ("dkim", "domainkeys"))
    return replace(Settings(socket="inet:1@localhost", keys=(entry,)), **changes)


class Edit(NamedTuple):
    """One reply, taken apart."""

    letter: str
    index: int
    name: bytes
    value: bytes


def parse(reply: bytes) -> list[Edit]:
    """All packets of a reply."""
    out = []
    while reply:
        size = int.from_bytes(reply[:4], "big")
        letter, data = chr(reply[4]), reply[5 : 4 + size]
        if letter in "im":
            name, value, _ = data[4:].split(b"\0")
            out.append(Edit(letter, int.from_bytes(data[:4], "big"), name, value))
        else:
            out.append(Edit(letter, 0, b"", data.rstrip(b"\0")))
        reply = reply[4 + size :]
    return out


@dataclass
class Mta:
    """Drives one session; keeps what it logged and counted."""

    engine: Engine
    address: bytes = b"192.0.2.1"
    hostname: bytes = b"client.example.net"
    macros: Mapping[bytes, bytes] = field(default_factory=dict)
    answers: Mapping[bytes, TxtAnswer] = field(default_factory=lambda: Records(RECORDS))
    offer: tuple[int, int, int] = (6, 0x1FF, 0x1FFFFF)
    log: list[tuple[int, str]] = field(default_factory=list)
    logged: list[Mapping[str, Any]] = field(default_factory=list)
    """What structured logs say; {} for a line that has nothing more to say."""
    counted: list[str] = field(default_factory=list)
    asked: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.session = Session(
            self.engine,
            lambda: float(NOW),
            self._write,
            self.counted.append,
        )
        self.session.negotiate(*self.offer)
        self.session.macros(ord("C"), {b"j": b"mx.example.net", b"{daemon_name}": b"MTA"})
        self.connected = self.session.connect(self.hostname, b"4", 1025, self.address)

    def _write(self, priority: int, line: str, fields: Mapping[str, Any] | None) -> None:
        self.log.append((priority, line))
        self.logged.append(fields or {})

    def send(
        self, fields: Sequence[tuple[bytes, bytes]], body: bytes = BODY, *, chunk: int = 65535, at_once: bool = False
    ) -> list[Edit]:
        """One message, its header fields one by one or all `at_once`; returns the replies at its end."""
        session = self.session
        session.macros(ord("M"), {b"i": b"4BX2k1", **self.macros})
        assert session.envfrom((b"<joe@example.com>",)) is None
        if at_once:
            assert session.headers(fields) is None
        for name, value in () if at_once else fields:
            assert session.header(name, value) is None
        assert session.end_of_headers() is None
        for start in range(0, len(body), chunk):
            assert session.body(memoryview(body)[start : start + chunk]) is None
        answers = {name: self.answers[name] for name in session.queries}
        reply = session.end_of_message(None, answers)
        while isinstance(reply, tuple):
            answers.update({name: self.answers[name] for name in reply})
            reply = session.end_of_message(None, answers)
        self.asked = list(answers)
        assert self.session.queries == ()
        return parse(reply)

    @property
    def line(self) -> str:
        """The last log line."""
        return self.log[-1][1]


MakeMta = Callable[..., Mta]


def arrived(fields: Fields, edits: Sequence[Edit]) -> Fields:
    """The header as it leaves: the edits carried out (the MTA's own Received is not among the fields)."""
    out = list(fields)
    for edit in edits:
        if edit.letter == "m" and not edit.value:
            seen = 0
            for place, (name, _) in enumerate(out):
                seen += name.lower() == edit.name.lower()
                if seen == edit.index:
                    del out[place]
                    break
    for edit in edits:
        if edit.letter == "i":
            assert edit.index in (0, 1)
            out.insert(0, (edit.name, edit.value))
    return out


def signed(*, schemes: Sequence[str] = ("dkim", "domainkeys"), selector: str = "jan", **settings: Any) -> Fields:
    """HEADER with the signatures that a signing session makes."""
    entry = KeyEntry("example.com", selector, "/k/rsa", tuple(schemes))  # type: ignore[arg-type]
    mta = Mta(Engine.load(make_settings(keys=(entry,), **settings), read), b"127.0.0.1")
    return arrived(HEADER, mta.send(HEADER))


def letters(edits: list[Edit]) -> str:
    """The letters of the replies, in their order."""
    return "".join(edit.letter for edit in edits)


def inserted(edits: list[Edit]) -> list[tuple[int, str]]:
    """(index, name) of each insertion."""
    return [(edit.index, edit.name.decode()) for edit in edits if edit.letter == "i"]


def results(edits: list[Edit]) -> list[str]:
    """`method=result` of our Authentication-Results."""
    value = next(e.value for e in edits if e.letter == "i" and e.name == b"Authentication-Results")
    parsed = parse_authres(value)
    assert parsed is not None
    return [f"{info.method}={info.result}" for info in parsed.results]
