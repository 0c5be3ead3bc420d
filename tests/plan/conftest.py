"""A desired state of two external filters, built by hand, and the host that matches it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from dkconf.desired.state import (
    DesiredState,
    HostPaths,
    KeyFile,
    ManagedFile,
    MilterFilter,
    Service,
    Signature,
    TxtRecord,
)
from dkconf.inventory.model import Timeouts
from dkconf.plan.actual import ActualState, FileState, KeyState, LastApplied
from dkconf.plan.files import file_digest
from dkconf.plan.source import block_text
from dkconf.sendmail import mc

PATHS = HostPaths(
    sendmail_mc="/etc/mail/sendmail.mc",
    sendmail_cf="/etc/mail/sendmail.cf",
    fragment="/etc/mail/m4/dkconf.m4",
    cf_m4="",
    sendmail="/usr/sbin/sendmail",
    m4="/usr/bin/m4",
    pid_file="/run/sendmail.pid",
    key_dir="/etc/keys",
    state_dir="/var/lib/dkconf",
    filter_config="/etc/filter",
    dk_filter="/usr/sbin/dk-filter",
    unit_dir="/etc/systemd/system",
    mail_group="smmsp",
    cf_dir="",
)
SOURCE = "include(`/usr/share/sendmail/cf/m4/cf.m4')dnl\nMAILER_DEFINITIONS\nMAILER(`smtp')dnl\n"
SETTINGS = "/etc/filter/signer.toml"
KEY = "/etc/keys/example.com/s1.private"
FINGERPRINT = "ab" * 32


def milter(name: str, port: int, enabled: bool = True) -> MilterFilter:
    signs = (Signature("dkim", "example.com", "s1", "rsa"),) if name == "signer" else ()
    return MilterFilter(
        name, f"inet:{port}@127.0.0.1", "tempfail", Timeouts(), enabled, "dkconf-filter", ("sign",), signs, (), "1"
    )


def fragment(*filters: MilterFilter) -> bytes:
    words = {True: "INPUT_MAIL_FILTER", False: "MAIL_FILTER"}
    return "".join(f"{words[f.enabled]}(`{f.name}', `S={f.socket}, F=T')dnl\n" for f in filters).encode()


def state(*filters: MilterFilter) -> DesiredState:
    """Return a desired state with these filters; "signer" has settings, a service, a key and a record."""
    files = [ManagedFile(PATHS.fragment, fragment(*filters), 0o644, "root", "smmsp", "fragment")]
    signer = [f for f in filters if f.name == "signer"]
    if signer:
        files.append(ManagedFile(SETTINGS, b"a = 1\n", 0o644, "root", "root", "filter-settings", "signer"))
    return DesiredState(
        host="mx1.example.test",
        platform="debian",
        service_group="",
        paths=PATHS,
        service_manager="systemd",
        filters=filters,
        files=tuple(files),
        records=(TxtRecord("s1._domainkey.example.com", b"v=DKIM1; p=AAAA", 3600, "key", "example.com", "s1"),),
        keys=(KeyFile(KEY, "example.com", "s1", "rsa", FINGERPRINT, "dkconf", "dkconf"),) if signer else (),
        users=(),
        services=tuple(Service(f.name, "systemd", f.name, (), "", f.enabled, True) for f in signer),
        sendmail_argv=(),
        probe_recipient="",
        digest="d",
    )


def cf_text(*filters: MilterFilter) -> bytes:
    called = ", ".join(f.name for f in filters if f.enabled)
    lines = [f"O InputMailFilters={called}" if called else "#O InputMailFilters"]
    lines += [f"X{f.name}, S={f.socket}, F=T" for f in filters]
    return ("\n".join(lines) + "\n").encode()


def before_dkconf(desired: DesiredState) -> ActualState:
    """Return the host on which nothing was ever applied, its key in place."""
    return ActualState(
        files={f.path: None for f in desired.files},
        mc=FileState(SOURCE.encode(), 0o644, "root", "smmsp"),
        cf=FileState(cf_text(), 0o644, "root", "smmsp"),
        keys={KEY: KeyState(0o600, "dkconf", "dkconf", FINGERPRINT)},
        running={"signer": False},
    )


def applied(desired: DesiredState) -> tuple[ActualState, LastApplied]:
    """Return the host just after `desired` was applied, and its generation."""
    source = mc.insert_block(SOURCE, PATHS.fragment)
    files = {f.path: FileState(f.content, f.mode, f.owner, f.group) for f in desired.files}
    actual = ActualState(
        files=files,
        mc=FileState(source.encode(), 0o644, "root", "smmsp"),
        cf=FileState(cf_text(*desired.filters), 0o644, "root", "smmsp"),
        keys={KEY: KeyState(0o600, "dkconf", "dkconf", FINGERPRINT)},
        running={s.filter: s.running for s in desired.services},
    )
    digests = {f.path: file_digest(f) for f in desired.files}
    return actual, LastApplied(7, desired, digests, block_text(source))


@pytest.fixture
def signer() -> MilterFilter:
    return milter("signer", 8891)


@pytest.fixture
def edited() -> Callable[[ActualState, str, bytes], ActualState]:
    """Return a function that edits one file of a host by hand."""

    def edit(actual: ActualState, path: str, content: bytes) -> ActualState:
        now = actual.files[path]
        assert now is not None
        return replace(actual, files={**actual.files, path: replace(now, content=content)})

    return edit
