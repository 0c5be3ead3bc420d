"""Addresses in From: and Sender:, as far as signing and verifying need them.

RFC 5322 section 3.4 with what real mail adds: comments anywhere, groups, routes, raw 8-bit octets in
phrases. Only the first address counts (RFC 4870 section 3.1). One pass, linear in the length of the value.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from dkconf.mail.header import HeaderField

MAX_ADDRESS_TOKENS = 4096
"""Tokens looked at before the first address ends; a display name has a handful."""

MAX_ADDRESS_OCTETS = 4096
"""Octets of a field in which its first address must end, comments and names included; a line has 998 at most (RFC 5322
section 2.1.1)."""

_NAMES = frozenset([b"from", b"sender"])
_SPECIALS = frozenset(b'()<>[]:;@\\,."')
_BLANKS = frozenset(b" \t\r\n")
_STOP = _SPECIALS | _BLANKS

_ATEXT = rb"A-Za-z0-9!#$%&'*+/=?^_`{|}~-"
_SPEC = rb"([.%b]++)@([A-Za-z0-9-]++(?:\.[A-Za-z0-9-]++)*+)" % _ATEXT
_PLAIN = re.compile(
    rb"[ \t]*+(?:(?:\"[^\"\\\0-\x1f\x7f]*+\"[ \t]*+|[. \t\x80-\xff%b]*+)<%b>|%b)[ \t]*+" % (_ATEXT, _SPEC, _SPEC)
)
"""One address as nearly all mail has it, for speed: what this does not match goes through the tokens. Nothing in it
is tried twice, so that its cost is linear too."""


class Sender(NamedTuple):
    """The address that a message names as its sender, and the field it was taken from."""

    header: str
    """`from` or `sender`."""
    local: bytes
    """The local part, unquoted, case kept."""
    domain: bytes
    """In lower case."""

    @property
    def address(self) -> str:
        """LOCAL@DOMAIN for logs and results."""
        return (self.local + b"@" + self.domain).decode("utf-8", "replace")


def find_sender(fields: Sequence[HeaderField]) -> tuple[Sender | None, str]:
    """Return the sender and "", or None and what is wrong.

    Exactly one From with a usable first address; at most one Sender, likewise usable; Sender wins. An
    unusable Sender does not fall back to From. Source: RFC 4870 sections 3.1, 3.5.1 and 3.7.3.
    """
    found_fields = [field for field in fields if field.lower in _NAMES]
    froms = [field for field in found_fields if field.lower == b"from"]
    senders = [field for field in found_fields if field.lower == b"sender"] if len(found_fields) > 1 else []
    if len(froms) != 1:
        return None, "no From field" if not froms else "more than one From field"
    if len(senders) > 1:
        return None, "more than one Sender field"
    found = sender_address(froms[0].value)
    if found is None:
        return None, "no usable address in From"
    if senders:
        found = sender_address(senders[0].value)
        if found is None:
            return None, "no usable address in Sender"
        return Sender("sender", *found), ""
    return Sender("from", *found), ""


def sender_address(value: bytes) -> tuple[bytes, bytes] | None:
    """Return (local part, domain in lower case) of the first address, or None if there is none with a
    domain."""
    cut = len(value) > MAX_ADDRESS_OCTETS
    if cut:
        value = value[:MAX_ADDRESS_OCTETS]
    plain = None if cut else _PLAIN.fullmatch(value)
    if plain is not None:
        return plain[1] or plain[3], (plain[2] or plain[4]).lower()
    tokens = _tokens(value)
    if tokens is None:
        return None
    current: list[tuple[str, bytes]] = []
    angle = False
    for token in tokens:
        kind = token[0]
        if kind in (",", ";") and not angle:
            if current:
                cut = False  # this one is whole
                break
        elif kind == ":" and not angle:
            current = []  # it was the name of a group
        else:
            angle = kind == "<" or (angle and kind != ">")
            current.append(token)
    return None if cut else _mailbox(current)


def _mailbox(tokens: list[tuple[str, bytes]]) -> tuple[bytes, bytes] | None:
    kinds = [kind for kind, _ in tokens]
    if "<" in kinds:
        if kinds[-1] != ">" or kinds.count("<") != 1:
            return None
        tokens = tokens[kinds.index("<") + 1 : -1]
        kinds = [kind for kind, _ in tokens]
        if ":" in kinds:  # a source route, `<@a,@b:user@c>`, RFC 5322 section 4.4
            tokens = tokens[kinds.index(":") + 1 :]
            kinds = [kind for kind, _ in tokens]
    if kinds.count("@") != 1:
        return None
    at = kinds.index("@")
    local = _dotted(tokens[:at], ("word", "quoted"))
    domain = _dotted(tokens[at + 1 :], ("word", "literal"))
    if not local or not domain:
        return None
    return local, domain.lower()


def _dotted(tokens: list[tuple[str, bytes]], allowed: tuple[str, str]) -> bytes | None:
    """Return words joined by dots. Doubled or final dots in a local part are let through: they exist
    (docomo)."""
    previous = "."
    for kind, _ in tokens:
        if kind != "." and (kind not in allowed or previous != "."):
            return None
        previous = kind
    text = b"".join([text for _, text in tokens])
    if "literal" in allowed and text and (text[:1] == b"." or b".." in text):
        return None
    return text[:-1] if "literal" in allowed and text.endswith(b".") else text


def _tokens(value: bytes) -> list[tuple[str, bytes]] | None:
    """Return words, quoted strings, literals and specials, without comments; None where something is never
    closed."""
    tokens: list[tuple[str, bytes]] = []
    position, size = 0, len(value)
    while position < size:
        octet = value[position]
        if octet in _BLANKS:
            position += 1
        elif octet == 0x28:  # (
            position = _skip_comment(value, position)
            if position < 0:
                return None
        elif octet == 0x22:  # "
            text, position = _closed(value, position + 1, 0x22)
            if position < 0:
                return None
            tokens.append(("quoted", text))
        elif octet == 0x5B:  # [
            text, position = _closed(value, position + 1, 0x5D)
            if position < 0:
                return None
            tokens.append(("literal", b"[" + text + b"]"))
        elif octet in _SPECIALS:
            tokens.append((chr(octet), value[position : position + 1]))
            position += 1
        else:
            start = position
            while position < size and value[position] not in _STOP:
                position += 1
            word = value[start:position]
            if any(octet < 33 or octet == 127 for octet in word):
                return None
            tokens.append(("word", word))
        if len(tokens) > MAX_ADDRESS_TOKENS:
            return None
    return tokens


def _skip_comment(value: bytes, position: int) -> int:
    """Return the position behind the comment that opens here, or -1; comments nest, and are not recursed
    into."""
    depth = 0
    while position < len(value):
        octet = value[position]
        if octet == 0x5C:  # backslash
            position += 1
        elif octet == 0x28:
            depth += 1
        elif octet == 0x29:
            depth -= 1
            if not depth:
                return position + 1
        position += 1
    return -1


def _closed(value: bytes, position: int, closing: int) -> tuple[bytes, int]:
    """Return the text up to the closing octet, unescaped and unfolded, and the position behind it, or -1."""
    text = bytearray()
    while position < len(value):
        octet = value[position]
        if octet == closing:
            return bytes(text), position + 1
        if octet == 0x5C and position + 1 < len(value):
            position += 1
            octet = value[position]
        if octet not in b"\r\n":
            text.append(octet)
        position += 1
    return b"", -1
