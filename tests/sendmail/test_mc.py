"""What dkconf writes into a sendmail.mc, and that all of it can be taken back."""

from __future__ import annotations

from pathlib import Path

import pytest

from dkconf.sendmail import mc
from dkconf.sendmail.problems import problems

FRAGMENT = "/etc/mail/m4/dkconf.m4"
STOCK = (
    "divert(-1)dnl\n# don't touch: `MAILER(x)\ndivert(0)dnl\n"
    "include(`/usr/share/sendmail/cf/m4/cf.m4')dnl\nOSTYPE(`debian')dnl\n"
    "INPUT_MAIL_FILTER(`dk-filter', `S=inet:8891@127.0.0.1, F=T, T=C:1m;S:30s;R:30s;E:5m')dnl\n"
    "dnl # Default Mailer setup\nMAILER_DEFINITIONS\nMAILER(`local')dnl\nMAILER(`smtp')dnl\n"
)


@pytest.mark.parametrize("text", [STOCK, STOCK.replace("\n", "\r\n"), STOCK.rstrip("\n"), STOCK + "\xe9\x00\xff"])
def test_block_goes_before_the_mailers_and_away_again(text: str) -> None:
    """Insert and remove are exact inverses, for any line end, last line and encoding."""
    with_block = mc.insert_block(text, FRAGMENT)

    assert with_block.index("dnl dkconf end") < with_block.index("MAILER_DEFINITIONS")
    assert text == mc.remove_block(with_block)
    assert mc.decode(mc.encode(text)) == text


def test_block_is_three_marked_lines() -> None:
    """Markers are dnl lines, and the fragment is included, never sincluded."""
    [start, end] = [mc.insert_block(STOCK, FRAGMENT).index(m) for m in ("dnl dkconf begin", "MAILER_DEFINITIONS")]

    assert mc.insert_block(STOCK, FRAGMENT)[start:end].splitlines() == [
        "dnl dkconf begin (managed; see /var/lib/dkconf)",
        "include(`/etc/mail/m4/dkconf.m4')dnl",
        "dnl dkconf end",
    ]


def test_crlf_file_gets_crlf_lines() -> None:
    """The block has the line ends of its surroundings."""
    text = mc.insert_block(STOCK.replace("\n", "\r\n"), FRAGMENT)

    assert text.count("\n") == text.count("\r\n")


def test_insert_again_changes_nothing() -> None:
    """A block that is there already stays; another path replaces it."""
    once = mc.insert_block(STOCK, FRAGMENT)

    assert once == mc.insert_block(once, FRAGMENT)
    moved = mc.insert_block(once, "/etc/mail/other.m4")
    assert moved == mc.insert_block(STOCK, "/etc/mail/other.m4")


def test_changed_block_is_refused_with_its_line() -> None:
    """A block that somebody edited is not ours to overwrite silently."""
    edited = mc.insert_block(STOCK, FRAGMENT).replace("include(`/etc/mail/m4", "sinclude(`/etc/mail/m4")

    with pytest.raises(mc.McError, match=r"sendmail\.mc:8: the block .* was changed by hand"):
        mc.remove_block(edited)


@pytest.mark.parametrize(
    "edit",
    [
        lambda t: t.replace("dnl dkconf end\n", ""),
        lambda t: t.replace("dnl dkconf begin (managed; see /var/lib/dkconf)\n", ""),
        lambda t: t + t[t.index("dnl dkconf begin") : t.index("MAILER_DEFINITIONS")],
    ],
)
def test_half_or_double_block_is_refused(edit) -> None:  # type: ignore[no-untyped-def]
    """One marker without the other, or two blocks."""
    with pytest.raises(mc.McError):
        mc.block(edit(mc.insert_block(STOCK, FRAGMENT)))


def test_quoted_markers_are_no_markers() -> None:
    """Text that looks like the block but stands in quotes is the administrator's own."""
    quoted = STOCK + "define(`x', `\ndnl dkconf begin\ninclude(`y')dnl\ndnl dkconf end\n')\n"

    assert mc.block(quoted) is None
    assert quoted == mc.remove_block(mc.insert_block(quoted, FRAGMENT))


def test_no_place_is_said() -> None:
    """Without a MAILER at top level there is no place; the message says what is looked for."""
    with pytest.raises(mc.McError, match="MAILER_DEFINITIONS"):
        mc.insert_block("dnl MAILER(`local')\n", FRAGMENT)


def test_mailer_behind_something_on_its_line_is_refused() -> None:
    """A call that reaches into the MAILER's line leaves no line start to write at."""
    with pytest.raises(mc.McError, match="line of its own"):
        mc.insert_block("define(`a',\n`b') MAILER(`local')\n", FRAGMENT)


@pytest.mark.parametrize("path", ["m4/dkconf.m4", "/etc/it's", "/etc/`x", "/etc/a\nb", "/etc/\xe9"])
def test_fragment_path_cannot_break_out(path: str) -> None:
    """A path that m4 would not take as it is, is refused."""
    with pytest.raises(mc.McError):
        mc.insert_block(STOCK, path)


def test_take_over_keeps_the_line_and_returns_the_equates() -> None:
    """The hand-written call stays behind a mark; restore gives the same octets."""
    text, equates = mc.take_over(STOCK, "dk-filter")

    assert "S=inet:8891@127.0.0.1, F=T, T=C:1m;S:30s;R:30s;E:5m" == equates
    assert "\ndnl dkconf was: INPUT_MAIL_FILTER(`dk-filter'" in text
    assert ["dk-filter"] == mc.taken_over(text)
    assert [] == mc.find_filters(text)
    assert STOCK == mc.restore(text, "dk-filter")


def test_take_over_of_a_call_over_two_lines_is_refused() -> None:
    """A mark hides one line; a call over two would lose its second half."""
    two = STOCK.replace("`S=inet", "\n  `S=inet")

    with pytest.raises(mc.McError, match=r"sendmail\.mc:6: .* does not stand alone on one line"):
        mc.take_over(two, "dk-filter")


def test_take_over_of_an_unknown_filter_names_the_others() -> None:
    """The message helps with a misspelt name."""
    with pytest.raises(mc.McError, match="found: dk-filter"):
        mc.take_over(STOCK, "dkfilter")


@pytest.mark.parametrize("text", [STOCK, STOCK.replace("\n", "\r\n"), STOCK.replace("`S=inet", "\n  `S=inet")])
def test_disable_in_place_is_reversible(text: str) -> None:
    """In an emergency INPUT_MAIL_FILTER becomes MAIL_FILTER where it stands, whatever its layout."""
    disabled = mc.disable_line(text, "dk-filter")

    assert [(False, "dk-filter")] == [(c.called, c.name) for c in mc.find_filters(disabled)]
    assert ["dk-filter"] == mc.disabled_lines(disabled)
    assert text == mc.enable_line(disabled, "dk-filter")


def test_disable_of_a_defined_filter_is_refused() -> None:
    """MAIL_FILTER is not called already."""
    with pytest.raises(mc.McError, match="not called already"):
        mc.disable_line(STOCK.replace("INPUT_MAIL", "MAIL"), "dk-filter")


def test_enable_without_a_mark_is_refused() -> None:
    """Only what dkconf disabled is enabled."""
    with pytest.raises(mc.McError, match="has not disabled"):
        mc.enable_line(STOCK, "dk-filter")


def test_filter_twice_is_refused_with_both_lines() -> None:
    """Which of the two is meant cannot be known."""
    twice = STOCK.replace("MAILER_DEF", "MAIL_FILTER(`dk-filter', `S=local:/x')\nMAILER_DEF")

    with pytest.raises(mc.McError, match="lines 6, 8"):
        mc.take_over(twice, "dk-filter")


def test_debians_own_file(tmp_path: Path) -> None:
    """The file that Debian 12 installs takes the block and gives it back."""
    path = Path("/usr/share/sendmail/cf/debian/sendmail.mc")
    path = path if path.exists() else Path("/etc/mail/sendmail.mc")
    if not path.exists():
        pytest.skip("sendmail's configuration is not installed here")
    text = mc.remove_block(mc.decode(path.read_bytes()))

    assert text == mc.remove_block(mc.insert_block(text, FRAGMENT))
    assert [] == mc.find_filters(text)


def test_without_an_include_of_cf_m4_hash_is_no_comment() -> None:
    """FreeBSD reads cf.m4 on the command line, before the .mc."""
    text = "# INPUT_MAIL_FILTER(`a', `S=local:/x')\nMAILER(`local')\n"

    assert [True] == [call.after_hash for call in mc.find_filters(text)]
    assert [] == mc.find_filters("include(`cf.m4')dnl\n".join(["#\n", ""]) + "dnl\n")
    assert text == mc.remove_block(mc.insert_block(text, FRAGMENT))


def test_every_mc_that_sendmail_ships() -> None:
    """Each sample .mc of the cf library takes the block and gives it back, and has no filter and no problem."""
    samples = sorted(Path("/usr/share/sendmail/cf/cf").glob("*.mc"))
    if not samples:
        pytest.skip("sendmail's cf library is not installed here")
    for path in samples:
        text = mc.decode(path.read_bytes())
        if "MAILER(" in text:
            assert text == mc.remove_block(mc.insert_block(text, FRAGMENT)), path
        assert [] == [p for p in problems(text) if p.blocking], path
