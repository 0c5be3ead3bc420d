"""The m4 tokenizer: what m4 sees as a call in a sendmail.mc, and what it does not."""

from __future__ import annotations

import pytest

from dkconf.sendmail import m4

CF_M4 = "include(`/usr/share/sendmail/cf/m4/cf.m4')dnl\n"


def names(text: str, **options: bool) -> list[str]:
    return [call.name for call in m4.find_calls(text, {"INPUT_MAIL_FILTER", "MAILER"}, **options)]


@pytest.mark.parametrize(
    "text",
    ["", "dnl", "dnl x\ny", "a(`b')", "`un closed", "x # y\n", "a(b(c), `d`e'f')dnl\r\n", "''))((", "\0\xff`\x80'",
     "dnl()", "dnl(a)\n", "dnl(dnl(a))"],
)  # fmt: skip
def test_tokens_cover_every_octet(text: str) -> None:
    """The tokens of a text, put together, are the text, and none is empty."""
    pieces = list(m4.tokens(text))

    assert all(t.start < t.end for t in pieces)
    assert text == "".join(text[t.start : t.end] for t in pieces)


def test_hash_is_a_comment_before_cf_m4_only() -> None:
    """`#` hides a call before cf.m4 is included, and no longer does after it."""
    assert [] == names("# MAILER(`local')\n")
    assert ["MAILER"] == names(CF_M4 + "# MAILER(`local')\n")
    assert ["MAILER"] == names("# MAILER(`local')\n", after_cf_m4=True)


def test_changecom_ends_comments() -> None:
    """An explicit changecom does what cf.m4 does."""
    assert ["MAILER"] == names("changecom()dnl\n# MAILER(`local')\n")


def test_unquoted_include_of_cf_m4_is_seen() -> None:
    """The path of cf.m4 need not be quoted."""
    assert ["MAILER"] == names("include(/usr/share/sendmail/cf/m4/cf.m4)\n# MAILER(`local')\n")


def test_dnl_discards_the_line() -> None:
    """What follows `dnl` is no call, up to and including the line end."""
    assert ["MAILER"] == names("dnl MAILER(`local')\nMAILER(`smtp')dnl MAILER(`x')\n")


def test_dnl_as_a_call_expands_its_arguments() -> None:
    """Directly before a parenthesis `dnl` is a call like any other; what follows it on the line is discarded."""
    assert ["MAILER"] == names("dnl(MAILER(`local')) MAILER(`x')\n")
    assert ["MAILER", "MAILER"] == names("dnl(word(dnl(MAILER(`a')) MAILER(`x')\n)) x\nMAILER(`b')\n")
    (call,) = m4.find_calls("MAILER(a dnl(x) y\n b)")
    assert ("a  b",) == call.arguments


def test_dnl_within_a_word_is_no_dnl() -> None:
    """`dnl` must stand as a name of its own."""
    assert ["MAILER"] == names("xdnl MAILER(`local')\n")


def test_quoted_text_is_no_call_at_top_level() -> None:
    """m4 strips the quotes and copies the text."""
    assert [] == names("`MAILER(`local')'\n")


def test_call_within_quoted_argument_is_found_as_nested() -> None:
    """ifdef and ifelse expand their quoted arguments: a call in there may be live."""
    [call] = m4.find_calls("ifdef(`X', `MAILER(`local')')\n", {"MAILER"})

    assert call.nested
    assert ("local",) == call.arguments


def test_arguments_lose_their_outer_quotes_and_leading_blanks() -> None:
    """Blanks before an argument are dropped, those behind it kept; inner quotes stay."""
    [call] = m4.find_calls("INPUT_MAIL_FILTER( `a' ,\n  `S=x, F=`T'' )", {"INPUT_MAIL_FILTER"})

    assert ("a ", "S=x, F=`T' ") == call.arguments


def test_comma_in_parentheses_does_not_split() -> None:
    """Only a comma outside inner parentheses and quotes ends an argument."""
    [call] = m4.find_calls("INPUT_MAIL_FILTER(f(a,b), (c,d))", {"INPUT_MAIL_FILTER"})

    assert ("f(a,b)", "(c,d)") == call.arguments


def test_name_without_parenthesis_is_a_bare_call() -> None:
    """MAILER_DEFINITIONS stands without arguments; a blank before a parenthesis makes no call."""
    found = m4.find_calls("MAILER (`local')\n", {"MAILER"})

    assert [None] == [call.arguments for call in found]


def test_deep_nesting_is_no_recursion() -> None:
    """A hundred thousand parentheses or quotes end in time, without an error."""
    deep = 100_000

    assert [] == names("a(" * deep + "MAILE" + ")" * deep)
    assert [] == names("`" * deep)


def test_lines_are_counted_from_one() -> None:
    """`line_of` counts line feeds, whatever stands before them."""
    assert [1, 1, 2, 3] == [m4.line_of("a\r\nb\n", at) for at in (0, 2, 3, 5)]
