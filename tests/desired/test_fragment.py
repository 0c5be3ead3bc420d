"""The fragment: equates, order, on and off, confMILTER_*."""

from __future__ import annotations

import pytest

from dkconf.desired import NotRenderable, build
from dkconf.desired.fragment import duration, equates, milter_socket
from dkconf.inventory.model import Filter, Inventory, Milter, OnFailure, Timeouts

from .inventories import HOST, one_host


def fragment_of(inventory: Inventory) -> list[str]:
    """The fragment's lines without comments."""
    (file,) = [f for f in build(inventory, HOST, {}).files if f.role == "fragment"]
    return [line for line in file.content.decode().splitlines() if not line.startswith("dnl")]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (1, "1s"), (60, "1m"), (90, "90s"), (300, "5m"), (3600, "1h"), (86400, "1d")]
)
def test_durations_in_the_largest_unit(seconds: int, text: str) -> None:
    """sendmail's own way to write a time."""
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("on_failure", "letter"), [("accept", ""), ("tempfail", "F=T, "), ("reject", "F=R, "), ("shutdown", "F=4, ")]
)
def test_f_says_what_happens_while_the_filter_is_down(on_failure: OnFailure, letter: str) -> None:
    """No F= accepts; an empty one is not written."""
    assert equates("inet:1@h", on_failure, Timeouts()) == f"S=inet:1@h, {letter}T=C:5m;S:10s;R:10s;E:5m"


@pytest.mark.parametrize("socket", ["", "inet:1@a,b", "local:/a b", "local:/a\n"])
def test_a_socket_that_would_end_its_equate_is_refused(socket: str) -> None:
    """A comma or blank ends S=."""
    with pytest.raises(NotRenderable):
        equates(socket, "accept", Timeouts())


@pytest.mark.parametrize(
    ("socket", "mta"),
    [
        ("inet:8891@localhost", "inet:8891@localhost"),
        ("inet:8891", "inet:8891@127.0.0.1"),
        ("inet6:8891@::1", "inet6:8891@[::1]"),
        ("inet6:8891@[::1]", "inet6:8891@[::1]"),
        ("inet6:8891", "inet6:8891@[::1]"),
        ("local:/run/a/b", "local:/run/a/b"),
        ("/run/a/b", "/run/a/b"),
    ],
)
def test_the_mta_needs_a_host(socket: str, mta: str) -> None:
    """`bad address X (expected port@host)` else."""
    assert milter_socket(Filter(socket)) == mta


def test_on_is_input_mail_filter_and_off_is_mail_filter() -> None:
    """The reversible disable, in call order."""
    inventory = one_host(filters=("signer",), disabled_filters=())
    off = one_host(disabled_filters=("signer",))

    assert fragment_of(inventory)[-1].startswith("INPUT_MAIL_FILTER(`signer', `S=inet:8891@127.0.0.1, F=T,")
    assert fragment_of(off)[-1].startswith("MAIL_FILTER(`signer', `S=inet:8891@127.0.0.1, F=T,")


def test_nothing_is_said_about_milter_unless_asked() -> None:
    """sendmail's defaults stay."""
    assert len(fragment_of(one_host())) == 1


def test_macros_that_sendmail_sends_anyway_are_not_added() -> None:
    """i at envfrom is in sendmail's own list; auth_type gets its braces."""
    lines = fragment_of(one_host(milter=Milter(macros={"envfrom": "i, auth_type", "eoh": "i {auth_type}"})))

    assert not [line for line in lines if "ENVFROM" in line]
    assert "`define(`confMILTER_MACROS_EOH', ``i, {auth_type}'')')dnl" in lines


def test_more_filters_than_sendmail_takes_are_refused() -> None:
    """MAXFILTERS is 25, which is 24 filters."""
    names = tuple(f"f{n}" for n in range(25))
    spec = Filter("inet:1@127.0.0.1", program="external")
    inventory = one_host(spec, name="f0", filters=names)
    inventory = Inventory(inventory.domains, dict.fromkeys(names, spec), inventory.hosts)

    with pytest.raises(NotRenderable, match="24"):
        build(inventory, HOST, {})
