"""What stands in dkconf's way in a sendmail.mc is named, with its line."""

from __future__ import annotations

import pytest

from dkconf.sendmail import mc
from dkconf.sendmail.problems import daemon_filter_list, problems

HEAD = "include(`/usr/share/sendmail/cf/m4/cf.m4')dnl\n"
TAIL = "MAILER(`local')dnl\n"

# (code, line of the .mc, blocking)
CASES = [
    ("hand-made-list", "define(`confINPUT_MAIL_FILTERS', `a, b')dnl", True),
    ("per-daemon-list", "DAEMON_OPTIONS(`Name=MTA, Port=smtp, InputMailFilters=a;b')dnl", True),
    ("per-daemon-list", "DAEMON_OPTIONS(`Name=MTA, I=')dnl", True),
    ("hash-trap", "# INPUT_MAIL_FILTER(`a', `S=local:/x')", True),
    ("changequote", "changequote([, ])", True),
    ("raw-line", "Xa, S=local:/run/x, F=T", True),
    ("raw-line", "O InputMailFilters=a", True),
    ("sinclude-fragment", "sinclude(`/etc/mail/m4/dkconf.m4')dnl", True),
    ("fragment-twice", "include(`/etc/mail/m4/dkconf.m4')dnl", True),
    ("unmanaged", "INPUT_MAIL_FILTER(`a', `S=local:/x')dnl", False),
    ("damaged-block", "dnl dkconf end", True),
]


@pytest.mark.parametrize("code,line,blocking", CASES)
def test_each_problem_has_its_line(code: str, line: str, blocking: bool) -> None:
    """A planted fault is found on its very line."""
    found = problems(HEAD + line + "\n" + TAIL, fragment_path="/etc/mail/m4/dkconf.m4")

    assert [(code, 2, blocking)] == [(p.code, p.line, p.blocking) for p in found if p.code == code]
    assert str(found[0]).startswith("sendmail.mc:2: ")


@pytest.mark.parametrize("_,line,__", [case for case in CASES if case[0] != "damaged-block"])
def test_dnl_hides_each_of_them(_: str, line: str, __: bool) -> None:
    """Behind `dnl` nothing is a problem."""
    assert [] == problems(HEAD + "dnl " + line + "\n" + TAIL, fragment_path="/etc/mail/m4/dkconf.m4")


def test_duplicate_names_both_lines() -> None:
    """The second call names the line of the first."""
    call = "INPUT_MAIL_FILTER(`a', `S=local:/x')dnl\n"
    [found] = [p for p in problems(HEAD + call + call + TAIL) if p.code == "duplicate"]

    assert (3, True) == (found.line, found.blocking)
    assert "line 2" in found.what


def test_branches_of_an_ifdef_are_no_duplicates() -> None:
    """Two nested calls may exclude each other; the built .cf tells."""
    text = HEAD + "ifdef(`A', `INPUT_MAIL_FILTER(`a', `S=local:/x')', `INPUT_MAIL_FILTER(`a', `S=local:/y')')\n" + TAIL

    assert [] == [p for p in problems(text) if p.blocking]


def test_our_own_block_is_no_problem() -> None:
    """The managed block and nothing else: nothing is found."""
    text = mc.insert_block(HEAD + TAIL, "/etc/mail/m4/dkconf.m4")

    assert [] == problems(text, fragment_path="/etc/mail/m4/dkconf.m4")


@pytest.mark.parametrize(
    "options,expected",
    [("Name=a, InputMailFilters=x;y", "x;y"), ("name=a,i=", ""), ("Name=Input, Port=25", None), ("", None)],
)
def test_only_the_first_letter_of_an_equate_counts(options: str, expected: str | None) -> None:
    """sendmail reads I=, i= and InputMailFilters= alike."""
    assert expected == daemon_filter_list(options)
