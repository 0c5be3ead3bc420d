"""The tokenizer sees the calls that the real m4 expands: none that is live is missed, none that is dead is named."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dkconf.sendmail import mc

# Each expansion says its first argument on standard error. "changecom" stands for what cf.m4 does.
PRELUDE = "define(`INPUT_MAIL_FILTER', `errprint(<$1>)')dnl\n"
# A .mc that names cf.m4 includes it itself; before it, "#" is a comment.
HEAD = "dnl reads cf.m4 later\n"
pieces = st.sampled_from(
    [
        " ", "\n", "\n", "`", "'", "#", ",", "(", ")", "dnl", "dnl \n", "dnl(", "x", "_", "1", "word(", "`quoted'",
        "# hash\n", "changecom()", "INPUT_MAIL_FILTER(`a', `S=local:/a')", "INPUT_MAIL_FILTER(`b')dnl\n",
        "INPUT_MAIL_FILTER( c,d)",
        "xINPUT_MAIL_FILTER(`no')", "INPUT_MAIL_FILTER_(`no')", "INPUT_MAIL_FILTER(`e',\n  `it'`s', (1,2))",
    ]
)  # fmt: skip
texts = st.lists(pieces, max_size=14).map("".join)


def expanded(text: str) -> list[str] | None:
    """Return the names that m4 itself expands, in order; None where it cannot read the text."""
    done = subprocess.run(["m4", "-"], input=PRELUDE + text + "\n", capture_output=True, text=True, check=False)
    if done.returncode or "end of file" in done.stderr:
        return None
    return [name.strip() for name in re.findall(r"<([^>]*)>", done.stderr)]


@pytest.mark.skipif(shutil.which("m4") is None, reason="needs m4")
@settings(max_examples=150, deadline=None)
@given(texts)
def test_tokenizer_agrees_with_m4(text: str) -> None:
    """Every live call is found; every call that is found at top level is live."""
    live = expanded(HEAD + text)
    if live is None:
        return
    found = mc.find_filters(HEAD + text)
    names = [call.name for call in found]
    top = [call.name for call in found if not call.nested]

    rest = iter(names)
    assert all(name in rest for name in live), (live, names)
    rest = iter(live)
    assert all(name in rest for name in top), (top, live)
