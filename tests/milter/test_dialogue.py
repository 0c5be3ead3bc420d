"""Which commands reach the session, and that each command gets the replies it is owed."""

from __future__ import annotations

import pytest

from dkconf.milter import messages as m
from dkconf.milter.codec import ACCEPT, CONTINUE, REJECT, SKIP, TEMPFAIL
from dkconf.milter.dialogue import ABORT_FIRST, ANSWER, HANDLE, IGNORE, Dialogue

CONNECT = m.Connect(b"mx", b"4", 1, b"192.0.2.1")
MAIL, RCPT = m.Mail((b"<a@b>",)), m.Rcpt((b"<c@d>",))
HEADER, BODY, EOM = m.Header(b"A", b"b"), m.Body(memoryview(b"x"), True), m.EndOfMessage(b"")
EOH, DATA, HELO, UNKNOWN = m.EndOfHeaders(), m.Data(), m.Helo(b"h"), m.Unknown(b"X")
ABORT, QUIT, QUIT_NC, OFFER = m.Abort(), m.Quit(), m.QuitNewConnection(), m.Negotiate(6, 0, 0)
MACROS, BODY_BEGINS = m.Macros(0x4D, {}), m.Body(memoryview(b"x"), False)
ALL_NR = sum(m.NO_REPLY.values())

MESSAGE = [MAIL, RCPT, DATA, HEADER, EOH, BODY, EOM]


def _talk(dialogue, commands, replies=None):
    """Play the commands; return for each: (flags, octets written)."""
    out = []
    for command in commands:
        flags = dialogue.receive(command)
        octets = b""
        if flags & (HANDLE | ANSWER):
            reply = (replies or {}).get(type(command)) if flags & HANDLE else None
            octets = dialogue.answer(command, reply)
        out.append((flags, octets))
    return out


def _fresh(protocol=0, connected=True):
    dialogue = Dialogue()
    assert HANDLE == dialogue.receive(OFFER)
    dialogue.negotiated(protocol)
    if connected:
        _talk(dialogue, [CONNECT])
    return dialogue


def test_each_replying_command_gets_exactly_one_reply():
    """Without NR flags every command of a message is answered, message after message."""
    dialogue = _fresh()

    for _ in range(3):
        assert [(HANDLE, CONTINUE)] * 7 == _talk(dialogue, MESSAGE)
        assert not dialogue.in_message


def test_suppressed_replies_are_not_sent():
    """With every NR flag only end of message is answered."""
    assert [b""] * 6 + [CONTINUE] == [o for _, o in _talk(_fresh(ALL_NR), MESSAGE)]


def test_a_verdict_without_a_reply_is_held_until_one_is_due():
    """A refusal at end of headers with NR_EOH is answered at end of message; the session is left alone."""
    dialogue = _fresh(ALL_NR)

    got = _talk(dialogue, MESSAGE, {m.EndOfHeaders: REJECT})

    assert [(HANDLE, b""), (ANSWER, b""), (ANSWER, REJECT)] == got[4:]
    assert [(HANDLE, b"")] == _talk(dialogue, [MAIL])


def test_a_held_verdict_dies_with_its_message():
    """ABORT forgets a held verdict."""
    dialogue = _fresh(ALL_NR)
    _talk(dialogue, [MAIL, HEADER, EOH], {m.EndOfHeaders: REJECT})

    assert [(ABORT_FIRST, b"")] == _talk(dialogue, [ABORT])
    assert CONTINUE == _talk(dialogue, MESSAGE)[-1][1]


def test_a_verdict_ends_the_message():
    """After a verdict the rest of that message is not answered, and the next MAIL begins anew."""
    dialogue = _fresh()

    assert (HANDLE, REJECT) == _talk(dialogue, [MAIL, RCPT, HEADER], {m.Header: REJECT})[-1]
    assert [(IGNORE, b"")] * 3 == _talk(dialogue, [EOH, BODY, EOM])
    assert [(HANDLE, CONTINUE)] * 7 == _talk(dialogue, MESSAGE)


def test_a_refused_recipient_does_not_end_the_message():
    """REJECT on RCPT is for that recipient only."""
    dialogue = _fresh()

    assert (HANDLE, TEMPFAIL) == _talk(dialogue, [MAIL, RCPT], {m.Rcpt: TEMPFAIL})[-1]
    assert dialogue.in_message


@pytest.mark.parametrize("protocol", [0, ALL_NR])
def test_accept_at_connect_covers_the_connection(protocol):
    """ACCEPT at CONNECT, sent then or held, answers all that follows, until QUIT_NC."""
    dialogue = _fresh(protocol, connected=False)

    assert [(HANDLE, b"" if protocol else ACCEPT)] == _talk(dialogue, [CONNECT], {m.Connect: ACCEPT})
    assert ACCEPT == _talk(dialogue, MESSAGE)[-1][1]
    _talk(dialogue, [QUIT_NC, CONNECT])
    assert (HANDLE, CONTINUE) == _talk(dialogue, MESSAGE)[-1]


@pytest.mark.parametrize("stray", [RCPT, DATA, HEADER, EOH, BODY_BEGINS, BODY, EOM, MACROS, CONNECT, UNKNOWN, ABORT])
@pytest.mark.parametrize("then", [[], [MACROS], [CONNECT], [BODY_BEGINS]], ids=["", "macros", "connect", "body"])
@pytest.mark.parametrize("protocol", [0, m.SMFIP_NR_MAIL, ALL_NR])
def test_the_reply_for_a_connection_outlasts_what_comes_outside_of_a_message(protocol, stray, then):
    """Whatever an MTA sends between messages, a verdict at CONNECT keeps MAIL from the session."""
    dialogue = _fresh(protocol, connected=False)
    _talk(dialogue, [CONNECT, stray, *then], {m.Connect: ACCEPT})

    assert m.Mail not in dialogue.steps[dialogue.phase]
    assert ANSWER == dialogue.receive(MAIL)
    assert ACCEPT == _talk(dialogue, MESSAGE)[-1][1]


@pytest.mark.parametrize("early", [CONNECT, HELO, MAIL, EOM, ABORT, m.Macros(0x43, {})])
def test_commands_before_negotiation_are_ignored(early):
    """Nothing but an offer is answered at first."""
    dialogue = Dialogue()

    assert IGNORE == dialogue.receive(early)
    assert HANDLE == dialogue.receive(OFFER)


@pytest.mark.parametrize("again", [MAIL, HELO])
def test_mail_and_helo_abort_an_open_message(again):
    """MAIL after MAIL without ABORT, and HELO in a message (STARTTLS), both start over."""
    dialogue = _fresh()
    _talk(dialogue, [MAIL, RCPT, HEADER])

    assert [(ABORT_FIRST | HANDLE, CONTINUE)] == _talk(dialogue, [again])


def test_abort_is_idempotent():
    """ABORT comes twice from Postfix, and after end of message too; never a reply."""
    dialogue = _fresh()
    _talk(dialogue, [MAIL])

    assert [(ABORT_FIRST, b""), (IGNORE, b""), (IGNORE, b"")] == _talk(dialogue, [ABORT] * 3)
    assert [(HANDLE, CONTINUE)] * 7 == _talk(dialogue, MESSAGE)


def test_a_command_out_of_order_aborts_and_is_ignored():
    """RCPT among the headers, or a second end of headers, cannot be: no reply, the message is off."""
    for wrong in (RCPT, DATA):
        dialogue = _fresh()
        _talk(dialogue, [MAIL, RCPT, HEADER])
        assert [(ABORT_FIRST, b"")] == _talk(dialogue, [wrong])
    dialogue = _fresh()
    _talk(dialogue, [MAIL, RCPT, EOH])
    assert [(ABORT_FIRST, b""), (IGNORE, b"")] == _talk(dialogue, [EOH, EOM])


@pytest.mark.parametrize("offer_again", [OFFER, CONNECT])
def test_a_second_offer_or_connect_is_ignored(offer_again):
    """Neither comes twice; libmilter is silent too."""
    assert [(IGNORE, b"")] == _talk(_fresh(), [offer_again])


def test_quit_nc_after_end_of_message():
    """QUIT_NC ends the SMTP connection wherever it comes; the next CONNECT is answered."""
    dialogue = _fresh()
    _talk(dialogue, MESSAGE, {m.EndOfMessage: ACCEPT})

    assert HANDLE == dialogue.receive(QUIT_NC)
    assert [(HANDLE, CONTINUE)] == _talk(dialogue, [CONNECT])
    _talk(dialogue, [MAIL])
    assert ABORT_FIRST | HANDLE == dialogue.receive(QUIT_NC)


def test_unknown_smtp_command():
    """UNKNOWN is answered anywhere; among the body it means that the message is off."""
    dialogue = _fresh()

    assert [(HANDLE, CONTINUE)] == _talk(dialogue, [UNKNOWN])
    _talk(dialogue, [MAIL, HEADER, EOH, BODY])
    assert [(ABORT_FIRST | HANDLE, CONTINUE)] == _talk(dialogue, [UNKNOWN])


def test_skip_is_for_the_body_only():
    """SKIP goes out for a body packet, if it was agreed on; elsewhere it means go on."""
    plain, skipping = _fresh(), _fresh(m.SMFIP_SKIP)

    assert CONTINUE == _talk(plain, MESSAGE, {m.Body: SKIP})[5][1]
    assert SKIP == _talk(skipping, MESSAGE, {m.Body: SKIP})[5][1]
    assert CONTINUE == _talk(skipping, MESSAGE, {m.Header: SKIP})[3][1]


def test_parts_of_a_body_packet_get_one_reply():
    """Only the last part of a packet is answered."""
    dialogue = _fresh()
    _talk(dialogue, MESSAGE[:5])

    got = _talk(dialogue, [m.Body(memoryview(b"a"), False), BODY])

    assert [b"", CONTINUE] == [o for _, o in got]


def test_end_of_message_carries_its_modifications():
    """What the session answers at end of message goes out as it is, then the message is over."""
    dialogue = _fresh(ALL_NR)

    assert b"hmods" + ACCEPT == _talk(dialogue, MESSAGE, {m.EndOfMessage: b"hmods" + ACCEPT})[-1][1]
    assert not dialogue.in_message
