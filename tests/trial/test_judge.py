"""What is expected of a canary, and when a missing signature is no fault."""

from __future__ import annotations

import dataclasses

import pytest

from dkconf.desired.platform import PLATFORMS
from dkconf.desired.state import DesiredState, ManagedFile, MilterFilter, Service, Signature
from dkconf.inventory.model import Timeouts
from dkconf.probe.canary import Canary
from dkconf.sendmail import qf
from dkconf.trial.judge import Judgement, _compare, why_unsigned

FILTER = MilterFilter(
    "f", "local:/x", "tempfail", Timeouts(), True, "dkconf-filter", ("sign",), (), ("127.0.0.1", "::1"), ""
)


def desired(settings: str = "", argv: tuple[str, ...] = ()) -> DesiredState:
    file = ManagedFile("/etc/f.toml", settings.encode(), 0o644, "root", "root", "filter-settings", "f")
    service = Service("f", "direct", "f", argv, "", running=True, managed=True)
    paths = PLATFORMS["debian"].paths
    return DesiredState("mx1", "debian", "", paths, "direct", (FILTER,), (file,), (), (), (), (service,), (), "", "")


@pytest.mark.parametrize(
    "hosts,signs",
    [
        (("127.0.0.1",), True),
        (("127.0.0.0/8", "10.0.0.0/8"), True),
        (("localhost",), True),
        ((), True),
        (("10.0.0.0/8", "::1", ".example.org"), False),
    ],
)
def test_internal_hosts(hosts: tuple[str, ...], signs: bool) -> None:
    """The canary comes from 127.0.0.1; an empty list is the default, which holds it."""
    found = why_unsigned(dataclasses.replace(FILTER, internal_hosts=hosts), desired())

    assert signs == (found == "")


@pytest.mark.parametrize(
    "settings,argv,program,signs",
    [
        ("", (), "dkconf-filter", True),
        ('[origin]\ndaemons = ["MSA"]\n', (), "dkconf-filter", False),
        ('[origin]\nmacros = {auth_type = ""}\n', (), "dkconf-filter", False),
        ('[origin]\npeers = ["127.0.0.1"]\n', (), "dkconf-filter", False),
        ("not toml", (), "dkconf-filter", True),
        ("", ("dk-filter", "-m", "MSA"), "dk-filter", False),
        ("", ("dk-filter", "-Mauth_type"), "dk-filter", False),
        ("", ("dk-filter", "-l"), "dk-filter", True),
        ("", ("other", "-m", "x"), "external", True),
    ],
)
def test_what_a_canary_cannot_show(settings: str, argv: tuple[str, ...], program: str, signs: bool) -> None:
    """It has no {daemon_name} and no {auth_type}."""
    found = why_unsigned(dataclasses.replace(FILTER, program=program), desired(settings, argv))  # type: ignore[arg-type]

    assert signs == (found == "")


@pytest.mark.parametrize("program, refused", [("external", False), ("dkconf-filter", True)])
def test_a_signature_may_be_by_another_program_with_the_same_key(program: str, refused: bool) -> None:
    """A dk-filter that is called again signs what the filter after it signed; nobody said so to the inventory."""
    sign = b" a=rsa-sha1; s=mail; d=example.org; c=nofws; q=dns;\r\n\th=from; b=QUJD"
    fields = (qf.Field(b"DomainKey-Signature", sign, b""), qf.Field(b"From", b" a@example.org", b""))
    canary = Canary(("old",), "example.org", (), fields, b"", "q")
    off = dataclasses.replace(
        FILTER, enabled=False, signs=(Signature("domainkeys", "example.org", "mail", "rsa-sha1"),)
    )
    other = dataclasses.replace(FILTER, name="old", program=program)  # type: ignore[arg-type]
    found = Judgement(before=[canary], after=[canary])

    _compare(found, dataclasses.replace(desired(), filters=(off, other)), ())

    words = "although filter f is not called"
    assert refused == any(words in refusal.sentence for refusal in found.refusals)
    assert refused == (not any(note.endswith(f"{words}; it may be by old") for note in found.notes))
