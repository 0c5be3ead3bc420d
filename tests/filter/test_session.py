"""dkconf/filter/session.py: negotiation, macros, the order of events."""

from __future__ import annotations

import pytest

from dkconf.errors import RemoteProtocolError
from dkconf.filter.config import Canonicalization
from dkconf.mail.lookup import ABSENT
from tests.filter.mta import (
    BODY,
    HEADER,
    RECORDS,
    MakeMta,
    arrived,
    letters,
    parse,
    results,
    signed,
)


@pytest.mark.parametrize(
    "offer, answer",
    [
        ((6, 0x1FF, 0x1FFFFF), (6, 0x111, 0x1FF38A)),
        ((7, 0x1FF, 0x1FFFFF), (6, 0x111, 0x1FF38A)),
        ((2, 0x3F, 0x7F), (2, 0x11, 0x0A)),
        ((4, 0x3F, 0x3FF), (4, 0x11, 0x38A)),
        ((6, 0x1FF, 0x301FFFFF), (6, 0x111, 0x1FF38A)),
        ((6, 0x1FF, 0), (6, 0x111, 0x0A)),
        ((6, 0x11, 0x1FFFFF), (6, 0x11, 0x1FF38A)),
    ],
)
def test_negotiation(mta: MakeMta, offer: tuple[int, int, int], answer: tuple[int, int, int]) -> None:
    """Never more than offered, no reply wherever the MTA can do without, version at most 6."""
    version, actions, protocol, lists = mta().session.negotiate(*offer)

    assert (version, actions, protocol) == answer
    assert (lists != {}) == bool(actions & 0x100)


def test_macros_are_asked_for(mta: MakeMta) -> None:
    """i and {auth_type} at MAIL, end of headers and end of message, -M's names at end of headers."""
    lists = mta().session.negotiate(6, 0x1FF, 0x1FFFFF)[3]

    assert lists == {"envfrom": "i {auth_type}", "eoh": "i {auth_type}", "eom": "i {auth_type}"}


@pytest.mark.parametrize(
    "offer, settings",
    [
        ((1, 0x1FF, 0x1FFFFF), {}),
        ((6, 0x10, 0x1FFFFF), {}),
        ((6, 0x01, 0x1FFFFF), {}),
        ((6, 0x11, 0x1FFFFF), {"quarantine": True}),
    ],
)
def test_an_mta_that_cannot_is_refused(mta: MakeMta, offer: tuple[int, int, int], settings: dict[str, object]) -> None:
    """Too old, or without an action that the settings need: the connection is closed, and the log says why."""
    with pytest.raises(RemoteProtocolError, match=r"version 1|without"):
        mta(offer=offer, **settings)


def test_observe_needs_no_actions(mta: MakeMta) -> None:
    """A filter that changes nothing asks for nothing."""
    assert mta(observe=True).session.negotiate(6, 0x100, 0x1FFFFF)[1] == 0x100


def test_without_leading_space_one_is_assumed(mta: MakeMta) -> None:
    """The value's blank is put back for hashing and left off in what we insert; simple is warned of."""
    client = mta(at=b"127.0.0.1", offer=(2, 0x3F, 0x7F), canonicalization=Canonicalization("simple", "simple/simple"))
    bare = [(name, value[1:]) for name, value in HEADER]
    edits = client.send(bare)
    left = [(name, b" " + value) for name, value in arrived(bare, edits)]

    assert edits[0].value.startswith(b"a=rsa-sha1")
    assert results(mta().send(left)) == ["dkim=pass", "domainkeys=pass"]
    assert client.log[0][0] == 4
    assert "SMFIP_HDR_LEADSPC" in client.log[0][1]


def test_peers_are_accepted_at_connect(mta: MakeMta) -> None:
    """-a: the whole connection is left alone, so a reply to CONNECT is wanted; others go on."""
    client = mta(peers=("192.0.2.0/24", ".trusted.example"))

    assert client.connected is not None
    assert letters(parse(client.connected)) == "a"
    assert client.session.negotiate(6, 0x1FF, 0x1FFFFF)[2] & 0x1000 == 0
    assert client.session.connect(b"mail.trusted.example", b"4", 1, b"198.51.100.1") == client.connected
    assert client.session.connect(b"trusted.example", b"4", 1, b"198.51.100.1") is None


def test_queue_id_may_come_late(mta: MakeMta) -> None:
    """Postfix knows it only after RCPT: it is read again at the end."""
    client = mta()
    session = client.session
    session.envfrom((b"<x>",))
    for name, value in HEADER:
        session.header(name, value)
    session.end_of_headers()
    session.macros(ord("E"), {b"i": b"LATE1"})
    session.end_of_message(None, {b"_domainkey.example.com": ABSENT})

    assert client.line.startswith("LATE1: ")


def test_macros_of_a_message_end_with_it(mta: MakeMta) -> None:
    """{auth_type} of one message does not make the next one ours."""
    client = mta(sends={b"{auth_type}": b"PLAIN"})
    assert letters(client.send(HEADER)) == "iic"
    client.macros = {}

    assert letters(client.send(HEADER)) == "ic"


def test_abort_close_and_odd_orders_do_no_harm(mta: MakeMta) -> None:
    """ABORT twice, body without headers, end of message without a message, close at any time."""
    client = mta()
    session = client.session
    session.abort()
    session.abort()
    assert session.end_of_message(None, {}) == b"\0\0\0\1c"
    assert session.body(b"x") is None
    assert session.header(b"From", b" a@b.example") is None
    session.helo(b"again")
    assert session.unknown(b"XYZ") is None
    assert session.envrcpt((b"<a>",)) is None
    assert session.data() is None
    session.end_of_headers()
    assert session.queries == ()
    session.close()
    session.close()
    assert letters(client.send(HEADER)) == "ic"


def test_a_last_chunk_may_come_with_the_end(mta: MakeMta) -> None:
    """SMFIC_BODYEOB may carry body: it is hashed once, also when a second round of answers follows."""
    client = mta()
    session = client.session
    session.envfrom((b"<x>",))
    for name, value in signed():
        session.header(name, value)
    session.end_of_headers()
    session.body(BODY[:5])
    reply = session.end_of_message(BODY[5:], {b"jan._domainkey.example.com": RECORDS[b"jan._domainkey.example.com"]})

    assert isinstance(reply, bytes)
    assert results(parse(reply)) == ["dkim=pass", "domainkeys=pass"]
