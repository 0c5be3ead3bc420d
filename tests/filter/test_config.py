"""dkconf/filter/config.py: the settings as TOML, and every problem at once."""

from itertools import pairwise

import pytest

from dkconf.filter.config import Conditions, KeyEntry, Settings, SettingsError, dumps, loads

FULL = Settings(
    socket="local:/run/dkconf/filter.sock",
    socket_mode=0o600,
    socket_group="smmsp",
    workers=3,
    roles=("verify",),
    keys=(
        KeyEntry("example.com", "s2026a", "/k/a.private", ("dkim", "domainkeys"), subdomains=True),
        KeyEntry("example.com", "ed", "/k/b.private"),
        KeyEntry("*", "list", "/k/c.private", ("domainkeys",), senders=("*@lists.example.net",)),
    ),
    macros={"daemon_port": "587", "auth_type": ""},
    peers=tuple(f"192.0.2.{n}" for n in range(40)),
    domainkeys_conditions=Conditions(bad="reject", miss="quarantine"),
    dkim_conditions=Conditions(no="discard", miss=None),
    nameservers=("127.0.0.1:5353", "[::1]:53", "2001:db8::1"),
    authserv_id="mx.example.com",
    metrics="inet:9891@127.0.0.1",
)


@pytest.mark.parametrize("settings", [Settings(socket="inet:8891@localhost"), FULL])
def test_what_is_written_is_what_is_read(settings: Settings) -> None:
    """`loads(dumps(s)) == s`, and the same settings always give the same text."""
    text = dumps(settings)

    assert loads(text) == settings
    assert dumps(loads(text)) == text


def test_defaults_hold_for_what_the_file_leaves_out() -> None:
    """A file needs a socket and nothing else."""
    assert loads('socket = "inet:8891@localhost"') == Settings(socket="inet:8891@localhost")


def test_every_setting_is_written_with_a_comment() -> None:
    """Each `key = value` line of the tables has a comment above it."""
    lines = dumps(Settings(socket="inet:1@localhost")).splitlines()
    section = ""
    for before, line in pairwise(lines):
        if line.startswith("["):
            section = line
        if " = " in line and not line.startswith("#") and "conditions" not in section:
            assert before.startswith("# "), line


def test_all_problems_are_reported_at_once() -> None:
    """One run names every fault with its key path, and the nearest known name for an unknown one."""
    with pytest.raises(SettingsError) as caught:
        loads(
            'sockett = "x"\nroles = ["sgn"]\nworkers = true\n[signing]\nttl_seconds = -1\nomit = ["From"]\n'
            '[conditions.dkim]\nmiss = "accept"\nbad = "refuse"\n[origin]\npeers = ["10.0.0.0/33"]\n'
            '[[keys]]\ndomain = "a b"\n[macros]\n"{x}" = ""\n',
            name="filter.toml",
        )

    assert set(caught.value.problems) == {
        'filter.toml: sockett: unknown key; did you mean "socket"?',
        'filter.toml: roles: "sgn" is unknown; did you mean "sign"?',
        "filter.toml: workers: True; write a whole number from 0 to 1024",
        "filter.toml: signing.ttl_seconds: -1; write a whole number of seconds from 0 to 1000000000",
        "filter.toml: signing.omit: From must be signed; leave it out of this list",
        "filter.toml: conditions.dkim.miss: unknown key; known are bad, dns, int, no, sec",
        'filter.toml: conditions.dkim.bad: "refuse" is unknown; write one of accept, discard,'
        " tempfail, reject, quarantine",
        'filter.toml: origin.peers: "10.0.0.0/33": write an address, a network like 192.0.2.0/24, a host name'
        " or .domain",
        'filter.toml: keys[0].domain: "a b": write a domain, or a pattern with "*"',
        "filter.toml: keys[0].selector: is missing",
        "filter.toml: keys[0].path: is missing",
        'filter.toml: macros: "{x}": write a macro\'s name without braces',
        'filter.toml: socket: is missing; write e.g. socket = "inet:8891@localhost"',
    }


@pytest.mark.parametrize(
    "text, problem",
    [
        ("socket = ", "is not TOML"),
        ("keys = 3\nsocket='inet:1'", "keys: is no list of tables; write [[keys]] before each key"),
        ("socket = 'inet:1'\nsigning = 1", "signing: 1 is no table; write [signing]"),
        ("socket = 'inet:1'\nconditions = 1", "conditions: 1 is no table; write [conditions]"),
        ("socket = 'inet:1'\nmetrics = 'inet:9@0.0.0.0'", "can be reached from outside"),
        ("socket = 'inet:1'\nsocket_mode = 432", 'write an octal mode in quotes, e.g. "0660"'),
        ("socket = 'inet:99999'", "write inet:PORT@HOST"),
        ("socket = 'smtp:1'", "write inet:PORT@HOST, inet6:PORT@HOST, local:PATH or unix:PATH"),
        (
            "socket = 'inet:1'\n[dns]\nnameservers=['ns.example']",
            "write an address, ADDRESS:PORT or [IPv6]:PORT",
        ),
        ("socket = 'inet:1'\nroles = []", "roles: is empty; name at least one"),
        ("x = " + "[" * 100_000, "is not TOML"),
    ],
)
def test_a_fault_says_what_would_be_right(text: str, problem: str) -> None:
    """Each message has the key path and what to write."""
    with pytest.raises(SettingsError, match=r".") as caught:
        loads(text)

    assert problem in str(caught.value)
