"""sendmail's queue files: the header lines of a qf file, the body of a df file.

A qf file has one letter per line (op.me, "Queue File Format"); header fields are `H` lines, with mailer flags
between question marks before the name (`H??Subject: x`, `H?P?Return-Path: ...`), and continuation lines that
begin with a blank or a TAB. A line `.` ends it. The order of the fields is their order in the message. df
files have LF line ends.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Field:
    """One header field, octets as they leave."""

    name: bytes
    value: bytes
    """Exact after the colon, a leading blank included; folds are CRLF and a blank; no final CRLF."""
    flags: bytes
    """Mailer flags that the delivering mailer must have for this field to be sent; b"" = always."""


@dataclass(frozen=True, slots=True)
class QueueFile:
    fields: tuple[Field, ...]
    sender: bytes
    recipients: tuple[bytes, ...]
    quarantine: bytes
    """The reason for which a filter put it into quarantine; b"" = none."""
    complete: bool
    """It ends in a line `.`: sendmail has written all of it."""


def parse_qf(octets: bytes) -> QueueFile:
    """Return what a qf file says; lines of kinds that are not known are left out."""
    logical: list[list[bytes]] = []
    complete = False
    for line in octets.split(b"\n"):
        if line == b".":
            complete = True
            break
        if line[:1] in (b" ", b"\t") and logical:
            logical[-1].append(line)
        elif line:
            logical.append([line])
    fields: list[Field] = []
    sender, quarantine, recipients = b"", b"", []
    for pieces in logical:
        kind, rest = pieces[0][:1], pieces[0][1:]
        if kind == b"H":
            field = _field(rest, pieces[1:])
            if field is not None:
                fields.append(field)
        elif kind == b"S":
            sender = rest
        elif kind == b"R":
            # R<flags>:<address>, since sendmail 8.10.
            recipients.append(rest.partition(b":")[2] or rest)
        elif kind in (b"q",):
            quarantine = rest
    return QueueFile(tuple(fields), sender, tuple(recipients), quarantine, complete)


def _field(first: bytes, folds: list[bytes]) -> Field | None:
    flags = b""
    # ?flags? and, for a field that depends on a macro, ?${name}?: one or two such groups.
    while first.startswith(b"?"):
        group, mark, rest = first[1:].partition(b"?")
        if not mark:
            return None
        flags, first = flags + group, rest
    name, colon, value = first.partition(b":")
    if not colon:
        return None
    return Field(name.rstrip(b" \t"), b"\r\n".join([value, *folds]), flags)


def body_of_df(octets: bytes) -> bytes:
    """Return the body with CRLF line ends."""
    return octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def signature_tags(field: Field) -> dict[bytes, bytes]:
    """Return tag -> value of a DomainKey-Signature or DKIM-Signature, blanks within values removed."""
    found: dict[bytes, bytes] = {}
    for part in field.value.split(b";"):
        tag, equals, value = part.partition(b"=")
        if equals:
            found.setdefault(tag.strip(), b"".join(value.split()))
    return found


def selectors(queue_file: QueueFile) -> set[tuple[bytes, bytes]]:
    """Return (domain, selector) of every signature that waits in this queue file."""
    found = set()
    for field in queue_file.fields:
        if field.name.lower() in (b"domainkey-signature", b"dkim-signature"):
            tags = signature_tags(field)
            if b"d" in tags and b"s" in tags:
                found.add((tags[b"d"].lower(), tags[b"s"].lower()))
    return found
