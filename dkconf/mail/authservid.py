"""Whose Authentication-Results field it is, for every reader behind us: RFC 8601 sections 2.2, 2.5 and 5.

A field that a reader takes for ours, and that came from outside, is a forged result. Nobody knows which readers there
are, and they read differently: OpenDMARC leaves out a `\\` or `)` that stands in the name, Python's email package
decodes encoded words, others drop what is not ASCII, compare A-labels with U-labels, or do not know that comments nest.
So a field stays only where every reading of it is another's:

- The name is a legal token (RFC 2045 section 5.1), as nearly all software writes it, and after all normalisation it is
  not ours. This is the short way. No reader leaves out the beginning of a field that is legal there, so nothing behind
  the name counts.
- It is legal in a rarer form, and no reading of that is ours: with comments, in quotes, with a version, in UTF-8, or
  with a job ID behind `/`, as OpenDKIM and OpenDMARC write it if told to.

What is not legal is removed, whatever it says. So is what no honest program writes: an encoded word where the name
stands, or a beginning longer than any name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple
from unicodedata import normalize

MAX_FIELD_OCTETS = 65536
"""A longer field counts as unparsable."""
MAX_HEAD_OCTETS = 1024
"""Of what stands before the results, unless it is a plain token."""
MAX_HEAD_PIECES = 32
"""Words, comments and blanks of it."""
MAX_NAME_OCTETS = 255
"""Of a name that is no plain token, or has A-labels: names of hosts are no longer."""
MAX_READ_OCTETS = 4096
"""Of a field that begins with a comment, which all of it is searched for."""
SUPPORTED_VERSION = 1
"""Of the field, RFC 8601 section 2.6."""

# A plain name, perhaps with a plain comment or a version behind it.
_PLAIN = re.compile(
    rb"[ \t\r\n]*+([0-9A-Za-z._-]++)([ \t\r\n]*+\([ -'*-\[\]-~]{0,200}+\)|[ \t\r\n]++1(?![^ \t\r\n;]))?+"
    rb"[ \t\r\n]*+(?:;|\Z)"
)
# The pieces of what stands before the results. A word is a token of RFC 2045, with `/` for a job ID, and with UTF-8.
_PIECE = re.compile(
    rb"(?P<blank>[ \t\r\n]++)|(?P<word>[!#$%&'*+./0-9A-Z^_`a-z{|}~\x80-\xff-]++)"
    rb'|"(?P<quoted>(?:[^"\\\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\\[\t -~])*+)"|(?P<comment>\()|(?P<end>;|\Z)'
)
_IN_COMMENT = re.compile(rb"(?:[^()\\\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\\[\t -~])*+([()])")
_NAME = re.compile(rb"[0-9A-Za-z._-]+")
_NOT_OF_A_NAME = re.compile(r"[^a-z0-9._-]+")
# What normalisation may leave and no name has: all but letters, digits, `_`, `.`, `-`, and four letters without shape.
_DROPPED = re.compile("[^\\w.-]|[\u115f\u1160\u3164\uffa0]")
# IDNA's dots (RFC 3490 section 3.1) as NFKC leaves them; and what looks like a hyphen.
_ALIKE = {0x3002: ".", **dict.fromkeys((*range(0x2010, 0x2016), 0x2212), "-")}


# Of what a line begins with, for those who end it at a lone CR; behind a fold a line begins with a blank.
_HIDDEN = re.compile(rb"[\r\n]authentication-results[ \t]*:", re.IGNORECASE)


class _Ours(NamedTuple):
    plain: frozenset[bytes]
    """Our name as a plain token in lower case, as written and normalised."""
    canonical: str


def claims(value: bytes, authserv_id: str) -> bool:
    """Return True if any reader may take the field for ours, or if it cannot be parsed, or is of another version.

    Such a field must not reach a reader if it came from outside (RFC 8601 section 5).
    """
    ours = _ours(authserv_id)
    found = _PLAIN.match(value)
    if (b"\n" in value or b"\r" in value) and not _only_folds(value):
        return True  # a reader may begin a new field there
    if found is None or len(value) > MAX_FIELD_OCTETS:
        return _may_be_ours(value, ours)
    name = found[1].lower().strip(b".")
    if b"xn--" in name or (found[2] and ours.canonical.startswith(name.decode("ascii"))):
        return _may_be_ours(value, ours)  # the comment or the version may be the rest of our name
    return name in ours.plain


def hides_results(name: bytes, value: bytes) -> bool:
    """Return True if a reader that ends a line at a lone CR finds an Authentication-Results field within another.

    Whose it says it is does not count: no honest program writes that.
    """
    octets = b"%b:%b" % (name, value) if b"\r" in name or b"\n" in name else value
    if b"\r" not in octets and b"\n" not in octets:
        return False
    return _HIDDEN.search(octets) is not None


def _only_folds(value: bytes) -> bool:
    """Whether each line end is a CRLF or LF with a blank behind it. Python's email package ends a line at a lone CR."""
    folds = value.count(b"\n ") + value.count(b"\n\t")
    return value.count(b"\n") == folds and value.count(b"\r") == value.count(b"\r\n")


@lru_cache(maxsize=64)
def _ours(authserv_id: str) -> _Ours:
    name = canonical(authserv_id)
    plain = {authserv_id.lower().strip("."), name}
    return _Ours(frozenset(text.encode("ascii") for text in plain if text.isascii()), name)


def canonical(text: str) -> str:
    """Return the form in which two names are equal that any reader may take for one.

    NFKC, without regard to case, U-labels in place of A-labels, IDNA's dots as dots, and nothing but letters, digits,
    `.`, `-` and `_`. No final dot.
    """
    text = _folded(text)
    if "xn--" in text:
        text = _folded(".".join(map(_u_label, text.split("."))))
    return text.strip(".")


def _folded(text: str) -> str:
    # Some readers compare in capitals: then a dotless i is an i.
    text = normalize("NFKC", normalize("NFKC", text).upper().casefold())
    return _DROPPED.sub("", text.translate(_ALIKE))


def _u_label(label: str) -> str:
    """Return the label decoded, also one that strict software would refuse (`xn--mx-` is mx)."""
    if not label.startswith("xn--") or len(label) > MAX_NAME_OCTETS:
        return label
    try:
        return label[4:].encode("ascii").decode("punycode")
    except (UnicodeError, ValueError, OverflowError):
        return label


# -- the rarer forms ---------------------------------------------------------------------------------------


class _Head(NamedTuple):
    """What stands before the results, and is legal."""

    name: bytes
    quoted: bool
    version: bytes
    behind: int
    """Where the name ends."""
    comment_first: bool
    comment_behind: bool


def _may_be_ours(value: bytes, ours: _Ours) -> bool:
    """Return False only if all readings are another's."""
    head = _head(value) if len(value) <= MAX_FIELD_OCTETS else None
    if head is None or int(head.version or b"1") != SUPPORTED_VERSION:
        return True
    if _NAME.fullmatch(head.name) and b"xn--" not in head.name.lower():
        name = head.name.lower().decode("ascii").strip(".")
        if ours.canonical in (name, name + head.version.decode("ascii")):
            return True
    else:
        try:
            name = canonical(head.name.decode("utf-8"))
        except UnicodeDecodeError:
            return True
        if not name or any(_is_ours(text, ours) for text in _readings(head)):
            return True
    if head.comment_first or (head.quoted and not _NAME.fullmatch(head.name)):
        # A reader without nested comments, quotes or backslashes begins somewhere in them.
        return _can_be_left_of(value, ours.canonical)
    if head.comment_behind and ours.canonical.startswith(name):
        return _can_be_left_of(value[head.behind :], ours.canonical[len(name) :].lstrip("."))
    return False


def _head(value: bytes) -> _Head | None:
    """Return what stands before the results; None if it is not legal, or longer than anybody writes."""
    octets = value[:MAX_HEAD_OCTETS]
    words: list[tuple[bytes, bool]] = []
    position = behind = 0
    comment_first = comment_behind = False
    for _ in range(MAX_HEAD_PIECES):
        found = _PIECE.match(octets, position)
        if found is None:
            return None
        kind, position = found.lastgroup, found.end()
        if kind == "end":
            break
        if kind == "comment":
            position = _comment_end(octets, position)
            comment_first, comment_behind = comment_first or not words, bool(words)
        elif kind != "blank":
            words.append((found[kind or 0], kind == "quoted"))
            behind = behind or position
        if position < 0 or len(words) > 2:
            return None
    else:
        return None
    if not words or not 0 < len(words[0][0]) <= MAX_NAME_OCTETS or (not found[0] and len(value) > len(octets)):
        return None
    version = b""
    if len(words) == 2:
        version, quoted = words[1]
        if quoted or not version.isdigit() or len(version) > 5:
            return None
    return _Head(*words[0], version, behind, comment_first, comment_behind)


def _comment_end(octets: bytes, position: int) -> int:
    """Return the place behind a comment, given that behind its first parenthesis; -1 if it has no end."""
    depth = 1
    while depth:
        found = _IN_COMMENT.match(octets, position)
        if found is None:
            return -1
        depth += 1 if found[1] == b"(" else -1
        position = found.end()
    return position


def _readings(head: _Head) -> Iterator[str]:
    """Yield the name as one reader or the other has it."""
    name = head.name
    for octets in (name, name.replace(b"\\", b"")) if b"\\" in name else (name,):
        # By somebody who decodes it right; who leaves out what is not ASCII; and who takes it for another charset.
        texts = [octets.decode(charset, "ignore") for charset in ("utf-8", "ascii", "latin-1", "cp1252")]
        for text in dict.fromkeys(texts):
            yield text
            if head.version:
                yield text + head.version.decode("ascii")


def _is_ours(text: str, ours: _Ours) -> bool:
    """Return True if a name is ours, or ours with something around it (`'mx.example.com'`, `mx.example.com/4BX2k1`)."""
    if canonical(text) == ours.canonical:
        return True
    words = _NOT_OF_A_NAME.split(normalize("NFKC", text).casefold().translate(_ALIKE))
    return len(words) > 1 and any(word and canonical(word) == ours.canonical for word in words)


def _can_be_left_of(octets: bytes, name: str) -> bool:
    """Return True if somebody who leaves out some of the octets can be left with the name, or decodes them to it."""
    if not octets.isascii() or len(octets) > MAX_READ_OCTETS or b"=?" in octets or b"xn--" in octets.lower():
        return True
    text, position = _folded(octets.decode("ascii")), 0
    for char in name:
        position = text.find(char, position) + 1
        if not position:
            return False
    return True
