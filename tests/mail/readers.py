"""Readers of Authentication-Results: Python's authres and email packages, and the ways in which others are lenient.

`read_as(value)` returns every name that one of them takes for the authserv-id, in a form in which names are compared.
"""

from __future__ import annotations

import email
import email.policy
import itertools
import re
import unicodedata
from collections.abc import Callable, Iterator
from email.errors import HeaderParseError
from email.header import decode_header, make_header

import authres

FIELD = b"Authentication-Results"


# -- from octets to text -----------------------------------------------------------------------------------


def _by_email(policy: email.policy.Policy) -> Callable[[bytes], list[str]]:
    def read(value: bytes) -> list[str]:
        message = email.message_from_bytes(FIELD + b":" + value + b"\r\nSubject: x\r\n\r\n", policy=policy)
        return [str(text) for text in message.get_all(FIELD.decode(), [])]

    return read


def _by_email_header(value: bytes) -> list[str]:
    """What programs write that know `email.header`."""
    try:
        return [str(make_header(decode_header(text))) for text in _by_email(email.policy.compat32)(value)]
    except (HeaderParseError, UnicodeError, LookupError, ValueError):
        return []


TEXTS: dict[str, Callable[[bytes], list[str]]] = {
    "email, default policy": _by_email(email.policy.default),
    "email, compat32": _by_email(email.policy.compat32),
    "email.header": _by_email_header,
    "utf-8": lambda value: [value.decode("utf-8", "replace")],
    "latin-1": lambda value: [value.decode("latin-1")],
    "ascii alone": lambda value: [value.decode("ascii", "ignore")],
}


# -- from text to a name -----------------------------------------------------------------------------------


def _by_authres(text: str) -> str:
    unfolded = re.sub(r"\r?\n(?=[ \t])", "", text).strip()
    try:
        return str(authres.AuthenticationResultsHeader.parse(f"{FIELD.decode()}: {unfolded}").authserv_id)
    except authres.AuthResError:
        return ""


def _as_opendmarc_does(text: str) -> str:
    """The words up to the first `;`, one behind the other: without quotes, backslashes and comments, however closed."""
    out, depth, quoted, escaped = "", 0, False, False
    for char in text:
        if escaped:
            escaped, out = False, out if depth else out + char
        elif char == "\\":
            escaped = True
        elif char == '"' and not depth:
            quoted = not quoted
        elif char in "()" and not quoted:
            depth = max(0, depth + (1 if char == "(" else -1))
        elif depth or (char.isspace() and not quoted):
            continue
        elif char == ";" and not quoted:
            break
        else:
            out += char
    return out


def _without_comments(text: str) -> str:
    """Comments by a pattern that knows no nesting."""
    return _first_word(re.sub(r"\([^)]*\)", "", text))


def _without_nested_comments(text: str) -> str:
    while (shorter := re.sub(r"\([^()]*\)", "", text)) != text:
        text = shorter
    return _first_word(text)


def _first_word(text: str) -> str:
    words = text.partition(";")[0].split()
    return words[0].strip("\"'<>") if words else ""


def _all_before_results(text: str) -> str:
    return "".join(text.partition(";")[0].split()).strip('"')


def _printable_alone(text: str) -> str:
    return "".join(char for char in text.partition(";")[0] if char.isalnum() or char in ".-_")


NAMES: dict[str, Callable[[str], str]] = {
    "authres": _by_authres,
    "OpenDMARC's way": _as_opendmarc_does,
    "comments that do not nest": _without_comments,
    "comments that nest": _without_nested_comments,
    "the first word": _first_word,
    "all before the first semicolon": _all_before_results,
    "what a name may have": _printable_alone,
}


# -- from a name to what is compared -----------------------------------------------------------------------


def _to_ascii(name: str) -> str:
    try:
        return name.encode("idna").decode("ascii")
    except UnicodeError:
        return name


def _to_unicode(name: str) -> str:
    labels = []
    for label in name.split("."):
        try:
            labels.append(label[4:].encode("ascii").decode("punycode") if label[:4].lower() == "xn--" else label)
        except (UnicodeError, ValueError):
            labels.append(label)
    return ".".join(labels)


def _without_invisible(name: str) -> str:
    return "".join(char for char in name if unicodedata.category(char) not in ("Cf", "Cc", "Mn", "Zs"))


COMPARED: tuple[Callable[[str], str], ...] = (
    str,
    str.upper,
    lambda name: unicodedata.normalize("NFKC", name),
    _to_ascii,
    _to_unicode,
    lambda name: unicodedata.normalize("NFKC", _to_unicode(name)),
    lambda name: unicodedata.normalize("NFKC", _without_invisible(name)).replace("\u3002", "."),
)


def read_as(value: bytes) -> Iterator[tuple[str, str, str]]:
    """Yield (who decodes, who takes the name out of it, the name) for all of them."""
    for decoder, decode in TEXTS.items():
        for text, (taker, take) in itertools.product(decode(value), NAMES.items()):
            name = take(text)
            for compared in COMPARED:
                yield decoder, taker, compared(name).lower().strip(".")


def readers_of(value: bytes, name: str) -> list[str]:
    """Return who takes the field for `name`'s."""
    return sorted({f"{decoder}, {taker}" for decoder, taker, found in read_as(value) if found == name})
