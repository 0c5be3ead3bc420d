"""For any value: the real m4 with sendmail's real cf.m4 gives it back verbatim, or we refused it.

One m4 run reads a fragment of up to 24 filters (sendmail takes no more), so that an example costs little.
"""

from __future__ import annotations

import os
import shutil
import string
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dkconf.desired import NotRenderable
from dkconf.desired.fragment import MAX_FILTERS, equates, fragment
from dkconf.desired.quoting import M4_BUILTINS, m4_macro_name, m4_name
from dkconf.desired.state import MilterFilter
from dkconf.inventory.model import Milter, Timeouts

CF_M4 = Path("/usr/share/sendmail/cf/m4/cf.m4")

pytestmark = pytest.mark.skipif(
    os.environ.get("CI") != "true" and not (shutil.which("m4") and CF_M4.is_file()),
    reason="m4 and sendmail's cf.m4 (sendmail-cf) are not installed",
)

# Macros of cf.m4 and of OSTYPE files that stand outside the builtins.
CF_MACROS = [
    "FEATURE",
    "MAILER",
    "INPUT_MAIL_FILTER",
    "confMILTER_LOG_LEVEL",
    "VERSIONID",
    "_CF_DIR_",
    "DOL",
    "LOCAL_CONFIG",
]
WORDS = sorted(M4_BUILTINS) + CF_MACROS
PIECES = [
    "`",
    "'",
    "``",
    "''",
    "$",
    "$1",
    "$*",
    "$@",
    ",",
    "(",
    ")",
    "#",
    "\n",
    " ",
    "\t",
    "\\",
    '"',
    ";",
    "%",
    "{",
    "}",
]

values = st.lists(
    st.one_of(
        st.sampled_from(WORDS),
        st.sampled_from(PIECES),
        st.text(string.ascii_letters + string.digits + "/._-", max_size=6),
        st.text(max_size=3),
    ),
    min_size=1,
    max_size=8,
).map("".join)
likely = st.lists(
    st.one_of(
        st.sampled_from(WORDS), st.sampled_from(["(", ")", "#", "/", ".", "-", "{", "}", ";", '"', "\\", "=", "%"])
    ),
    min_size=1,
    max_size=8,
).map("".join)
"""Mostly accepted: macro words between characters that are allowed."""

slow = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def milter(name: str, socket: str, enabled: bool = True) -> MilterFilter:
    """A filter with that name and socket."""
    return MilterFilter(name, socket, "tempfail", Timeouts(), enabled, "external", (), (), (), "")


def built_cf(directory: Path, octets: bytes) -> list[str]:
    """The lines of the .cf that m4 makes with the fragment `octets`; m4 must be content."""
    (directory / "fragment.m4").write_bytes(octets)
    (directory / "host.mc").write_text(
        f"include(`{CF_M4}')dnl\nVERSIONID(`test')dnl\nOSTYPE(`linux')dnl\n"
        f"include(`{directory}/fragment.m4')dnl\nMAILER(`local')dnl\nMAILER(`smtp')dnl\n"
    )
    done = subprocess.run(["m4", "host.mc"], cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.splitlines()


@slow
@given(sockets=st.lists(st.one_of(values, likely), min_size=1, max_size=3 * MAX_FILTERS))
def test_a_socket_comes_out_verbatim_or_is_refused(
    sockets: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever stands in S=: one X line per filter, with exactly these equates."""
    accepted: list[MilterFilter] = []
    for socket in sockets:
        candidate = milter(f"f{len(accepted)}", f"local:/{socket}", len(accepted) % 2 == 0)
        try:
            fragment([candidate], Milter())
        except NotRenderable:
            continue
        accepted.append(candidate)
    accepted = accepted[:MAX_FILTERS]

    lines = built_cf(tmp_path_factory.mktemp("m4"), fragment(accepted, Milter()))

    assert [line for line in lines if line.startswith("X")] == [
        f"X{f.name}, {equates(f.socket, f.on_failure, f.timeouts)}" for f in accepted
    ]
    called = ", ".join(f.name for f in accepted if f.enabled)
    assert (f"O InputMailFilters={called}" in lines) is bool(called)


@slow
@given(names=st.lists(st.one_of(values, likely, st.text("abz019-_", min_size=1)), max_size=40))
def test_a_name_comes_out_verbatim_or_is_refused(names: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    """In the X line and in the list."""
    accepted = []
    for name in dict.fromkeys(names):
        try:
            m4_name(name)
        except NotRenderable:
            continue
        accepted.append(milter(name, "inet:1@127.0.0.1"))
    accepted = accepted[:MAX_FILTERS]

    lines = built_cf(tmp_path_factory.mktemp("m4"), fragment(accepted, Milter()))

    assert [line.partition(",")[0] for line in lines if line.startswith("X")] == [f"X{f.name}" for f in accepted]
    if accepted:
        assert f"O InputMailFilters={', '.join(f.name for f in accepted)}" in lines


@slow
@given(
    names=st.lists(st.one_of(values, likely.map("{{{}}}".format), st.text("abz019_", min_size=1).map("{{{}}}".format)))
)
def test_a_macro_name_is_added_to_sendmails_own_list_or_refused(
    names: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Behind what sendmail sends by itself, and as the whole list where it sends nothing."""
    accepted = []
    for name in dict.fromkeys(names):
        try:
            accepted.append(m4_macro_name(name))
        except NotRenderable:
            continue
    accepted = [a for a in accepted if a not in ("j", "_")]
    wanted = ", ".join(accepted)
    made = fragment([milter("f", "inet:1@127.0.0.1")], Milter(macros={"connect": wanted, "data": wanted}))

    lines = built_cf(tmp_path_factory.mktemp("m4"), made)

    more = f", {wanted}" if wanted else ""
    assert f"O Milter.macros.connect=j, _, {{daemon_name}}, {{if_name}}, {{if_addr}}{more}" in lines
    assert (f"O Milter.macros.data={wanted}" in lines) is bool(wanted)


def test_every_builtin_word_is_harmless_in_a_path(tmp_path: Path) -> None:
    """One by one, with an argument behind it: `dnl`, `divert(-1)`, `m4exit(0)`, `syscmd(...)`."""
    for at in range(0, len(WORDS), MAX_FILTERS):
        filters = [milter(f"f{n}", f"local:/{w}(1)/{w}/x") for n, w in enumerate(WORDS[at : at + MAX_FILTERS])]
        lines = built_cf(tmp_path, fragment(filters, Milter()))

        assert [line for line in lines if line.startswith("X")] == [
            f"X{f.name}, {equates(f.socket, f.on_failure, f.timeouts)}" for f in filters
        ]
