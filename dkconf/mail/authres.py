"""Authentication-Results (RFC 8601): read tolerantly, written so that nothing can be injected.

Whose field it is `authservid` says (`claims`). Here is what a field says, as one tolerant reader has it. Peers fell
over strict parsers (real mail has fields without an authserv-id) and over the values of attackers written out as they
came. So `authserv_id_of` never raises, and `result_text` quotes whatever is not a plain token and drops every control
character.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from dkconf.mail.authservid import MAX_FIELD_OCTETS, SUPPORTED_VERSION, claims

__all__ = [
    "AuthRes",
    "ResInfo",
    "authserv_id_of",
    "claims",
    "format_authres",
    "parse_authres",
    "result_text",
    "signature_prefixes",
]

MAX_VALUE_OCTETS = 256
"""Longest property value or reason written; longer ones are cut. Mail readers lose data over fields too
long."""
FOLD_COLUMN = 76
"""A line is folded before it grows beyond this."""

_TOKEN = re.compile(r"[!#$%&'*+.0-9A-Z^_`a-z{|}~-]+")
"""Visible ASCII but for the tspecials, RFC 2045 section 5.1. These patterns run once a word of each verified
message: character by character they cost as much as the signature's own check."""
_NO_KEYWORD = re.compile(r"[^A-Za-z0-9_.-]")
_BLANKS = b" \t\r\n"


class ResInfo(NamedTuple):
    """One method's result, as it goes into the field."""

    method: str
    result: str
    reason: str = ""
    """Written as reason="..." where not empty."""
    comment: str = ""
    """Written in parentheses behind the result; dk-filter's form. Some readers break on comments: empty by
    default."""
    properties: tuple[tuple[str, str], ...] = ()
    """(ptype.property, value) pairs, in their order; those with an empty value are left out."""


class AuthRes(NamedTuple):
    """A parsed field."""

    authserv_id: str
    version: int = 1
    results: tuple[ResInfo, ...] = ()


# -- writing -----------------------------------------------------------------------------------------------


def format_authres(authserv_id: str, texts: Sequence[str]) -> bytes:
    """Return the value of an Authentication-Results field: leading blank, folded with LF + TAB, no final
    line end.

    Args:
        authserv_id: Whose results they are.
        texts: The results, each by `result_text`; without any the value says `none`.
    """
    head = _head_text(authserv_id)
    if not texts:
        return (head + " none").encode("ascii")
    return "\n".join([head, *texts])[:-1].encode("ascii")


@lru_cache(maxsize=16)
def _head_text(authserv_id: str) -> str:
    return " " + _quoted_unless_token(_clean(authserv_id)) + ";"


def result_text(info: ResInfo) -> str:
    """Return the lines of one result, with a semicolon at the end."""
    words = [_keyword(info.method) + "=" + _keyword(info.result)]
    if info.comment:
        words.append("(" + _comment(info.comment) + ")")
    if info.reason:
        words.append("reason=" + _quoted(_clean(info.reason)))
    for name, value in info.properties:
        if value:
            words.append(_keyword(name) + "=" + _property_value(value))
    words[-1] += ";"
    lines: list[str] = []
    line = "\t"
    for word in words:
        if len(line) > 1 and len(line) + 1 + len(word) > FOLD_COLUMN:
            lines.append(line)
            line = "\t" + word
        else:
            line += word if len(line) == 1 else " " + word
    return "\n".join([*lines, line])


def signature_prefixes(signatures: Sequence[bytes]) -> list[str]:
    """Return for each b= value the shortest start, of at least 8 octets, that tells it from the others.

    Source: RFC 6008 section 4.
    """
    ordered = sorted(set(signatures))
    needed = dict.fromkeys(ordered, 8)
    for before, after in pairwise(ordered):  # whatever shares the longest start stands next to it when sorted
        common = _common_octets(before, after)
        needed[before] = max(needed[before], common + 1)
        needed[after] = max(needed[after], common + 1)
    return [signature[: needed[signature]].decode("ascii", "replace") for signature in signatures]


def _common_octets(one: bytes, other: bytes) -> int:
    """Return how many octets two values have in common at their start; by halves, since they may have 60,000."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _clean(text: str) -> str:
    """Return printable ASCII: anything else becomes `?`, so that no value can end a line or hide in one."""
    if len(text) <= MAX_VALUE_OCTETS and text.isascii() and text.isprintable():
        return text
    cleaned = "".join(char if " " <= char <= "~" else "?" for char in text[: MAX_VALUE_OCTETS + 1])
    return cleaned if len(cleaned) <= MAX_VALUE_OCTETS else cleaned[: MAX_VALUE_OCTETS - 3] + "..."


def _is_token(text: str) -> bool:
    return _TOKEN.fullmatch(text) is not None


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _quoted_unless_token(text: str) -> str:
    return text if _is_token(text) else _quoted(text)


def _keyword(text: str) -> str:
    return _NO_KEYWORD.sub("-", text[:64]) or "-"


def _comment(text: str) -> str:
    return "".join("" if char in "()\\" else char for char in _clean(text))


def _property_value(text: str) -> str:
    """Return a pvalue (RFC 8601 section 2.2): a token, [local]@domain, or a quoted string."""
    text = _clean(text)
    local, at, domain = text.rpartition("@")
    if at and _is_token(domain) and (not local or _is_token(local)):
        return text
    return _quoted_unless_token(text)


# -- reading -----------------------------------------------------------------------------------------------


def authserv_id_of(value: bytes) -> str | None:
    """Return the authserv-id of a field's value as it is written there, or None if the value cannot be
    parsed.

    A field without an authserv-id (`spf=pass ...`) cannot be parsed. Comments may stand anywhere, and nest.
    """
    found = _head(value)
    return found[0] if found is not None else None


def parse_authres(value: bytes) -> AuthRes | None:
    """Return what a field says, or None if it cannot be parsed as far as its results."""
    head = _head(value)
    if head is None:
        return None
    authserv_id, version, position = head
    tokens = _tokens(value, position)
    if tokens is None:
        return None
    results: list[ResInfo] = []
    statement: list[tuple[str, str]] = []
    for token in [*tokens, (";", ";")]:
        if token[0] != ";":
            statement.append(token)
            continue
        if statement and [text.lower() for _, text in statement] != ["none"]:
            info = _resinfo(statement)
            if info is None:
                return None
            results.append(info)
        statement = []
    return AuthRes(authserv_id, version, tuple(results))


def _head(value: bytes) -> tuple[str, int, int] | None:
    """Return (authserv-id, version, position behind the first semicolon or at the end)."""
    if len(value) > MAX_FIELD_OCTETS:
        return None
    words: list[str] = []
    position = 0
    while True:
        token = _next_token(value, position)
        if token is None:
            return None
        kind, text, position = token
        if kind in ("end", ";"):
            break
        if kind not in ("word", "quoted") or len(words) == 2:
            return None
        words.append(text)
    if not words or not words[0]:
        return None
    version = SUPPORTED_VERSION
    if len(words) == 2:
        if not (words[1].isascii() and words[1].isdigit() and len(words[1]) < 6):
            return None
        version = int(words[1])
    return words[0], version, position


def _tokens(value: bytes, position: int) -> list[tuple[str, str]] | None:
    tokens: list[tuple[str, str]] = []
    while True:
        token = _next_token(value, position)
        if token is None:
            return None
        kind, text, position = token
        if kind == "end":
            return tokens
        tokens.append((kind, text))


def _resinfo(tokens: list[tuple[str, str]]) -> ResInfo | None:
    """Return one `method[/version]=result [reason=...] [ptype.property=value]...`, or None."""
    pairs: list[tuple[str, str]] = []
    position = 0
    while position < len(tokens):
        name = tokens[position][1]
        if tokens[position][0] != "word" or position + 2 >= len(tokens) or tokens[position + 1][0] != "=":
            return None
        position += 2
        text: list[str] = []
        # An unquoted value may hold `@`, `/` and so on: everything up to the next name that has a `=`.
        while position < len(tokens) and (not text or not _begins_pair(tokens, position)):
            if tokens[position][0] == "=" and not text:
                return None
            text.append(tokens[position][1])
            position += 1
        pairs.append((name.lower(), "".join(text)))
    method, result = pairs[0]
    method = method.partition("/")[0]  # `dkim/1`, a version nobody writes
    if not all(word and _NO_KEYWORD.search(word) is None for word in (method, result)):
        return None
    reason = next((text for name, text in pairs[1:] if name == "reason"), "")
    properties = tuple((name, text) for name, text in pairs[1:] if name != "reason")
    return ResInfo(method, result.lower(), reason, "", properties)


def _begins_pair(tokens: list[tuple[str, str]], position: int) -> bool:
    return tokens[position][0] == "word" and position + 1 < len(tokens) and tokens[position + 1][0] == "="


def _next_token(value: bytes, position: int) -> tuple[str, str, int] | None:
    """Return (kind, text, position behind it); kinds are word, quoted, `;`, `=` and end. None: not
    parsable."""
    size = len(value)
    while position < size:
        octet = value[position]
        if octet in _BLANKS:
            position += 1
        elif octet == 0x28:  # (
            position = _skip_comment(value, position)
            if position < 0:
                return None
        elif octet == 0x22:  # "
            return _quoted_string(value, position + 1)
        elif octet in b";=":
            return chr(octet), chr(octet), position + 1
        else:
            start = position
            while position < size and value[position] not in b' \t\r\n;=("':
                if value[position] < 32 or value[position] == 127:
                    return None
                position += 1
            try:
                return "word", value[start:position].decode("utf-8"), position
            except UnicodeDecodeError:
                return None
    return "end", "", size


def _skip_comment(value: bytes, position: int) -> int:
    depth = 0
    while position < len(value):
        octet = value[position]
        if octet == 0x5C:
            position += 1
        elif octet == 0x28:
            depth += 1
        elif octet == 0x29:
            depth -= 1
            if not depth:
                return position + 1
        position += 1
    return -1


def _quoted_string(value: bytes, position: int) -> tuple[str, str, int] | None:
    text = bytearray()
    while position < len(value):
        octet = value[position]
        if octet == 0x22:
            try:
                return "quoted", text.decode("utf-8"), position + 1
            except UnicodeDecodeError:
                return None
        if octet == 0x5C and position + 1 < len(value):
            position += 1
            octet = value[position]
        if octet not in b"\r\n":
            if (octet < 32 and octet != 9) or octet == 127:
                return None
            text.append(octet)
        position += 1
    return None
