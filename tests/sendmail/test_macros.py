"""Macros in an option's value: what the .cf defines is known, everything else is not guessed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dkconf.sendmail.macros import MAX_OCTETS, definitions, expand

LINES = ("Dmexample.org", "Dj$w.$m", "Dwmx1", "D{dir}/run/mail ", "DlFROM $g  $d", "Cwlocalhost", "Da$b", "Db$a")


def test_definitions_are_read_by_their_names() -> None:
    """One letter or a name in braces; blanks at the end are none of the value."""
    found = definitions(LINES)

    assert {"m": "example.org", "w": "mx1", "dir": "/run/mail"}.items() <= found.items()
    assert "localhost" not in found.values()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("/var/run/sendmail.pid", "/var/run/sendmail.pid"),
        ("/run/$m.pid", "/run/example.org.pid"),
        ("/run/$j.pid", "/run/mx1.example.org.pid"),
        ("${dir}/mta.pid", "/run/mail/mta.pid"),
        ("/run/$$.pid", "/run/$.pid"),
        ("", ""),
        ("/run/$p.pid", None),  # its own process id
        ("/run/${unknown}.pid", None),
        ("/run/$?m$m$|x$..pid", None),  # a condition
        ("/run/$&m", None),
        ("/run/$", None),
        ("/run/$a", None),  # a is b, and b is a
        ("/run/${open", None),
    ],
)
def test_expansion(value: str, expected: str | None) -> None:
    """What cannot be known has no expansion."""
    assert expected == expand(value, definitions(LINES))


def test_a_value_that_grows_without_end_is_given_up() -> None:
    """Ten macros that double each other are no path."""
    macros = {chr(97 + n): f"${chr(98 + n)}${chr(98 + n)}" for n in range(9)} | {"j": "x" * 100}

    assert expand("$a", macros) is None


@given(
    st.text(alphabet="$ab{}.?|/x", max_size=40), st.dictionaries(st.sampled_from("ab"), st.text("$ab{}x", max_size=9))
)
def test_it_always_ends_and_is_bounded(value: str, macros: dict[str, str]) -> None:
    """Whatever the .cf says."""
    found = expand(value, macros)

    assert found is None or len(found) <= MAX_OCTETS
