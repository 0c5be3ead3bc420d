"""`build`: pure, complete, and only about its own host."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dkconf.desired import NotRenderable, build
from dkconf.desired.state import Signature
from dkconf.errors import UsageProblem
from dkconf.filter.config import loads
from dkconf.inventory.model import Domain, Filter, Inventory, Paths, Selector

from .inventories import ED25519, HOST, RSA, one_host

PUBLIC = {("example.com", "s1"): RSA, ("example.com", "e1"): ED25519}
BOTH = Domain({"s1": Selector(), "e1": Selector("ed25519")}, sign=("dkim", "domainkeys"))


def test_the_same_inventory_gives_the_same_state() -> None:
    """Digest included; another socket, another digest."""
    first, again = (build(one_host(domain=BOTH), HOST, PUBLIC) for _ in range(2))
    other = build(one_host(Filter("inet:8892@127.0.0.1"), domain=BOTH), HOST, PUBLIC)

    assert first == again
    assert first.digest != other.digest
    assert first.filters[0].settings_digest != other.filters[0].settings_digest


def test_a_new_key_changes_the_settings_digest() -> None:
    """Then the canary needs a throwaway instance."""
    first = build(one_host(), HOST, PUBLIC)
    other = build(one_host(), HOST, {("example.com", "s1"): replace(RSA, fingerprint="00")})

    assert first.filters[0].settings_digest != other.filters[0].settings_digest


def test_an_unknown_host_names_the_nearest() -> None:
    """`--host` is how to name another."""
    with pytest.raises(UsageProblem, match=r"did you mean mx1\.example\.com"):
        build(one_host(), "mx.example.com", {})


def test_expected_signatures_are_active_selectors_times_schemes() -> None:
    """Ed25519 never signs DomainKeys."""
    state = build(one_host(domain=BOTH), HOST, PUBLIC)

    assert set(state.filters[0].signs) == {
        Signature("domainkeys", "example.com", "s1", "rsa-sha1"),
        Signature("dkim", "example.com", "s1", "rsa-sha256"),
        Signature("dkim", "example.com", "e1", "ed25519-sha256"),
    }


@pytest.mark.parametrize("state", ["planned", "published", "percolating", "revoked", "removed"])
def test_only_active_selectors_sign(state: str) -> None:
    """And only they need a private half."""
    built = build(one_host(domain=Domain({"s1": Selector(state=state)})), HOST, PUBLIC)  # type: ignore[arg-type]

    assert built.filters[0].signs == ()
    assert built.keys == ()


def test_a_verifier_signs_nothing_and_owns_no_key() -> None:
    """roles: [verify]."""
    built = build(one_host(Filter("inet:1@127.0.0.1", roles=("verify",))), HOST, PUBLIC)

    assert built.filters[0].signs == ()
    assert built.keys == ()


def test_observing_signs_nothing() -> None:
    """It changes no mail, so no signature can be expected."""
    assert build(one_host(Filter("inet:1@127.0.0.1", observe=True)), HOST, PUBLIC).filters[0].signs == ()


def test_an_external_filter_is_expected_to_sign_with_known_keys() -> None:
    """Without the public half nobody could verify the canary."""
    spec = Filter("inet:1@127.0.0.1", program="external", schemes=("dkim",))

    assert build(one_host(spec), HOST, {}).filters[0].signs == ()
    assert build(one_host(spec), HOST, PUBLIC).filters[0].signs == (
        Signature("dkim", "example.com", "s1", "rsa-sha256"),
    )


def test_a_second_signer_leaves_domainkeys_to_the_first() -> None:
    """A message with a DomainKey-Signature is verified, not signed again (RFC 4870 section 3.5.2)."""
    filters = {
        "a": Filter("inet:1@127.0.0.1", schemes=("domainkeys",)),
        "b": Filter("inet:2@127.0.0.1"),
    }
    base = one_host(filters=("a", "b"))
    both = build(Inventory(base.domains, filters, base.hosts), HOST, PUBLIC)
    without = one_host(filters=("a", "b"), disabled_filters=("a",))
    alone = build(Inventory(without.domains, filters, without.hosts), HOST, PUBLIC)

    assert [s.scheme for s in both.filters[1].signs] == ["dkim"]
    assert [s.scheme for s in alone.filters[1].signs] == ["domainkeys", "dkim"]


def test_keys_belong_to_the_filters_user() -> None:
    """0600; two filters of different users share a key by its group."""
    alone = build(one_host(), HOST, PUBLIC).keys[0]
    filters = {
        "a": Filter("inet:1@127.0.0.1"),
        "b": Filter("inet:2@127.0.0.1", program="dk-filter"),
    }
    base = one_host(filters=("a", "b"))
    shared = build(Inventory(base.domains, filters, base.hosts), HOST, PUBLIC).keys[0]

    assert (alone.owner, alone.group, alone.mode) == ("dkconf", "root", 0o600)
    assert (shared.owner, shared.group, shared.mode) == ("dkconf", "dk-filter", 0o640)
    assert alone.path == "/etc/dkconf-filter/keys/example.com/s1.private"
    assert alone.fingerprint == RSA.fingerprint


def test_the_settings_are_what_the_daemon_reads() -> None:
    """Written by its own module."""
    state = build(one_host(domain=BOTH), HOST, PUBLIC)
    (file,) = [f for f in state.files if f.role == "filter-settings"]
    settings = loads(file.content.decode())

    assert file.path == "/etc/dkconf-filter/signer.toml"
    assert settings.user == "dkconf"
    assert [(k.selector, k.schemes) for k in settings.keys] == [("e1", ("dkim",)), ("s1", ("domainkeys", "dkim"))]


def test_no_private_key_is_in_a_state() -> None:
    """Only paths and fingerprints."""
    assert "PRIVATE" not in repr(build(one_host(domain=BOTH), HOST, PUBLIC))


def test_paths_are_overridden_one_by_one() -> None:
    """The others stay the platform's."""
    paths = build(one_host(paths=Paths(sendmail_mc="/x.mc", dkconf_filter="/opt/f")), HOST, {}).paths

    assert paths.sendmail_mc == "/x.mc"
    assert paths.dkconf_filter == "/opt/f"
    assert paths.sendmail_cf == "/etc/mail/sendmail.cf"


def test_freebsd_builds_from_the_hosts_own_mc() -> None:
    """/etc/mail/$(hostname).mc, with cf.m4 on m4's command line."""
    paths = build(one_host(platform="freebsd", service_manager="rcd"), HOST, {}).paths

    assert paths.sendmail_mc == "/etc/mail/mx1.example.com.mc"
    assert paths.cf_m4 == "/usr/share/sendmail/cf/m4/cf.m4"
    assert paths.cf_dir == "/usr/share/sendmail/cf/"


def test_an_internal_list_without_the_host_itself_is_warned_of() -> None:
    """-i replaces dk-filter's default."""
    spec = Filter("inet:1@127.0.0.1", program="dk-filter", internal_hosts=("192.0.2.0/24",))
    state = build(one_host(spec, domain=Domain({"s1": Selector()}, sign=("domainkeys",))), HOST, PUBLIC)

    assert any("127.0.0.1" in warning for warning in state.warnings)


def test_only_the_hosts_own_keys_are_looked_at() -> None:
    """An inventory may hold ten thousand domains."""
    inventory = one_host()
    domains = {**inventory.domains, "example.net": Domain({"s1": Selector()})}
    asked: list[tuple[str, str]] = []

    class Watched(dict[tuple[str, str], object]):
        def get(self, key, default=None):  # type: ignore[no-untyped-def]
            asked.append(key)
            return default

        def __contains__(self, key: object) -> bool:
            asked.append(key)  # type: ignore[arg-type]
            return False

    build(Inventory(domains, inventory.filters, inventory.hosts), HOST, Watched())  # type: ignore[arg-type]

    assert {domain for domain, _ in asked} == {"example.com"}


def test_names_that_the_inventory_does_not_have_are_refused() -> None:
    """For those who build inventories by hand; the loader finds them too."""
    with pytest.raises(NotRenderable, match=r"filters\.ghost"):
        build(one_host(filters=("ghost",)), HOST, {})
    with pytest.raises(NotRenderable, match=r"domains\.ghost"):
        build(one_host(domains=("ghost",)), HOST, {})


@pytest.mark.parametrize(
    "change, starts",
    [
        ({"workers": 2}, True),
        ({"socket": "inet:8899@127.0.0.1"}, True),
        ({"metrics": "inet:9108@127.0.0.1"}, True),
        ({"user": "other"}, True),
        ({"log": False}, True),
        ({"dns_timeout": 3}, False),
        ({"observe": True}, False),
        ({"log_format": "json"}, False),
    ],
)
def test_what_takes_a_start_is_known(change: dict[str, object], starts: bool) -> None:
    """`start_digest` changes with what a reload leaves alone, `settings_digest` with everything."""
    spec = Filter("inet:8891@127.0.0.1")
    (before,) = build(one_host(spec), HOST, PUBLIC).filters
    (after,) = build(one_host(replace(spec, **change)), HOST, PUBLIC).filters

    assert before.settings_digest != after.settings_digest
    assert (before.start_digest != after.start_digest) is starts


def test_a_dk_filter_always_takes_a_start() -> None:
    """It has nothing that it could read again; what somebody else looks after is not known."""
    domain = Domain({"s1": Selector()}, sign=("domainkeys",))
    spec = Filter("inet:1@127.0.0.1", program="dk-filter")
    (before,) = build(one_host(spec, domain=domain), HOST, PUBLIC).filters
    (after,) = build(one_host(replace(spec, dns_timeout=3), domain=domain), HOST, PUBLIC).filters
    (external,) = build(one_host(replace(spec, program="external")), HOST, PUBLIC).filters

    assert before.start_digest != after.start_digest
    assert external.start_digest == ""
