"""Random mail: octets that make canonical forms, parsers and folding work."""

from __future__ import annotations

from hypothesis import strategies as st

PRINTABLE = bytes(octet if octet > 32 and octet not in (58, 127) else 120 for octet in range(256))
"""A translation table: whatever a field name or a word must not hold becomes `x`."""

words = st.binary(min_size=1, max_size=10).map(lambda octets: octets.translate(PRINTABLE))
blanks = st.sampled_from([b" ", b"  ", b"\t", b" \t ", b"\r\n ", b" \r\n\t"])
values = st.lists(st.tuples(blanks, words), max_size=5).map(
    lambda pairs: b"".join(blank + word for blank, word in pairs)
)
names = st.sampled_from(
    [b"Subject", b"To", b"X-Thing", b"x-thing", b"Received", b"MIME-Version", b"Date", b"Cc", b"subject"]
)

bodies = st.lists(
    st.one_of(
        st.sampled_from(
            [b" ", b"  ", b"\t", b"\r", b"\n", b"\r\n", b"\r\n\r\n", b" \r\n", b"\0", b"\x0b", b"a", b"\xff"]
        ),
        st.just(b"\r\n" * 33),
        words,
    ),
    max_size=24,
).map(b"".join)
"""Bodies of blanks, line ends whole and broken, and a few words."""


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """A message with one usable From, odd blanks, folds, 8-bit octets and any body."""
    fields = draw(st.lists(st.tuples(names, values), max_size=6))
    fields.insert(draw(st.integers(0, len(fields))), (b"From", b" Joe <joe@example.com>"))
    return (
        b"".join(b"%b:%b\r\n" % field for field in fields)
        + b"\r\n"
        + draw(bodies).replace(b"\r", b"").replace(b"\n", b"\r\n")
    )


def pieces(octets: bytes, cuts: list[int]) -> list[bytes]:
    """Return the octets cut at these places (taken modulo the length)."""
    places = sorted({cut % (len(octets) + 1) for cut in cuts})
    return [octets[start:end] for start, end in zip([0, *places], [*places, len(octets)], strict=True)]


cut_lists = st.lists(st.integers(0, 1000), max_size=8)
