"""Quoting for m4, shells and units: verbatim, or refused."""

from __future__ import annotations

import pytest

from dkconf.desired import NotRenderable
from dkconf.desired.quoting import (
    m4_macro_name,
    m4_name,
    m4_quoted,
    plain_word,
    shell_quoted,
    unit_path,
    unit_word,
)


def test_an_ordinary_value_keeps_the_familiar_single_quotes() -> None:
    """What no m4 macro can be in is written as cf/README writes it."""
    assert m4_quoted("S=inet:8891@127.0.0.1, F=T") == "`S=inet:8891@127.0.0.1, F=T'"


@pytest.mark.parametrize("word", ["dnl", "divert", "m4exit", "len", "FEATURE", "confLOG_LEVEL", "_CF_DIR_"])
def test_a_word_that_may_be_a_macro_is_quoted_twice(word: str) -> None:
    """proto.m4 scans X lines a second time."""
    assert m4_quoted(f"S=local:/run/{word}/x") == f"``S=local:/run/{word}/x''"


@pytest.mark.parametrize("char", ["`", "'", "$", "\n", "\r", "\0", "\t", "\x7f", "ä"])
def test_what_m4_cannot_take_literally_is_refused(char: str) -> None:
    """Quotes, $ and control characters, and what is not ASCII."""
    with pytest.raises(NotRenderable, match="socket"):
        m4_quoted(f"a{char}b", "socket")


@pytest.mark.parametrize("name", ["", "1a", "a b", "a,b", "a'b", "dnl", "a-dnl", "DIVERT_X", "confX", "_x", "a$1"])
def test_filter_names_hold_no_macro(name: str) -> None:
    """A name goes into lists that m4 reads more often than X lines."""
    with pytest.raises(NotRenderable):
        m4_name(name)


def test_filter_names_are_letters_digits_and_dashes() -> None:
    """dk-filter and such."""
    assert m4_name("dk-filter_2") == "`dk-filter_2'"


@pytest.mark.parametrize("name", ["ab", "{}", "{a b}", "{a}, {b}", "1", "$j", "`"])
def test_macro_names_are_a_letter_or_braced(name: str) -> None:
    """As in Milter.macros."""
    with pytest.raises(NotRenderable):
        m4_macro_name(name)
    assert m4_macro_name("j") == "j"
    assert m4_macro_name("{auth_type}") == "{auth_type}"


@pytest.mark.parametrize("value", ["a b", "*", "$x", "a;b", "`id`", "", "ä", "a\nb", "'", '"', "~", "(", "#"])
def test_plain_words_have_nothing_for_a_shell(value: str) -> None:
    """They are split and expanded once more by the package's script."""
    with pytest.raises(NotRenderable):
        plain_word(value, "filters.dk", "/etc/default/dk-filter")


def test_a_single_quote_survives_the_shell() -> None:
    """'it'\\''s'."""
    assert shell_quoted("it's") == "'it'\\''s'"


def test_a_line_end_is_refused_for_the_shell() -> None:
    """An options file has one setting per line."""
    with pytest.raises(NotRenderable):
        shell_quoted("a\nb")


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("/a/b", "/a/b"),
        ("/a b", '"/a b"'),
        ("100%", "100%%"),
        ("$HOME", '"$$HOME"'),
        ('a"b', '"a\\"b"'),
        ("a\\b", '"a\\\\b"'),
        ("", '""'),
        ("ü", '"ü"'),
    ],
)
def test_unit_words_are_escaped(value: str, written: str) -> None:
    """systemd.service(5): specifiers, variables and quotes."""
    assert unit_word(value) == written


@pytest.mark.parametrize("value", ["relative", "/a\nb", '/a"b', "/a:b", "/a'b"])
def test_unit_paths_are_plain(value: str) -> None:
    """ReadWritePaths= and such know no escapes worth relying on."""
    with pytest.raises(NotRenderable):
        unit_path(value)


def test_unit_paths_keep_percent_and_blank() -> None:
    """A specifier is doubled, a blank quoted."""
    assert unit_path("/var/a%b c") == '"/var/a%%b c"'
