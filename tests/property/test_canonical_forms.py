"""For any body and any cuts, the fast forms are what the plain implementations say."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from dkconf.dkim.canonical import BodyHasher, BodyHashes, HashKey, RelaxedBody, relaxed_value
from dkconf.domainkeys.canonical import BodyStream, canonical_field
from tests.dkim import reference as dkim_reference
from tests.domainkeys import reference as domainkeys_reference
from tests.property.strategies import bodies, cut_lists, pieces


@given(body=bodies, cuts=cut_lists, form=st.sampled_from(["simple", "relaxed"]), length=st.none() | st.integers(0, 60))
def test_dkim_body(body: bytes, cuts: list[int], form: str, length: int | None) -> None:
    """RFC 6376 sections 3.4.3 and 3.4.4, l= included."""
    whole = dkim_reference.canonical_body(body, form)
    expected = hashlib.sha256(whole if length is None else whole[:length]).digest()
    hasher = BodyHasher(form, "sha256", length)
    hashes = BodyHashes([HashKey(form, "sha256", length), HashKey(form, "sha256", 3)])
    for piece in pieces(body, cuts):
        hasher.update(piece)
        hashes.update(memoryview(piece))

    assert expected == hasher.digest()
    assert len(whole) == hasher.octets
    assert expected == hashes[HashKey(form, "sha256", length)].digest()


@given(body=bodies, cuts=cut_lists, form=st.sampled_from(["simple", "nofws"]))
def test_domainkeys_body(body: bytes, cuts: list[int], form: str) -> None:
    """RFC 4870 section 3.4.2."""
    stream = BodyStream(form, hashlib.sha1(b"From:x\r\n"))
    for piece in pieces(body, cuts):
        stream.update(piece)

    assert hashlib.sha1(domainkeys_reference.canonical_message([b"From:x"], body, form)).digest() == stream.digest()


@given(value=bodies | st.binary(max_size=40))
def test_dkim_header_value(value: bytes) -> None:
    """RFC 6376 section 3.4.2, for values that no parser would let through, too."""
    assert dkim_reference.relaxed_header_value(value) == relaxed_value(value)


@given(value=bodies)
def test_domainkeys_field(value: bytes) -> None:
    """nofws drops four octets and nothing else."""
    expected = b"X:" + bytes(octet for octet in value if octet not in (9, 10, 13, 32)) + b"\r\n"

    assert expected == canonical_field(b"X", value, "nofws")
    assert b"X:" + value + b"\r\n" == canonical_field(b"X", value, "simple")


@given(body=bodies)
def test_relaxed_form_is_stable(body: bytes) -> None:
    """The canonical form of a canonical form is itself: relaying cannot wear it down."""
    once = dkim_reference.canonical_body(body, "relaxed")
    hasher = BodyHasher("relaxed")
    hasher.update(once)

    assert hashlib.sha256(once).digest() == hasher.digest()


@given(unit=bodies.filter(bool), cuts=cut_lists, before=st.binary(max_size=2))
def test_long_relaxed_bodies(unit: bytes, cuts: list[int], before: bytes) -> None:
    """The ways that only long pieces go, wherever in a piece an octet stands."""
    body = before + unit * (30_000 // len(unit))
    form = RelaxedBody()
    made = [octets for piece in pieces(body, cuts) for octets in form.feed(memoryview(piece))]

    assert dkim_reference.canonical_body(body, "relaxed") == b"".join([*made, *form.finish()])
