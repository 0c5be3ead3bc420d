"""What must hold for any settings, command line, host list and message."""

from __future__ import annotations

import contextlib
import ipaddress
import re

from hypothesis import given
from hypothesis import strategies as st

from dkconf.filter import actions
from dkconf.filter.args import CommandLineError, parse
from dkconf.filter.config import (
    ACTIONS,
    DKIM_CANONICALIZATIONS,
    DOMAINKEYS_CANONICALIZATIONS,
    Canonicalization,
    Conditions,
    KeyEntry,
    Settings,
    SettingsError,
    dumps,
    loads,
)
from dkconf.filter.engine import Engine
from dkconf.filter.hosts import HostList
from dkconf.filter.outgoing import LineWatch
from dkconf.mail.lookup import Records
from tests.filter.mta import RECORDS, Mta, make_settings, read

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
DOMAIN = st.lists(LABEL, min_size=2, max_size=4).map(".".join)
ADDRESS = re.compile(r"((25[0-5]|2[0-4]\d|1?\d?\d)(\.(?!$)|$)){4}")
"""Digits and dots that are no address are no host either."""
HOST = st.one_of(
    st.ip_addresses().map(str),
    DOMAIN,
    DOMAIN.map(lambda name: "." + name),
    st.tuples(st.ip_addresses(v=4), st.integers(0, 32)).map(lambda pair: f"{pair[0]}/{pair[1]}"),
    st.tuples(st.ip_addresses(v=6), st.integers(0, 128)).map(lambda pair: f"{pair[0]}/{pair[1]}"),
).filter(lambda text: not text.replace(".", "").isdigit() or ADDRESS.fullmatch(text) is not None)
HOSTS = st.lists(HOST, max_size=3).map(tuple)
NAMES = st.lists(st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,10}", fullmatch=True), max_size=4).map(tuple)
OMIT = NAMES.map(lambda names: tuple(name for name in names if name.lower() != "from"))
SCHEMES = st.permutations(["dkim", "domainkeys"]).flatmap(
    lambda words: st.integers(1, 2).map(lambda count: tuple(words[:count]))
)
ROLES = st.sampled_from([("sign", "verify"), ("sign",), ("verify",)])
ACTION = st.sampled_from(ACTIONS)
KEYS = st.lists(
    st.builds(
        KeyEntry,
        DOMAIN,
        LABEL,
        TEXT.filter(bool),
        SCHEMES,
        st.booleans(),
        st.lists(TEXT, max_size=2).map(tuple),
    ),
    max_size=3,
).map(tuple)
SETTINGS = st.builds(
    Settings,
    socket=st.one_of(
        st.integers(0, 65535).map(lambda port: f"inet:{port}@localhost"),
        st.integers(0, 65535).map(lambda port: f"inet6:{port}"),
        st.just("local:/run/dkconf/filter.sock"),
        st.just("/run/x"),
    ),
    socket_mode=st.integers(0, 0o777),
    socket_group=TEXT,
    user=TEXT,
    pid_file=TEXT,
    workers=st.integers(0, 64),
    log=st.sampled_from(["syslog", "stderr", "off"]),
    log_format=st.sampled_from(["text", "json"]),
    metrics=st.sampled_from(["", "inet:9@127.0.0.1", "local:/m"]),
    roles=ROLES,
    observe=st.booleans(),
    keys=KEYS,
    canonicalization=st.builds(
        Canonicalization, st.sampled_from(DOMAINKEYS_CANONICALIZATIONS), st.sampled_from(DKIM_CANONICALIZATIONS)
    ),
    sign_headers=NAMES,
    omit_headers=OMIT,
    oversign_headers=NAMES,
    signature_ttl_seconds=st.integers(0, 10**9),
    identify=st.booleans(),
    internal_hosts=HOSTS,
    external_ignore=HOSTS,
    peers=HOSTS,
    daemons=st.lists(TEXT, max_size=3).map(tuple),
    macros=st.dictionaries(st.from_regex(r"[A-Za-z0-9_]{1,8}", fullmatch=True), TEXT, max_size=3),
    verify_schemes=SCHEMES,
    authserv_id=st.one_of(st.just(""), DOMAIN),
    min_key_bits=st.integers(512, 16384),
    unsigned_content=st.sampled_from(["accept", "policy"]),
    domainkeys_conditions=st.builds(Conditions, ACTION, ACTION, ACTION, ACTION, ACTION, ACTION),
    dkim_conditions=st.builds(Conditions, ACTION, ACTION, ACTION, ACTION, st.none(), ACTION),
    nameservers=st.lists(st.ip_addresses().map(str), max_size=2).map(tuple),
    records_file=TEXT,
)


@given(SETTINGS)
def test_settings_survive_being_written_and_read(settings: Settings) -> None:
    """`loads(dumps(s)) == s` for all settings there can be."""
    assert loads(dumps(settings)) == settings


@given(st.text(max_size=200))
def test_any_text_is_settings_or_a_settings_error(text: str) -> None:
    """A settings file never gives a traceback."""
    with contextlib.suppress(SettingsError):
        loads(text)


@given(SETTINGS, st.integers(0, 5000), st.text(max_size=5))
def test_a_damaged_file_is_settings_or_a_settings_error(settings: Settings, place: int, noise: str) -> None:
    """Likewise a good file with something written over."""
    text = dumps(settings)
    with contextlib.suppress(SettingsError):
        loads(text[:place] + noise + text[place + len(noise) :])


WORDS = "-p -b -C -d -s -k -i -T -M -f inet:1 sv --config"


@given(st.lists(st.one_of(st.sampled_from(WORDS.split()), TEXT)))
def test_any_command_line_is_an_invocation_or_a_usage(argv: list[str]) -> None:
    """No command line gives a traceback, and a refused one has dk-filter's statuses."""

    def no_file(path: str) -> bytes:
        raise FileNotFoundError(2, "No such file or directory")

    status = 0
    try:
        parse(argv, no_file)
    except CommandLineError as error:
        status = error.exit_status
    assert status in (0, 64, 78)


@given(st.lists(st.tuples(st.sampled_from(sorted(actions.KEYS)), st.sampled_from(sorted(actions.ACTIONS)))))
def test_the_last_action_wins(pairs: list[tuple[str, str]]) -> None:
    """-C is read from left to right."""
    table = actions.parse(",".join(f"{key}={value}" for key, value in pairs))
    expected = {name: getattr(Conditions(), name) for name in ("bad", "dns", "int", "no", "miss", "sec")}
    for key, value in pairs:
        names = list(expected) if actions.KEYS[key] == "def" else [actions.KEYS[key]]
        expected.update(dict.fromkeys(names, actions.ACTIONS[value]))

    assert table == Conditions(**expected)


@given(st.lists(st.tuples(st.ip_addresses(), st.integers(0, 128)), max_size=5), st.ip_addresses())
def test_host_lists_agree_with_ipaddress(
    networks: list[tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]],
    client: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    """A client is on the list if and only if one of its networks holds it; v4-mapped addresses are IPv4."""

    def plain(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> object:
        mapped = getattr(address, "ipv4_mapped", None)
        return mapped or address

    patterns = [f"{address}/{min(bits, address.max_prefixlen)}" for address, bits in networks]
    expected = False
    for pattern in patterns:
        network = ipaddress.ip_network(pattern, strict=False)
        if network.version == 6 and network.prefixlen >= 96 and network.network_address.ipv4_mapped:
            network = ipaddress.ip_network(
                f"{network.network_address.ipv4_mapped}/{network.prefixlen - 96}", strict=False
            )
        expected = expected or plain(client) in network

    assert HostList(patterns).matches(b"[client]", str(client).encode()) == expected


@given(st.lists(st.integers(0, 1200), max_size=20), st.booleans(), st.integers(1, 700) | st.integers(700, 9000))
def test_long_lines_are_found_however_the_body_is_split(lengths: list[int], ended: bool, chunk: int) -> None:
    """True if and only if a line has more than 998 octets without its CRLF."""
    lines = [b"x" * length for length in lengths]
    body = b"\r\n".join(lines) + (b"\r\n" if ended else b"")
    watch = LineWatch()
    for start in range(0, len(body), chunk):
        watch.update(memoryview(body)[start : start + chunk])

    # Of a last line without CRLF one octet more may pass: it could have been a CR.
    assert watch.found == any(n > 998 + (place == len(lengths) - 1 and not ended) for place, n in enumerate(lengths))


OCTETS = st.binary(max_size=60).map(lambda octets: octets.replace(b"\0", b""))
FIELD = st.tuples(
    st.one_of(
        st.sampled_from(
            [b"From", b"Sender", b"DKIM-Signature", b"DomainKey-Signature", b"Authentication-Results", b"X"]
        ),
        OCTETS.filter(bool),
    ),
    st.one_of(
        OCTETS,
        st.just(b" a <joe@example.com>"),
        st.just(b" v=1; a=rsa-sha256; d=example.com; s=jan; h=from; bh=AAAA; b=AAAA"),
        st.just(b" a=rsa-sha1; d=example.com; s=jan; c=nofws; b=AAAA"),
        st.just(b" mx.example.net; dkim=pass"),
    ),
)
ENGINE = Engine.load(make_settings(), read)


@given(
    st.lists(FIELD, max_size=8),
    st.binary(max_size=200),
    st.sampled_from([b"127.0.0.1", b"192.0.2.1"]),
    st.integers(1, 50),
)
def test_any_message_is_answered_once_and_never_by_a_fault(
    fields: list[tuple[bytes, bytes]], body: bytes, at: bytes, chunk: int
) -> None:
    """Exactly one final reply, no `int`, one log line, and nothing inserted that could smuggle a field."""
    mta = Mta(ENGINE, at, answers=Records(RECORDS))
    edits = mta.send(fields, body, chunk=chunk)

    assert edits[-1].letter == "c"
    assert all(edit.letter in "im" for edit in edits[:-1])
    assert len(mta.log) == 1
    assert mta.log[0][0] > 3
    assert mta.line.isprintable()
    removed = [edit.index for edit in edits if edit.letter == "m"]
    assert removed == sorted(removed, reverse=True)
    for edit in edits:
        assert b"\r" not in edit.value
        assert all(line[:1] in b" \t" for line in edit.value.split(b"\n")[1:])
