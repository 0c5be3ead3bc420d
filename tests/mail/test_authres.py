"""RFC 8601: one table drives format and parse; nothing an attacker writes gets out of its quotes."""

from __future__ import annotations

import pytest

from dkconf.mail.authres import (
    AuthRes,
    ResInfo,
    authserv_id_of,
    claims,
    format_authres,
    parse_authres,
    result_text,
    signature_prefixes,
)

ROUND: list[tuple[str, list[ResInfo], bytes]] = [
    ("mx.example.com", [], b" mx.example.com; none"),
    (
        "mx.example.com",
        [
            ResInfo(
                "dkim", "pass", properties=(("header.d", "example.com"), ("header.s", "jan"), ("header.b", "AbCd/+12"))
            )
        ],
        b' mx.example.com;\n\tdkim=pass header.d=example.com header.s=jan header.b="AbCd/+12"',
    ),
    (
        "mx.example.com",
        [
            ResInfo("domainkeys", "fail", reason='did "not" verify', properties=(("header.from", "joe@example.com"),)),
            ResInfo("dkim", "temperror", properties=(("header.i", "@example.com"), ("header.b", ""))),
        ],
        b' mx.example.com;\n\tdomainkeys=fail reason="did \\"not\\" verify" header.from=joe@example.com;'
        b"\n\tdkim=temperror header.i=@example.com",
    ),
    ("mx (1)", [ResInfo("dkim", "none")], b' "mx (1)";\n\tdkim=none'),
]


@pytest.mark.parametrize(("authserv_id", "results", "value"), ROUND)
def test_round(authserv_id: str, results: list[ResInfo], value: bytes) -> None:
    """What is written is read back the same; empty properties are not written."""
    assert value == format_authres(authserv_id, [*map(result_text, results)])
    parsed = parse_authres(value)
    assert parsed is not None
    assert authserv_id == parsed.authserv_id == authserv_id_of(value)
    assert [
        (info.method, info.result, info.reason, tuple(pair for pair in info.properties if pair[1])) for info in results
    ] == [(info.method, info.result, info.reason, info.properties) for info in parsed.results]


@pytest.mark.parametrize(
    "evil",
    [
        "a\r\nX-Injected: yes",
        "a\n b",
        'a"; dkim=pass header.d="x',
        "a; dkim=pass",
        "a\\",
        'a\\"',
        "a)(b",
        "a\x00b",
        "\xe9\u2028",
        "a@b@c",
        '"',
        "joe@exam ple.com",
        "x" * 100_000,
    ],
)
def test_values_cannot_get_out(evil: str) -> None:
    """Whatever a signature names: one field, as many results as were given, and lines that fold."""
    value = format_authres(
        "mx.example.com",
        [
            result_text(
                ResInfo("dkim", "fail", reason=evil, comment=evil, properties=(("header.d", evil), ("header.i", evil)))
            ),
            result_text(ResInfo("domainkeys", "none", properties=(("header.from", evil),))),
        ],
    )

    assert all(line.startswith(b"\t") for line in value.split(b"\n")[1:])
    assert not any(octet < 32 and octet not in b"\n\t" for octet in value)
    assert value.isascii()
    assert len(value) < 2000
    parsed = parse_authres(value)
    assert parsed is not None
    assert [("dkim", "fail"), ("domainkeys", "none")] == [(info.method, info.result) for info in parsed.results]
    assert ["header.d", "header.i"] == [name for name, _ in parsed.results[0].properties]


def test_a_keyword_is_a_keyword() -> None:
    """Even where a caller errs."""
    assert b" mx;\n\td-kim=pa-ss x-y.z=1" == format_authres(
        "mx", [result_text(ResInfo("d\nkim", "pa;ss", properties=(("x y.z", "1"),)))]
    )


IDS: list[tuple[bytes, str | None]] = [
    (b" mx.example.com; dkim=pass", "mx.example.com"),
    (b"mx.example.com;none", "mx.example.com"),
    (b" mx.example.com", "mx.example.com"),
    (b" mx.example.com 1; spf=pass", "mx.example.com"),
    (b" (c(o)m\\)) mx.example.com (x) 1 (y);", "mx.example.com"),
    (b"\r\n\tmx.example.com\r\n\t;\r\n\tdkim=pass", "mx.example.com"),
    (b' "mx example";', "mx example"),
    (b' "mx.exa\\mple.com";', "mx.example.com"),
    (b" mx/1.example.com:25;", "mx/1.example.com:25"),
    (b" b\xc3\xbc.example;", "b\u00fc.example"),
    (b" spf=pass smtp.mailfrom=x; dkim=none", None),
    (b" ; dkim=pass", None),
    (b"", None),
    (b"  ", None),
    (b" mx.example.com x; dkim=pass", None),
    (b" mx.example.com 1 2; dkim=pass", None),
    (b' "mx.example.com; dkim=pass', None),
    (b" (mx.example.com; dkim=pass", None),
    (b" mx.example.com\x00; dkim=pass", None),
    (b" mx\xff.example.com; dkim=pass", None),
    (b' "";', None),
    (b"=;", None),
    (b"x" * 100_000, None),
]


@pytest.mark.parametrize(("value", "expected"), IDS, ids=[repr(value)[:40] for value, _ in IDS])
def test_authserv_id(value: bytes, expected: str | None) -> None:
    """The id as written, or None where a reader might see anything."""
    assert expected == authserv_id_of(value)


@pytest.mark.parametrize(
    ("value", "ours"),
    [
        (b" mx.example.com; dkim=pass", True),
        (b" MX.Example.com. 1; dkim=pass", True),
        (b' "mx.example.com"; dkim=pass', True),
        (b" (x)mx.example.com; dkim=pass", True),
        (b" mx.example.com", True),
        (b" mx.example.com/1; dkim=pass", True),
        (b" mx.example.com:; dkim=pass", True),
        (b" <mx.example.com>; dkim=pass", True),
        (b" 'mx.example.com'; dkim=pass", True),
        (b' " mx.example.com"; dkim=pass', True),
        (b" mx.example.com\xc2\xa0; dkim=pass", True),
        (b" dkim=pass header.d=x", True),
        (b" mx.example.com.evil; dkim=pass", False),
        (b" notmx.example.com; dkim=pass", False),
        (b" other; comment=(mx.example.com; dkim=pass)", False),
        (b" other/1; dkim=pass", False),
        (b" other 1; dkim=pass", False),
        (b" other 2; dkim=pass", True),
        (b" mx.example.com 2; dkim=pass", True),
    ],
)
def test_claims(value: bytes, ours: bool) -> None:
    """A field that may be taken for ours must go: our id in any spelling, or what cannot be parsed.

    So must one of a version that nobody here knows (RFC 8601 section 5).
    """
    assert ours is claims(value, "mx.example.com")


def test_parse_what_others_write() -> None:
    """Comments, versions, methods with versions, unquoted base64 and addresses."""
    parsed = parse_authres(
        b" mx.google.com 1;\r\n       dkim=pass (good) header.i=@example.com header.s=jan header.b=Ab/Cd+E=;\r\n"
        b"       SPF=pass (domain of x) smtp.mailfrom=joe@example.com; domainkeys=neutral (no signature)"
        b' header.from="joe x"@example.com'
    )

    assert parsed == AuthRes(
        "mx.google.com",
        1,
        (
            ResInfo(
                "dkim",
                "pass",
                properties=(("header.i", "@example.com"), ("header.s", "jan"), ("header.b", "Ab/Cd+E=")),
            ),
            ResInfo("spf", "pass", properties=(("smtp.mailfrom", "joe@example.com"),)),
            ResInfo("domainkeys", "neutral", properties=(("header.from", "joe x@example.com"),)),
        ),
    )
    assert AuthRes("mx", 1, ()) == parse_authres(b" mx; none")
    assert parse_authres(b" mx; dkim") is None
    assert parse_authres(b" mx; =pass") is None
    assert parse_authres(b' mx; )=""@') is None
    assert parse_authres(b' mx; dkim=""') is None
    assert parse_authres(b" mx; dkim/1=pass") == AuthRes("mx", 1, (ResInfo("dkim", "pass"),))
    assert parse_authres(b' mx; dkim=pass reason="x') is None


def test_signature_prefixes() -> None:
    """Eight octets, or as many as tell the signatures apart (RFC 6008 section 4)."""
    assert [] == signature_prefixes([])
    assert ["abcdefgh"] == signature_prefixes([b"abcdefghijklmnop"])
    assert ["abcdefghijX", "abcdefghijY", "zzzzzzzz"] == signature_prefixes(
        [b"abcdefghijXaaa", b"abcdefghijYaaa", b"zzzzzzzzzz"]
    )
    assert ["abc", "abcdefgh"] == signature_prefixes([b"abc", b"abcdefghij"])
    assert ["abcdefgh"] * 2 == signature_prefixes([b"abcdefghij"] * 2)


@pytest.mark.parametrize("value", [b"(" * 60_000, b'a; b="' + b"\\" * 60_000, b"a;" + b"b=c " * 15_000, b"a;" * 30_000])
def test_hostile_fields(value: bytes) -> None:
    """Linear and without recursion; the answer does not matter."""
    authserv_id_of(value)
    parse_authres(value)
