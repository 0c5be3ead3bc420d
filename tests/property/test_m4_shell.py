"""For any value: the real shell reads the option files and scripts that hold it as one word, or we refused it."""

from __future__ import annotations

import shlex
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dkconf.desired import NotRenderable, build
from dkconf.desired.quoting import plain_word, shell_quoted
from dkconf.inventory.model import Domain, Filter, Host, Inventory, Selector

nasty = st.text(st.sampled_from("ab/.-_`'\"$\\ \n\t;&|<>(){}*?[]!#~%=:,@äé\0"), max_size=20)


def words_of(script: str) -> list[str]:
    """The arguments that `set --` got in `script`, as the shell sees them."""
    done = subprocess.run(
        ["sh", "-c", f'{script}\nfor word in "$@"; do printf "%s\\0" "$word"; done'],
        capture_output=True,
        check=True,
        cwd="/",
        env={"LC_ALL": "C"},
    )
    return [w.decode("utf-8", "surrogateescape") for w in done.stdout.split(b"\0")[:-1]]


@settings(max_examples=60, deadline=None)
@given(st.lists(nasty, min_size=1, max_size=10))
def test_a_quoted_value_is_one_word(values: list[str]) -> None:
    """Verbatim, with nothing run or expanded."""
    accepted = []
    for value in values:
        try:
            accepted.append((value, shell_quoted(value)))
        except NotRenderable:
            continue

    assert words_of("set -- " + " ".join(q for _, q in accepted)) == [v for v, _ in accepted]


@settings(max_examples=60, deadline=None)
@given(st.lists(nasty, min_size=1, max_size=10))
def test_a_plain_word_survives_a_second_reading(values: list[str]) -> None:
    """Unquoted and evaluated, as init scripts and rc.subr do."""
    accepted = []
    for value in values:
        try:
            accepted.append(plain_word(value, "x", "y"))
        except NotRenderable:
            continue
    line = shell_quoted(" ".join(accepted))

    assert words_of(f'OPTS={line}\neval "set -- $OPTS"') == accepted
    assert words_of(f"OPTS={line}\nset -- $OPTS") == accepted


@settings(max_examples=60, deadline=None)
@given(value=nasty, daemon=nasty)
def test_debians_option_file_gives_the_argv_that_direct_would(value: str, daemon: str) -> None:
    """Whatever the macros and daemons: the same words reach dk-filter, or nothing is written."""
    spec = Filter("inet:8892@127.0.0.1", program="dk-filter", macros={"x": value}, daemons=(daemon,))
    domains = {"example.com": Domain({"s1": Selector()}, sign=("domainkeys",))}
    host = Host(filters=("dk",), domains=("example.com",))
    try:
        state = build(Inventory(domains, {"dk": spec}, {"h": host}), "h", {})
    except NotRenderable:
        return
    (file,) = [f for f in state.files if f.role == "dk-filter-options"]
    argv = state.services[0].argv

    assert words_of(f"{file.content.decode()}\nset -- $DAEMON_OPTS -p $SOCKET") == list(argv[1:-4])
    assert shlex.split(file.content.decode(), comments=True)


@pytest.mark.parametrize("value", ["a\0b", "a\nb", "a\rb"])
def test_lines_stay_lines(value: str) -> None:
    """NUL and line ends are refused by both."""
    with pytest.raises(NotRenderable):
        shell_quoted(value)
    with pytest.raises(NotRenderable):
        plain_word(value, "x", "y")
