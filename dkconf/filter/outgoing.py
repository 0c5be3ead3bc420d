"""Signing one message: the jobs, and the header fields they end in.

DomainKeys first, then DKIM, each inserted directly below the MTA's own Received: so DKIM is on top, and the
DomainKeys input holds no signature of ours.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from dkconf.dkim import signer as dkim
from dkconf.dkim.canonical import BodyHashes
from dkconf.domainkeys import signer as domainkeys
from dkconf.filter.engine import Signers
from dkconf.mail.header import HeaderField

LINE_OCTETS: Final = 998
"""RFC 5322 section 2.1.1; MTAs break longer lines after the filter has signed, and the signature with them."""

_REACH: Final = LINE_OCTETS + 2
"""A line with its CRLF."""

# From where a line starts, the last line end that it may have: a step is almost a thousand octets, and costs 30 ns.
_LINES: Final = re.compile(rb"(?s:.{0,%d}\n)*+" % (_REACH - 1))


class LineWatch:
    """Says whether a body has a line of more than 998 octets, looking at few of its octets."""

    __slots__ = ("_open", "found")

    def __init__(self) -> None:
        self._open = 0
        """Octets of the last line so far."""
        self.found = False

    def update(self, chunk: bytes | memoryview) -> None:
        """Look at the next piece of the body."""
        if self.found:
            return
        start = 0
        if self._open:
            start = bytes(chunk[: _REACH - self._open]).rfind(b"\n") + 1
            if not start:
                self._open += len(chunk)
                self.found = self._open >= _REACH
                return
        lines = _LINES.match(chunk, start)
        assert lines is not None  # no line at all matches, too
        self._open = len(chunk) - lines.end()
        self.found = self._open >= _REACH


def long_field(fields: Sequence[HeaderField]) -> str:
    """The name of the first field with a line of more than 998 octets, or ""."""
    for field in fields:
        if len(field.value) + len(field.name) >= LINE_OCTETS:
            lines = (field.name + b":" + field.value).split(b"\r\n")
            if max(map(len, lines)) > LINE_OCTETS:
                return field.name.decode("ascii", "backslashreplace")
    return ""


class Signing:
    """One message being signed."""

    __slots__ = ("_dkim", "_domainkeys", "hash_keys", "names", "problems", "updates")

    def __init__(self, signers: Signers, fields: Sequence[HeaderField]) -> None:
        """Begin with the header fields as they will leave."""
        self._domainkeys: list[domainkeys.SigningJob] = []
        self._dkim: list[dkim.SigningJob] = []
        self.names: list[str] = []
        """What signs, for the log: `dkim d=example.com s=jan`."""
        self.problems: list[str] = []
        """What cannot sign this message, and why."""
        for author_signer in signers.dkim:
            try:
                self._dkim.append(author_signer.begin(fields))
                self.names.append(_name("dkim", author_signer))
            except dkim.CannotSign as error:
                self.problems.append(f"{_name('dkim', author_signer)}: {error}")
        for signer in signers.domainkeys:
            try:
                self._domainkeys.append(signer.begin(fields))
                self.names.append(_name("domainkeys", signer))
            except domainkeys.CannotSign as error:
                self.problems.append(f"{_name('domainkeys', signer)}: {error}")
        self.hash_keys = [job.hash_key for job in self._dkim]
        """The body hashes that `finish` will ask for."""
        self.updates = [job.update for job in self._domainkeys]
        """Functions that take each piece of the body beside them."""

    def finish(self, hashes: BodyHashes, now: int) -> list[HeaderField]:
        """The signature fields, in the order in which they are inserted: the last one ends on top."""
        fields = [job.finish() for job in self._domainkeys]
        fields += [job.finish(hashes[job.hash_key].digest(), now) for job in self._dkim]
        return fields


def _name(scheme: str, signer: dkim.Signer | domainkeys.Signer) -> str:
    return f"{scheme} d={signer.domain.decode('ascii')} s={signer.selector.decode('ascii')}"
