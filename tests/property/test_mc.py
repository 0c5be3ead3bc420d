"""What dkconf does to a sendmail.mc can be taken back to the last octet, whatever the file holds."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from dkconf.sendmail import m4, mc, problems

FRAGMENT = "/etc/mail/m4/dkconf.m4"

octets = st.text(st.characters(max_codepoint=255), max_size=40)
words = st.sampled_from(["a", "dnl", "S=local:/x", "it", "MAILER", "ifdef", "define", "DkConf", "x_1", "é"])
pieces = st.recursive(
    st.one_of(words, st.sampled_from([" ", "\n", "\r\n", "\t", "#", ",", "$1", "dnl \n", "# x\n"]), octets),
    lambda inner: st.one_of(
        inner.map(lambda t: f"`{t}'"),
        st.tuples(words, st.lists(inner, max_size=3)).map(lambda p: f"{p[0]}({','.join(p[1])})"),
        st.lists(inner, max_size=4).map("".join),
    ),
    max_leaves=12,
)
filters = st.sampled_from(["dk-filter", "a", "spare_1"]).map(
    lambda n: f"INPUT_MAIL_FILTER(`{n}', `S=local:/{n}, F=T')dnl"
)
lines = st.lists(
    st.one_of(
        pieces,
        filters,
        st.sampled_from([
            "include(`/usr/share/sendmail/cf/m4/cf.m4')dnl", "MAILER_DEFINITIONS", "MAILER(`local')dnl",
            "dnl dkconf begin", "dnl dkconf end", "dnl dkconf was: x", "dnl dkconf disabled: a",
            "define(`confINPUT_MAIL_FILTERS', `a')",
        ]),
    ),
    max_size=12,
)  # fmt: skip
texts = st.tuples(lines, st.sampled_from(["\n", "\r\n"]), st.booleans()).map(
    lambda t: t[1].join(t[0]) + (t[1] if t[2] else "")
)


@given(texts | octets)
def test_tokens_cover_the_text(text: str) -> None:
    """No octet is lost or seen twice."""
    at = 0
    for token in m4.tokens(text):
        assert token.start == at < token.end
        at = token.end
    assert at == len(text)


@given(texts)
def test_insert_then_remove_is_the_same(text: str) -> None:
    """The block goes in and out without a trace, and going in twice is going in once."""
    try:
        assume(mc.block(text) is None)
        inserted = mc.insert_block(text, FRAGMENT)
    except mc.McError:
        return
    assert text == mc.remove_block(inserted)
    assert inserted == mc.insert_block(inserted, FRAGMENT)


@given(texts)
def test_take_over_then_restore_is_the_same(text: str) -> None:
    """A hand-written call is hidden and comes back; meanwhile it is no call."""
    for call in mc.find_filters(text):
        try:
            hidden, equates = mc.take_over(text, call.name)
        except mc.McError:
            continue
        assert equates == call.equates
        assert call.name not in [c.name for c in mc.find_filters(hidden)]
        if call.name not in mc.taken_over(text):
            assert text == mc.restore(hidden, call.name)


@given(texts)
def test_disable_then_enable_is_the_same(text: str) -> None:
    """INPUT_MAIL_FILTER becomes MAIL_FILTER and comes back."""
    for call in mc.find_filters(text):
        try:
            disabled = mc.disable_line(text, call.name)
        except mc.McError:
            continue
        if call.name not in mc.disabled_lines(text):
            assert text == mc.enable_line(disabled, call.name)


@given(texts | octets)
def test_problems_never_raise(text: str) -> None:
    """Whatever a .mc holds, it is read to the end; every problem has a line of the file."""
    for problem in problems.problems(text, fragment_path=FRAGMENT):
        assert 1 <= problem.line <= text.count("\n") + 1


@given(octets)
def test_octets_survive(text: str) -> None:
    """decode and encode are inverses for any octets."""
    assert text == mc.decode(mc.encode(text))
