"""Tag-lists: `name=value; name=value`, for signatures, key records and policy records.

RFC 6376 section 3.2 for DKIM, RFC 4870 appendix A for DomainKeys, whose tags are one lower-case letter.
Octets from 0x80 are let through in values (RFC 8616 writes UTF-8, notes in old records hold Latin-1);
control characters are not.
"""

from __future__ import annotations

from dkconf.errors import DkconfError

MAX_TAGS = 64
"""Tags in one list; RFC 6376 defines 14 for a signature. More is hostile."""
MAX_NAME_OCTETS = 64
"""Octets in a tag name; those in use have at most two."""

_WSP = b" \t\r\n"
_CONTROLS = bytes(set(range(32)) - set(_WSP)) + b"\x7f"
_LETTERS = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_NAME_OCTETS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"
_LOWER = b"abcdefghijklmnopqrstuvwxyz"
_KNOWN = {  # what signatures and records are made of needs no closer look
    False: frozenset([b"v", b"a", b"b", b"bh", b"c", b"d", b"h", b"i", b"l", b"q", b"s", b"t", b"x", b"z", b"k", b"p"]),
    True: frozenset([b"a", b"b", b"c", b"d", b"h", b"q", b"s", b"k", b"p"]),
}


class TagListError(DkconfError):
    """The octets are no tag-list; `reason` says why."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


def parse(octets: bytes, *, one_letter: bool = False) -> dict[bytes, bytes]:
    """Return the tags by name, in their order; values without the blanks around them, otherwise exact.

    Args:
        octets: The value of a field or the joined strings of a TXT record.
        one_letter: True for DomainKeys, where a name is one lower-case letter.

    Raises:
        TagListError: Not a tag-list, or a name occurs twice.
    """
    if octets.translate(None, _CONTROLS) != octets:
        raise TagListError("control character in tag-list")
    specs = octets.split(b";", MAX_TAGS + 1)
    if len(specs) > MAX_TAGS + 1:
        raise TagListError(f"more than {MAX_TAGS} tags")
    tags: dict[bytes, bytes] = {}
    if not specs[-1].strip(_WSP):
        specs.pop()  # one semicolon may end the list
    for spec in specs:
        name, equals, value = spec.partition(b"=")
        name = name.strip(_WSP)
        if not equals:
            raise TagListError("tag without =")
        if name not in _KNOWN[one_letter] and not _is_name(name, one_letter):
            raise TagListError("bad tag name")
        if name in tags:
            raise TagListError(f"duplicate tag {name.decode('ascii')}=")
        tags[name] = value.strip(_WSP)
    return tags


def without_value(octets: bytes, wanted: bytes) -> bytes:
    """Return the tag-list with the value of one tag deleted, the blanks around it included (RFC 6376
    section 3.7).

    Everything else stays exact. The list is returned as it is where it has no such tag. Of two tags of one name (such
    a list is void) the last loses its value.
    """
    specs = octets.split(b";")
    for index in range(len(specs) - 1, -1, -1):  # from the end: signers put b= last
        name, equals, _ = specs[index].partition(b"=")
        if equals and name.strip(_WSP) == wanted:
            specs[index] = name + equals
            return b";".join(specs)
    return octets


def without_blanks(value: bytes) -> bytes:
    """Return the value without any blank, tab, CR or LF: for base64 and for colon lists."""
    return value.translate(None, _WSP)


def _is_name(name: bytes, one_letter: bool) -> bool:
    if one_letter:
        return len(name) == 1 and name in _LOWER
    if not name or len(name) > MAX_NAME_OCTETS:
        return False
    return name[0] in _LETTERS and not name.translate(None, _NAME_OCTETS)
