"""One connection from an MTA: octets to commands, commands to the session, replies back in one write.

A connection holds nothing of a message: what it receives lies in the worker's shared buffer and is used up
before the next read. The session never waits; where it needs the DNS, the connection waits for it, sends
PROGRESS, and gives up at the deadline. No message has more than a slice of time at once: what is left of a long one
takes its turn (`turns.py`). Whatever goes wrong in the session is the session's to answer (`fault`).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from time import thread_time
from typing import TYPE_CHECKING, Any, Final

from dkconf.errors import RemoteProtocolError
from dkconf.mail.lookup import TxtAnswer
from dkconf.milter import codec, dialogue
from dkconf.milter import messages as m
from dkconf.server.questions import Questions
from dkconf.server.turns import SLICE_SECONDS

if TYPE_CHECKING:
    from dkconf.filter.session import Session
    from dkconf.server.worker import Worker

PROGRESS_SECONDS: Final = 8.0
"""Between two signs of life at end of message; sendmail waits 10 s for a reply (R:)."""

NEGOTIATION_SECONDS: Final = 60.0
"""An MTA negotiates as soon as it has connected; what is silent for so long is none."""
IDLE_SECONDS: Final = 7210.0
"""Longest silence after that; libmilter's default, a little over the two hours of an SMTP client."""
PACKET_SECONDS: Final = 320.0
"""Longest packet once it has begun. An MTA writes a packet in one go, and gives up if we do not take it within ten
seconds (sendmail, S:) or five minutes (Postfix, milter_content_timeout)."""
MESSAGE_SECONDS: Final = 6 * 3600.0
"""Longest message, however it trickles in; sendmail hands a message over when it has all of it, and waits for its
client an hour a block (Timeout.datablock)."""

_WAIT: Final = b"wait"


class Connection:
    """See the module. Made when the connection is accepted; `close` ends it, once."""

    __slots__ = (
        "_backlog", "_began", "_deadline", "_decided", "_decoder", "_dialogue", "_fault", "_offer", "_open",
        "_pending", "_progress", "_questions", "_quits", "_session", "_slowed", "_spent", "_started", "_unsent",
        "_used", "_worker", "closed", "sock", "touched",
    )  # fmt: skip

    def __init__(self, worker: Worker, sock: socket.socket) -> None:
        self._worker, self.sock = worker, sock
        self._decoder = codec.Decoder()
        self._dialogue = dialogue.Dialogue()
        self._session: Session | None = None
        self._offer: m.Negotiate | None = None
        self._questions = Questions()
        self._pending: m.EndOfMessage | None = None
        self._progress: asyncio.TimerHandle | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._backlog: list[m.Command] | None = None
        self._fault: RemoteProtocolError | None = None
        self._unsent: bytearray | None = None
        self._open = False
        self._decided = False
        self._spent = 0.0
        self._began = 0.0
        """When the work that is being done began, in seconds of CPU time."""
        self._used = 0.0
        """Seconds of CPU time for this message so far."""
        self._slowed = False
        """Whether the rest of what has been read waits for its turn."""
        self._quits = False
        self.closed = False
        self._started = worker.now()
        self.touched = self._started
        """When the last packet began or was whole."""

    @property
    def in_message(self) -> bool:
        """Whether a message is open, or a reply is still to be written."""
        waits = self._pending is not None or self._slowed
        return self._dialogue.in_message or waits or self._unsent is not None

    def overdue(self, now: float) -> bool:
        """Return whether the connection is to be closed: silent, or in one packet or message, for too long.

        Args:
            now: The loop's time.
        """
        if self._session is None:
            return now - self._started > NEGOTIATION_SECONDS
        silent = now - self.touched
        return (
            silent > IDLE_SECONDS
            or (silent > PACKET_SECONDS and self._decoder.mid_packet)
            or (self._open and now - self._started > MESSAGE_SECONDS)
        )

    # --- octets

    def readable(self) -> None:
        """Read once, and do all that was asked for; in its turn, if this message has had its slice already."""
        if self._used > SLICE_SECONDS and not self._worker.turns.free():
            self._worker.ready.forget(self.sock.fileno())
            self._worker.turns.later(self._read_in_turn, self._used)
        else:
            self._read()

    def _read_in_turn(self) -> None:
        # Who waits for something else by now is read from after that.
        if not self.closed and self._unsent is None and self._backlog is None:
            self._watch()
            self._read()

    def _watch(self) -> None:
        ready, fd = self._worker.ready, self.sock.fileno()
        if not ready.watches(fd):
            ready.when_readable(fd, self.readable)

    def _read(self) -> None:
        buffer = self._worker.buffer
        try:
            count = self.sock.recv_into(buffer)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            count = 0
        if not count:
            self.close()
            return
        decoder = self._decoder
        commands: list[m.Command] = []
        begins = not decoder.mid_packet
        try:
            decoder.feed_into(buffer[:count], commands)
        except RemoteProtocolError as error:
            self._fault = error
        if begins or (commands and (type(commands[0]) is not m.Body or commands[0].last)):
            # A packet has begun or is whole now. What only goes on is no sign of life.
            self.touched = self._worker.now()
        if self._pending is not None or self._slowed:
            self._put_off(commands)
        else:
            self._work(commands)

    def _work(self, commands: list[m.Command]) -> None:
        out: list[bytes] = []
        self._began = thread_time()
        begin = self._worker.now()
        try:
            self._run(commands, out, begin + SLICE_SECONDS)
        except RemoteProtocolError as error:
            self._fault = error
        except Exception as error:
            # The session answers its own faults; this is one of ours. The MTA does what F= says.
            self._worker.unexpected(error)
            self._send(b"".join(out))
            self.close()
            return
        taken = self._worker.now() - begin
        self._used += taken if taken < SLICE_SECONDS else thread_time() - self._began
        if self._open and not self._dialogue.in_message:
            # Counted before the MTA hears of it, so that whoever has the reply sees the count.
            self._message_over()
        if out:
            self._send(b"".join(out))
        if self._pending is not None or self._slowed:
            return
        if self._fault is not None:
            self._worker.protocol_error(str(self._fault))
            self.close()
        elif self._quits or (self._worker.stopping and not self.in_message):
            self.close()

    def _run(self, commands: list[m.Command], out: list[bytes], end: float) -> None:
        talk, now = self._dialogue, self._worker.now
        for position, command in enumerate(commands):
            kind = type(command)
            if (position and now() > end and self._over()) or (kind is m.EndOfHeaders and not self._decides()):
                self._put_off(commands[position:])
                self._slowed = True
                self._worker.turns.later(self._continue, self._used + thread_time() - self._began)
                return
            phase = talk.steps[talk.phase].get(kind)
            if phase is not None:
                talk.phase = phase
                try:
                    reply = _HANDLERS[kind](self, command)
                except Exception as error:
                    assert self._session is not None
                    reply = self._session.fault(error)
                if reply is not None:
                    talk.answer(command, reply)
                if kind is m.Headers and self._session is not None and self._session.fields_left:
                    commands.insert(position + 1, m.Headers(list(self._session.fields_left)))
                    self._session.fields_left = ()
            elif type(command) is m.Headers and kind not in talk.silent:
                for name, value in command.fields:
                    self._step(m.Header(name, value), out)
            elif self._step(command, out):
                if self._pending is not None:
                    self._put_off(commands[position + 1 :])
                return

    def _over(self) -> bool:
        """Return whether a slice has been used. Time in which others had the processor is not ours."""
        return thread_time() - self._began > SLICE_SECONDS

    def _decides(self) -> bool:
        """Do what the end of a large header asks for, as far as there is time; whether all is done."""
        session = self._session
        if session is None or not session.heavy:
            return True
        if not self._worker.turns.free():
            return False
        while session.decide_one():
            if self._over():
                return False
        return True

    def _continue(self) -> None:
        """Go on in a later turn with what was put off."""
        if self._slowed and not self.closed:
            self._slowed = False
            self._go_on()

    def _go_on(self) -> None:
        backlog, self._backlog = self._backlog, None
        if backlog is not None and self._unsent is None:
            self._watch()
        self._work(backlog or [])

    def _step(self, command: m.Command, out: list[bytes]) -> bool:
        """Do what one command asks for; whether what comes behind it has to wait, or means nothing any more."""
        talk, kind = self._dialogue, type(command)
        flags = talk.receive(command)
        if not flags:
            return False
        if flags & dialogue.ABORT_FIRST:
            self._abort(replaced=kind is m.Mail)
        reply = None
        if flags & dialogue.HANDLE:
            try:
                reply = _HANDLERS[kind](self, command)
            except RemoteProtocolError:
                raise
            except Exception as error:
                if self._session is None:
                    raise
                reply = self._session.fault(error)
            if reply is _WAIT:
                return True
            if kind is m.Negotiate:
                out.append(reply or b"")
                return False
        elif not flags & dialogue.ANSWER:
            return False
        if reply is not None or kind not in talk.silent:
            octets = talk.answer(command, reply)
            if octets:
                out.append(octets)
        return False

    def _put_off(self, commands: list[m.Command]) -> None:
        """Keep commands for later; as long as there are any, nothing more is read."""
        if not commands and self._fault is None:
            return
        owned = [m.Body(memoryview(bytes(c.chunk)), c.last) if isinstance(c, m.Body) else c for c in commands]
        self._backlog = (self._backlog or []) + owned
        self._worker.ready.forget(self.sock.fileno())

    def _send(self, octets: bytes) -> None:
        if not octets or self.closed:
            return
        if self._unsent is not None:
            self._unsent += octets
            return
        try:
            count = self.sock.send(octets)
        except (BlockingIOError, InterruptedError):
            count = 0
        except OSError:
            self.close()
            return
        if count < len(octets):
            # The MTA does not read: neither do we, until it does.
            self._unsent = bytearray(octets[count:])
            self._worker.ready.forget(self.sock.fileno())
            self._worker.ready.when_writable(self.sock.fileno(), self._writable)

    def _writable(self) -> None:
        assert self._unsent is not None
        try:
            del self._unsent[: self.sock.send(self._unsent)]
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close()
            return
        if not self._unsent:
            self._unsent = None
            self._worker.ready.forget(self.sock.fileno())
            if self._worker.stopping and not self.in_message:
                self.close()
            elif self._backlog is None:
                self._worker.ready.when_readable(self.sock.fileno(), self.readable)

    # --- commands; each handler returns the session's reply

    def _negotiate(self, command: m.Negotiate) -> bytes:
        self._offer = command
        session = self._worker.new_session()
        version, actions, protocol, lists = session.negotiate(*command)
        self._session = session
        self._dialogue.negotiated(protocol)
        return codec.negotiation(version, actions, protocol, lists)

    def _macros(self, command: m.Macros) -> None:
        assert self._session is not None
        self._session.macros(command.stage, command.values)

    def _connect(self, command: m.Connect) -> bytes | None:
        assert self._session is not None
        return self._session.connect(*command)

    def _helo(self, command: m.Helo) -> bytes | None:
        assert self._session is not None
        return self._session.helo(command.name)

    def _mail(self, command: m.Mail) -> bytes | None:
        if self._open:
            self._message_over()
        self._open = True
        self._decided = False
        self._spent = 0.0
        self._started = self.touched
        self._worker.message_begins()
        session = self._session
        assert session is not None
        # After a reload the next message is the first with the new settings.
        session.engine = self._worker.engine
        return session.envfrom(command.args)

    def _rcpt(self, command: m.Rcpt) -> bytes | None:
        assert self._session is not None
        return self._session.envrcpt(command.args)

    def _data(self, command: m.Data) -> bytes | None:
        assert self._session is not None
        return self._session.data()

    def _header(self, command: m.Header) -> bytes | None:
        assert self._session is not None
        return self._session.header(command.name, command.value)

    def _headers(self, command: m.Headers) -> bytes | None:
        assert self._session is not None
        return self._session.headers(command.fields, True)

    def _end_of_headers(self, command: m.EndOfHeaders) -> bytes | None:
        session = self._session
        assert session is not None
        self._decided = True
        reply = session.end_of_headers()
        for name in session.queries:
            self._questions.ask(name, self._worker.resolver, self._answered)
        return reply

    def _body(self, command: m.Body) -> bytes | None:
        if not self._decided:
            # Allowed, though no MTA does it: no end of headers before the body, or before the end.
            self._end_of_headers(m.EndOfHeaders())
        return self._session.body(command[0])  # type: ignore[union-attr]

    def _unknown(self, command: m.Unknown) -> bytes | None:
        assert self._session is not None
        return self._session.unknown(command.line)

    def _quit(self, command: m.Quit) -> bytes:
        # Not before the replies to what came with it are written.
        self._quits = True
        return _WAIT

    def _quit_nc(self, command: m.QuitNewConnection) -> None:
        if self._session is None or self._offer is None:
            return
        self._session.close()
        # The next SMTP connection has nothing of this one but what was negotiated.
        self._session = self._worker.new_session()
        self._session.negotiate(*self._offer)

    def _end_of_message(self, command: m.EndOfMessage) -> bytes | None:
        if not self._decided:
            self._end_of_headers(m.EndOfHeaders())
        reply = self._finish(memoryview(command.chunk) if command.chunk else None)
        if reply is _WAIT:
            self._pending = command
        return reply

    # --- waiting for the DNS

    def _answered(self, name: bytes, answer: TxtAnswer) -> None:
        if self._questions.hear(name, answer) and self._pending is not None:
            # One answer may be what a thousand messages wait for.
            if self._worker.turns.free():
                self._resume()
            else:
                self._worker.turns.later(self._resume, self._used)

    def _finish(self, chunk: memoryview | None) -> bytes:
        """Ask the session for its verdict; `_WAIT` if answers are missing."""
        session = self._session
        assert session is not None
        if chunk is not None:
            session.body(chunk)
        worker = self._worker
        begin = worker.now()
        questions = self._questions
        while not questions.missing:
            if session.judge_one(questions.answers):
                if not self._over():
                    continue
                self._spent += worker.now() - begin
                if self._progress is None:
                    # Its turn may come late, where many have much to do.
                    self._progress = worker.loop.call_later(PROGRESS_SECONDS, self._show_progress)
                worker.turns.later(self._resume, self._used + thread_time() - self._began)
                return _WAIT
            reply = session.end_of_message(None, questions.answers)
            if isinstance(reply, bytes):
                worker.judged(self._spent + worker.now() - begin)
                return reply
            for name in reply:
                questions.ask(name, worker.resolver, self._answered)
        self._spent += worker.now() - begin
        loop = worker.loop
        if self._progress is None:
            self._progress = loop.call_later(PROGRESS_SECONDS, self._show_progress)
        if self._deadline is None:
            self._deadline = loop.call_later(worker.dns_deadline_seconds, self._give_up)
        return _WAIT

    def _show_progress(self) -> None:
        self._progress = self._worker.loop.call_later(PROGRESS_SECONDS, self._show_progress)
        self._send(codec.PROGRESS)

    def _give_up(self) -> None:
        self._questions.give_up(self._worker.resolver, self._answered)
        self._resume()

    def _resume(self) -> None:
        """Go on with the end of message that was waiting, then with what came meanwhile."""
        command = self._pending
        if command is None or self.closed:
            return
        self._began = thread_time()
        try:
            reply = self._finish(None)
        except Exception as error:
            if self._session is None:
                raise
            reply = self._session.fault(error)
        if reply is _WAIT:
            self._used += thread_time() - self._began
            return
        self._pending = None
        self._stop_timers()
        octets = self._dialogue.answer(command, reply)
        self._message_over()
        self._send(octets)
        if not self.closed:
            self._go_on()

    def _stop_timers(self) -> None:
        for timer in (self._progress, self._deadline):
            if timer is not None:
                timer.cancel()
        self._progress = self._deadline = None

    # --- the end of messages and of the connection

    def _abort(self, *, replaced: bool = False) -> None:
        # MAIL begins anew by itself; its macros have come before it, and an abort would lose them.
        if self._session is not None and not replaced:
            self._session.abort()
        if self._open:
            self._message_over(aborted=True)

    def _message_over(self, *, aborted: bool = False) -> None:
        self._open = False
        self._used = 0.0
        self._questions.clear(self._worker.resolver, self._answered)
        self._worker.message_ends(None if aborted else self._started)

    def close(self) -> None:
        """End the connection: abort an open message, close the session, close the socket. Once."""
        if self.closed:
            return
        self.closed = True
        self._stop_timers()
        self._pending = None
        self._worker.ready.forget(self.sock.fileno())
        self.sock.close()
        try:
            if self._open:
                self._abort()
            if self._session is not None:
                self._session.close()
        except Exception as error:
            self._worker.unexpected(error)
        self._session = None
        self._worker.connection_closed(self)


_HANDLERS: Final[dict[type[m.Command], Callable[[Any, Any], bytes | None]]] = {
    m.Negotiate: Connection._negotiate,
    m.Macros: Connection._macros,
    m.Connect: Connection._connect,
    m.Helo: Connection._helo,
    m.Mail: Connection._mail,
    m.Rcpt: Connection._rcpt,
    m.Data: Connection._data,
    m.Header: Connection._header,
    m.Headers: Connection._headers,
    m.EndOfHeaders: Connection._end_of_headers,
    m.Body: Connection._body,
    m.EndOfMessage: Connection._end_of_message,
    m.Unknown: Connection._unknown,
    m.Quit: Connection._quit,
    m.QuitNewConnection: Connection._quit_nc,
}
