"""Behind dkconf-filter Debian's OpenDMARC believes nobody who speaks in our name.

OpenDMARC makes a DMARC verdict of the Authentication-Results of the names that it trusts, so a forged field that gets
past us lets anybody pass as anybody. (OpenARC reads such fields in the same way; Debian 12 has no package of it.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pytest

from dkconf.milter import codec
from tests.conftest import require
from tests.lab import Lab, build_message
from tests.lab.filters import OnSocket, OpenDmarc, OwnVerifier
from tests.lab.nameserver import NameServer
from tests.mail.test_authservid import FORGED, LEFT_OUT_BY_PEERS, ODD, OTHERS, WHOLE, insertions
from tests.server.mta import Mta, pack

pytestmark = pytest.mark.live

OURS = "mx1.example.test"
OUTSIDE = "198.51.100.1"
BANK = b"dkim=pass header.d=bank.example"
FORGERIES = [b" mx1.\\example.test; " + BANK, b" mx1.ex)ample.test; " + BANK, b" (x)mx1.example.test; " + BANK]
# All commands, and a reply to each: the MTA offers no more than to leave out unknown commands.
OFFER = (6, 0x1FF, 0x100)
Fields = list[tuple[bytes, bytes]]
HEADER: Fields = [(b"From", b"Bank <info@bank.example>"), (b"To", b"joe@example.test"), (b"Subject", b"money")]


class Two(NamedTuple):
    """A lab with both filters under its sendmail, ours first."""

    lab: Lab
    own: OwnVerifier
    dmarc: OpenDmarc


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    """In this lab the bank's domain has a DMARC record."""
    require("named", "opendmarc")
    extra = (
        "INPUT_MAIL_FILTER(`own', `S=local:/run/OwnVerifier.sock, F=T')dnl\n"
        "INPUT_MAIL_FILTER(`dmarc', `S=local:/run/OpenDmarc.sock, F=T')dnl\n"
    )
    with Lab(tmp_path_factory.mktemp("opendmarc") / "lab", extra_mc=extra) as lab:
        NameServer(lab).publish({"_dmarc.bank.example": "v=DMARC1; p=reject"}, "bank.example. IN A 127.0.1.1\n")
        found = Two(lab, OwnVerifier(lab, OURS).start(), OpenDmarc(lab, OURS).start())
        lab.start_sendmail()
        yield found


class Connection:
    """A connection to a filter of the lab that takes one message after the other."""

    def __init__(self, to: OnSocket) -> None:
        self._mta = Mta(to.connect())
        self._mta.negotiate(OFFER)
        self._tell(codec.packet(b"C", b"client.example.net\0" + b"4\x12\x34" + OUTSIDE.encode() + b"\0"))
        self._tell(pack(b"H", b"client.example.net"))

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *exc: object) -> None:
        self._mta.sock.close()

    def _tell(self, octets: bytes) -> None:
        self._mta.send(octets)
        letter, data = self._mta.reply()
        assert letter in (b"c", b"a"), (letter, data)

    def message(self, fields: Fields) -> list[tuple[bytes, bytes]]:
        """Return the replies at the end of a message; of the body there is one line."""
        self._mta.send(codec.packet(b"D", b"Mi\0q1\0j\0" + OURS.encode() + b"\0"))
        self._tell(pack(b"M", b"<info@bank.example>"))
        self._tell(pack(b"R", b"<joe@example.test>"))
        for name, value in fields:
            self._tell(pack(b"L", name, value.removeprefix(b" ")))
        self._tell(codec.packet(b"N"))
        self._tell(codec.packet(b"B", b"hello\r\n"))
        self._mta.send(codec.packet(b"E"))
        return self._mta.end_of_message()


def passes(replies: Sequence[tuple[bytes, bytes]]) -> bool:
    """Whether OpenDMARC adds its own pass; it must have said something."""
    added = [data for letter, data in replies if letter in (b"i", b"h")]
    verdicts = [data for data in added if b"dmarc=" in data]
    assert verdicts, replies
    return any(b"dmarc=pass" in data for data in verdicts)


def after_us(replies: Sequence[tuple[bytes, bytes]], fields: Fields) -> Fields:
    """The header as the next filter sees it."""
    out = list(fields)
    for letter, data in replies:
        if letter == b"m":
            occurrence = int.from_bytes(data[:4], "big")
            name = data[4:].split(b"\0")[0].lower()
            places = [place for place, field in enumerate(out) if field[0].lower() == name]
            del out[places[occurrence - 1]]
    added = [data[4:].split(b"\0") for letter, data in replies if letter == b"i"]
    return [(parts[0], parts[1]) for parts in reversed(added)] + out


def test_a_forged_field_makes_no_dmarc_pass(two: Two) -> None:
    """Under sendmail, with both filters: what passes without us fails with us, and the field is gone."""
    for number, forged in enumerate(FORGERIES):
        subject = f"forged {number}"
        message = b"Authentication-Results:" + forged + b"\r\n" + build_message(subject, sender="info@bank.example")
        assert two.lab.send(message, source=OUTSIDE).accepted
        left = two.lab.sink.received.wait(lambda item, subject=subject: item.subject == subject, 20)
        assert left is not None
        results = b" ".join(left.fields("Authentication-Results"))

        assert b"dmarc=fail" in results, left.octets
        assert b"dmarc=pass" not in results
        assert b"header.d=bank.example" not in results


def forgeries() -> list[bytes]:
    """Values that may be read as ours: what is odd, in all places of the name, and the kinds of the table."""
    start, rest = OURS.encode()[:3], OURS.encode()[3:]
    heads = [*insertions(start + rest, ODD, 1)]
    heads += [head + rest for head in insertions(start, ODD if WHOLE else LEFT_OUT_BY_PEERS, 2)]
    heads += [kind.replace(b"mx.example.net", start + rest).partition(b";")[0] for kind in FORGED.values()]
    return [b" " + head + b"; " + BANK for head in heads]


def test_what_opendmarc_believes_we_remove(two: Two) -> None:
    """Each forgery by itself: OpenDMARC alone passes many, and none that has been through our filter."""
    believed = []
    with Connection(two.dmarc) as dmarc, Connection(two.own) as own:
        for value in forgeries():
            fields = [(b"Authentication-Results", value), *HEADER]
            if not passes(dmarc.message(fields)):
                continue
            believed.append(value)
            cleaned = after_us(own.message(fields), fields)
            assert value not in [field[1] for field in cleaned], value
            assert not passes(dmarc.message(cleaned)), value

    for value in FORGERIES:
        assert value in believed
    assert len(believed) > 100


def test_fields_of_others_stay_and_are_not_believed(two: Two) -> None:
    """Plainly another's: our filter leaves them, and OpenDMARC makes nothing of them."""
    fields = [(b"Authentication-Results", b" " + value) for value in OTHERS] + HEADER
    with Connection(two.dmarc) as dmarc, Connection(two.own) as own:
        cleaned = after_us(own.message(fields), fields)

        assert fields == cleaned[1:]
        assert not passes(dmarc.message(cleaned))


def test_our_own_field_is_believed(two: Two) -> None:
    """Else none of this would say anything: a result of ours is what OpenDMARC goes by."""
    with Connection(two.dmarc) as dmarc:
        assert passes(dmarc.message([(b"Authentication-Results", b" mx1.example.test; " + BANK), *HEADER]))
