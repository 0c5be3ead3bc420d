"""dk-filter's options: its own letters, -C in full, one key or a key list."""

from __future__ import annotations

import getopt

import pytest

from dkconf.desired import NotRenderable, build
from dkconf.desired.options import DK_FILTER_OPTIONS, condition_string, dk_filter_options
from dkconf.desired.signing import SigningKey
from dkconf.filter import args
from dkconf.inventory.model import Conditions, ConditionTables, Domain, Filter, Headers, Selector

from .inventories import HOST, one_host


def key(domain: str = "example.com", selector: str = "s1", subdomains: bool = False) -> SigningKey:
    """A signing key of `domain`."""
    path = f"/k/{domain}/{selector}.private"
    return SigningKey(domain, selector, Selector(), path, ("domainkeys",), subdomains)


def dk(**fields: object) -> Filter:
    """A dk-filter."""
    return Filter("inet:8892@127.0.0.1", program="dk-filter", **fields)  # type: ignore[arg-type]


def test_letters_are_those_of_dk_filter() -> None:
    """No -F -K -L -n -O -Q -r -t -v -W -x; and the daemon that takes its place knows the same ones."""
    assert not set("FKLnOQrtvWx") & set(DK_FILTER_OPTIONS)
    words = [
        w for letter, takes in DK_FILTER_OPTIONS.items() for w in ([f"-{letter}", "x"] if takes else [f"-{letter}"])
    ]
    found, rest = getopt.getopt(words, args._SHORT)
    assert not rest
    assert {name[1:]: bool(value) for name, value in found} == dict(DK_FILTER_OPTIONS)


def test_miss_is_always_said() -> None:
    """dk-filter's own default of `miss` is not known."""
    assert condition_string(Conditions(), None) == "bad=a,dns=t,int=t,no=a,miss=a,sec=t"
    assert condition_string(Conditions(), "bad=r,dns=t") == "bad=r,dns=t,miss=a"
    assert condition_string(Conditions(), "def=t,bad=a") == "def=t,bad=a"
    assert condition_string(Conditions(), "SignatureMissing=r") == "SignatureMissing=r"


def test_quarantine_cannot_be_said_by_c() -> None:
    """-C knows accept, discard, tempfail and reject."""
    with pytest.raises(NotRenderable, match="quarantine"):
        condition_string(Conditions(bad="quarantine"), None)


def test_one_domain_needs_no_key_list() -> None:
    """-d, -s, -S, and -D for subdomains."""
    made = dict(dk_filter_options("dk", dk(), [key(subdomains=True)]).options)

    assert made["d"] == "example.com"
    assert made["s"] == "/k/example.com/s1.private"
    assert made["S"] == "s1"
    assert "D" in made
    assert "k" not in made


def test_several_domains_go_into_a_key_list() -> None:
    """The selector is the file's name; dk-filter appends .private."""
    made = dk_filter_options("dk", dk(), [key(), key("example.net", "s2", subdomains=True)])
    (keys,) = [f for f in made.files if f.suffix == "keys"]

    assert dict(made.options)["k"] == ""
    assert "d" not in dict(made.options)
    assert keys.lines == (
        "*@example.com:example.com:/k/example.com/s1",
        "*@example.net:example.net:/k/example.net/s2",
        "*@*.example.net:example.net:/k/example.net/s2",
    )


def test_two_active_selectors_are_one_too_many() -> None:
    """dk-filter signs with one; the error names both."""
    with pytest.raises(NotRenderable, match="s1 and s2"):
        dk_filter_options("dk", dk(), [key(selector="s1"), key(selector="s2")])


def test_a_filter_that_is_off_may_have_two() -> None:
    """While a host moves from dk-filter to another program; it is written with the first."""
    made = dk_filter_options("dk", dk(), [key(selector="s1"), key(selector="s2")], enabled=False)

    assert dict(made.options)["S"] == "s1"


@pytest.mark.parametrize(
    "fields", [{"daemons": ("a,b",)}, {"macros": {"x": "a,b"}}, {"headers": Headers(omit=("a,b",))}]
)
def test_a_comma_would_make_two_of_one(fields: dict[str, object]) -> None:
    """-m, -M and -o are comma lists."""
    with pytest.raises(NotRenderable, match="comma"):
        dk_filter_options("dk", dk(**fields), [])


def test_what_is_rendered_is_what_our_own_daemon_reads(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """dkconf-filter takes dk-filter's command line: the same settings come out."""
    spec = dk(
        internal_hosts=("127.0.0.1", "192.0.2.0/24"),
        daemons=("MSA",),
        macros={"auth_type": "", "x": "y"},
        dns_timeout=7,
        quarantine=True,
        conditions=ConditionTables(domainkeys=Conditions(no="reject", miss="discard")),
        headers=Headers(omit=("received",), identify=True),
    )
    host = one_host(spec, name="dk", service_manager="direct", domain=Domain({"s1": Selector()}, sign=("domainkeys",)))
    state = build(host, HOST, {})
    argv = list(state.services[0].argv)
    for file in state.files:
        if file.role == "list":
            there = tmp_path / file.path.rsplit("/", 1)[1]
            there.write_bytes(file.content)
            argv = [str(there) if word == file.path else word for word in argv]

    settings = args.parse(argv[1:]).settings

    assert settings.socket == "inet:8892@127.0.0.1"
    assert settings.internal_hosts == ("127.0.0.1", "192.0.2.0/24")
    assert settings.daemons == ("MSA",)
    assert dict(settings.macros) == {"auth_type": "", "x": "y"}
    assert settings.dns_timeout_seconds == 7
    assert settings.identify
    assert settings.user == "dk-filter"
    assert settings.domainkeys_conditions.bad == "quarantine"
    assert settings.domainkeys_conditions.no == "reject"
    assert settings.domainkeys_conditions.miss == "discard"
    assert [(k.domain, k.selector) for k in settings.keys] == [("example.com", "s1")]
