"""Messages that are made to cost much: headers, bodies and key records of a hostile sender, one kind to an entry."""

from __future__ import annotations

import base64
import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from dkconf.mail.lookup import TxtAnswer

Fields = list[tuple[bytes, bytes]]
FROM = (b"From", b" joe@example.com")
HEADER_OCTETS = 255_000
"""Just below what the filter takes by default (262,144)."""
FIELD_OCTETS = 60_000
"""A packet holds one field, of 65,535 octets at most."""


class Attack(NamedTuple):
    """One message."""

    fields: Fields
    body: bytes = b"x\r\n"
    answers: dict[bytes, TxtAnswer] = {}  # noqa: RUF012 - nobody changes it


def dkim(
    selector: int = 0,
    names: bytes = b"from",
    signature: bytes = b"y" * 256,
    extra: bytes = b"",
    form: bytes = b"relaxed/relaxed",
) -> tuple[bytes, bytes]:
    """A DKIM-Signature that can be evaluated."""
    tags = b" v=1; a=rsa-sha256; c=%b; d=example.com; s=s%d; h=%b; bh=%b; %bb=%b"
    digest, text = base64.b64encode(b"x" * 32), base64.b64encode(signature)
    return b"DKIM-Signature", tags % (form, selector, names, digest, extra, text)


def domainkeys(selector: int = 0, form: bytes = b"nofws", octets: int = 256, extra: bytes = b"") -> tuple[bytes, bytes]:
    """A DomainKey-Signature that can be evaluated; without h= it covers all below it."""
    text = base64.b64encode(b"y" * octets)
    return b"DomainKey-Signature", b" a=rsa-sha1; s=s%d; d=example.com; c=%b; %bb=%b" % (selector, form, extra, text)


def filling(fields: Fields, unit: bytes, name: bytes = b"x%d", most: int = 990) -> Fields:
    """Fields of `unit`s up to the limit of the header, beside those that are there."""
    number = most - len(fields)
    left = HEADER_OCTETS - sum(len(n) + len(v) + 3 for n, v in fields)
    value = b" " + unit * ((left // number - 12) // _size(unit))
    return [(name % i if b"%" in name else name, value) for i in range(number)]


ALL_NAMES = b":".join([b"from", *[b"x%d" % i for i in range(990)]])
SAME_NAMES = b":".join([b"from"] + [b"x"] * 990)
ODD = b" a\x0b b \n\t c"


def _size(value: bytes) -> int:
    """Octets of a value as it is counted, with line ends of two octets."""
    return len(value) + value.count(b"\n")


def _covered(
    signatures: Callable[[], Fields], unit: bytes, name: bytes = b"x%d", most: int = 990
) -> Callable[[], Attack]:
    def make() -> Attack:
        fields = [*signatures(), FROM]
        return Attack(fields + filling(fields, unit, name, most))

    return make


def _sender(value: bytes, *, too: bool = False) -> Attack:
    fields = [
        *[dkim(i) for i in range(10)],
        *[domainkeys(i) for i in range(10)],
        (b"From", b" " + value[:FIELD_OCTETS]),
    ]
    return Attack([*fields, (b"Sender", b" " + value[:FIELD_OCTETS])] if too else fields)


def _results(value: bytes) -> Attack:
    number = HEADER_OCTETS // (_size(value) + 30)
    return Attack([*[(b"Authentication-Results", b" " + value)] * min(number, 990), FROM])


def _integer(value: int) -> bytes:
    octets = value.to_bytes(value.bit_length() // 8 + 1, "big")
    return b"\2" + _length(octets) + octets


def _length(octets: bytes) -> bytes:
    if len(octets) < 128:
        return bytes([len(octets)])
    size = len(octets).to_bytes(2, "big")
    return b"\x82" + size


def _sequence(octets: bytes) -> bytes:
    return b"\x30" + _length(octets) + octets


def rsa_record(modulus: int, exponent: int) -> bytes:
    """A key record of any RSA numbers."""
    key = b"\0" + _sequence(_integer(modulus) + _integer(exponent))
    algorithm = _sequence(bytes.fromhex("06092a864886f70d0101010500"))
    return b"v=DKIM1; p=" + base64.b64encode(_sequence(algorithm + b"\3" + _length(key) + key))


def _keys(bits: int, exponent: int, records: int = 1) -> Attack:
    """Ten signatures of each scheme, all by different keys, several to a name; each is worth calculating with."""
    numbers = random.Random(bits)
    answers, fields = {}, []
    for i in range(10):
        moduli = [numbers.getrandbits(bits) | 1 | 1 << (bits - 1) for _ in range(records)]
        strings = tuple(rsa_record(modulus, exponent) for modulus in moduli)
        answers[b"s%d._domainkey.example.com" % i] = TxtAnswer("found", strings, "", 300)
        octets = bits // 8
        fields += [dkim(i, signature=(min(moduli) - 2).to_bytes(octets, "big")), domainkeys(i, octets=octets)]
    return Attack([*fields, FROM], b"", answers)


def _records(string: bytes) -> Attack:
    answers = {b"s%d._domainkey.example.com" % i: TxtAnswer("found", (string,) * 64, "", 300) for i in range(10)}
    return Attack([*[dkim(i) for i in range(10)], *[domainkeys(i) for i in range(10)], FROM], b"", answers)


def _body(unit: bytes) -> Attack:
    forms = (b"relaxed/relaxed", b"simple/simple")
    signatures = [dkim(i, extra=b"l=%d; " % (10**7 + i), form=forms[i % 2]) for i in range(10)]
    signatures += [domainkeys(i, form) for i in range(5) for form in (b"nofws", b"simple")]
    return Attack([*signatures, FROM], unit * (200_000 // len(unit)))


def _signatures(extra: bytes) -> Attack:
    return Attack([*[dkim(i, extra=extra) for i in range(10)], FROM])


ATTACKS: dict[str, Callable[[], Attack]] = {
    "ten signatures cover all of an odd header": _covered(lambda: [dkim(i, ALL_NAMES) for i in range(10)], ODD),
    "ten signatures cover all of a plain header": _covered(lambda: [dkim(i, ALL_NAMES) for i in range(10)], b"a b\tc "),
    "ten signatures cover fields of one name": _covered(lambda: [dkim(i, SAME_NAMES) for i in range(10)], ODD, b"x"),
    "ten simple signatures": _covered(
        lambda: [dkim(i, SAME_NAMES, form=b"simple/simple") for i in range(10)], b"a b", b"x"
    ),
    "ten signatures cover four fields of 60,000": _covered(
        lambda: [dkim(i, b"from:x:x:x:x") for i in range(10)], ODD, b"x", 15
    ),
    "ten DomainKeys signatures cover all": _covered(lambda: [domainkeys(i) for i in range(10)], b"a b\tc\n "),
    "twenty signatures of all forms cover all": _covered(
        lambda: (
            [dkim(i, SAME_NAMES, form=(b"relaxed", b"simple")[i % 2] + b"/simple") for i in range(10)]
            + [domainkeys(i, (b"nofws", b"simple")[i % 2]) for i in range(10)]
        ),
        ODD,
        b"x",
    ),
    "a thousand signatures": lambda: Attack([*[(b"DKIM-Signature", b" v=1; d=example.com; s=a")] * 990, FROM]),
    "a thousand signatures of the older kind": lambda: Attack(
        [*[(b"DomainKey-Signature", b" s=a; d=example.com")] * 990, FROM]
    ),
    "i= is all quoted": partial(_signatures, b"i=" + b"=41" * 8000 + b"@example.com; "),
    "q= has many methods": partial(_signatures, b"q=" + b"a:" * 12_000 + b"dns/txt; "),
    "z= is long": partial(_signatures, b"z=" + b"a:b|" * 6000 + b"; "),
    "many tags": partial(_signatures, b"".join(b"x%d=y; " % i for i in range(50))),
    "folds without end": partial(_signatures, b"\n " * 8_000),
    "b= is long and nearly the same": lambda: Attack(
        [*[dkim(signature=b"y" * 18_000 + bytes([i])) for i in range(10)], FROM]
    ),
    "a thousand fields with forged results": partial(_results, b"mx.example.net; none"),
    "comments in results": partial(_results, b"(" + b"a" * FIELD_OCTETS + b") mx.example.net; none"),
    "many comments in results": partial(_results, b"(a)" * 20_000 + b" mx.example.net; none"),
    "nested comments in results": partial(_results, b"(" * 30_000 + b")" * 30_000 + b" mx; none"),
    "quotes in results": partial(_results, b'"' + b"a" * FIELD_OCTETS + b'"; none'),
    "escapes in results": partial(_results, b'"' + b"\\a" * 30_000 + b'"; none'),
    "a long word in results": partial(_results, b"a" * FIELD_OCTETS + b"; none"),
    "dots in results": partial(_results, b"a." * 30_000 + b"; none"),
    "tokens in results": partial(_results, b"<a>" * 20_000 + b"; none"),
    "blanks in results": partial(_results, b"\n " * 20_000 + b"mx; none"),
    "names in UTF-8 in results": partial(_results, b"\xef\xb7\xba" * 80 + b" 1; none"),
    "A-labels in results": partial(_results, b"xn--mx-." * 30 + b"; none"),
    "jobs in results": partial(_results, b"a/" * 120 + b"; none"),
    "accents in results": partial(_results, b"a" + b"\xcc\x81" * 110 + b"; none"),
    "short fields of comments": partial(_results, b"(" + b"a" * 230 + b") mx; none"),
    "keys of 2048 bits": partial(_keys, 2048, 65537),
    "keys of 4096 bits": partial(_keys, 4096, 65537),
    "keys of 8192 bits": partial(_keys, 8192, 65537),
    "keys of 8192 bits, long exponents": partial(_keys, 8192, (1 << 64) - 1),
    "keys of 3072 bits, exponents of as many": partial(_keys, 3072, (1 << 3000) + 1),
    "keys of 16384 bits": partial(_keys, 16384, 65537),
    "keys of 24000 bits, huge exponents": partial(_keys, 20000, (1 << 4000) + 1),
    "four keys of 4096 bits to a name": partial(_keys, 4096, (1 << 64) - 1, 4),
    "four keys of 8192 bits to a name": partial(_keys, 8192, (1 << 64) - 1, 4),
    "records of many hashes": partial(_records, b"h=" + b"a:" * 2000 + b"; p=!"),
    "records of many tags": partial(_records, b"".join(b"x%d=y; " % i for i in range(60))),
    "records that are no base64": partial(_records, b"p=" + b"A" * 4000 + b"!"),
    "records that are no key": partial(_records, b"p=" + b"A" * 4000),
    "empty records": partial(_records, b""),
}
for _name, _value in {
    "comments": b"(" + b"a" * FIELD_OCTETS + b") joe@example.com",
    "open comments": b"(" * FIELD_OCTETS,
    "quotes": b'"' + b"\\a" * 29_000 + b'" <joe@example.com>',
    "words": b"a " * 29_000 + b"<joe@example.com>",
    "a word": b"a" * FIELD_OCTETS,
    "folds": b"\n " * 20_000 + b"joe@example.com",
    "groups": b"a:" * 29_000,
    "addresses": b"joe@example.com, " * 3500,
    "dots": b"a." * 29_000 + b"@example.com",
    "odd octets": b"\xff\xfe" * 29_000 + b"<joe@example.com>",
}.items():
    ATTACKS[f"{_name} in From"] = partial(_sender, _value)
    ATTACKS[f"{_name} in From and Sender"] = partial(_sender, _value, too=True)
for _name, _unit in {
    "a SP TAB b": b"a \t b",
    "blanks": b" ",
    "lone CRs": b"\r",
    "lines of a blank": b" \r\n",
    "empty lines": b"\r\n",
    "lone LFs": b"\n",
    "letters and CRs": b"a\r",
    "blanks and tabs": b" \t",
    "letters": b"a b",
    "blanks at line ends": b"\ta \r\n \t",
    "CRs before line ends": b"\r\r\n",
}.items():
    ATTACKS[f"a body of {_name}"] = partial(_body, _unit)


def pieces(octets: bytes) -> Iterator[memoryview]:
    """A body in packets as long as they may be."""
    view = memoryview(octets)
    return (view[start : start + 65535] for start in range(0, len(octets), 65535))
