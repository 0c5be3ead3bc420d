"""What holds for any inventory file: an answer with a place, or values that stay inside their quotes."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dkconf.inventory import InventoryInvalid, load_octets, model
from dkconf.inventory.edit import CannotEdit, disable_filter, enable_filter
from dkconf.inventory.fields import KEYS, KINDS
from dkconf.inventory.kinds import Wrong
from tests.patience import LAST_RESORT_SECONDS

CF_M4 = Path("/usr/share/sendmail/cf/m4/cf.m4")
EXAMPLE = (Path(__file__).parents[2] / "inventory.example.yaml").read_text()
HOSTILE = st.text(alphabet=st.sampled_from("`'$,;\n\t #()[]{}\"\\|&<>dnlXa9-_.:/@%=é\u202e\x1b"), max_size=24)
WORDS = st.sampled_from(
    [
        "dnl",
        "define",
        "include",
        "syscmd",
        "esyscmd",
        "divert",
        "shift",
        "MAILER",
        "FEATURE",
        "ifdef",
        "index",
        "a",
        "f1",
    ]
)


STARTS = st.sampled_from(["::1%", "[::1%", "inet6:25@::1%", "inet:25@", "/", "local:/"])
ADDRESSES = st.tuples(STARTS, HOSTILE).map("".join)


@given(st.text(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_text_is_answered(text):
    """Nothing but an inventory or `InventoryInvalid` comes out, and each finding's place is in the file."""
    try:
        findings = load_octets(text.encode("utf-8", "surrogatepass"), "i.yaml").findings
    except InventoryInvalid as invalid:
        findings = invalid.findings
        assert any(f.severity == "error" for f in findings)
    lines = text.split("\n")
    for finding in findings:
        assert 0 <= finding.line <= len(lines)
        assert str(finding).isprintable()


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_damaged_example_is_answered(data):
    """A line taken out, doubled, moved or overwritten anywhere in a real inventory."""
    lines = EXAMPLE.split("\n")
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(lines) - 1))
        how = data.draw(st.sampled_from(["out", "twice", "indent", "text"]))
        if how == "out":
            del lines[at]
        elif how == "twice":
            lines.insert(at, lines[at])
        elif how == "indent":
            lines[at] = "  " + lines[at]
        else:
            lines[at] += data.draw(HOSTILE)
        lines = lines or [""]
    try:
        findings = load_octets("\n".join(lines).encode(), "i.yaml").findings
    except InventoryInvalid as invalid:
        findings = invalid.findings
    count = "\n".join(lines).count("\n") + 1
    assert all(str(f).isprintable() and f.line <= count for f in findings)


KINDS_OF_TEXT = [(f"{cls.__name__}.{name}", kind) for (cls, name), kind in {**KINDS, **KEYS}.items()]


@pytest.mark.parametrize("kind", [k for _, k in KINDS_OF_TEXT], ids=[n for n, _ in KINDS_OF_TEXT])
@given(HOSTILE | WORDS | ADDRESSES)
@settings(max_examples=60, deadline=None)
def test_no_kind_takes_what_ends_a_line_or_a_quote(kind, text):
    """Whatever a kind takes has no control characters; only arguments of a command may hold quotes."""
    try:
        shown = str(kind.parse(text))
    except Wrong as wrong:
        shown, refused = wrong.found, True
    else:
        refused = False
    if refused:
        assert shown.isprintable()
        return
    assert shown.isprintable() or not shown
    if "one argument" not in kind.right:
        assert not set("`'$\"\\\n|&<>") & set(shown)


@pytest.mark.skipif(not (CF_M4.exists() and shutil.which("m4")), reason="m4 and sendmail-cf are not installed")
@given(
    name=st.from_regex(r"\A[A-Za-z0-9_-]{1,12}\Z") | WORDS | HOSTILE,
    path=st.lists(st.from_regex(r"\A[A-Za-z0-9._+@:~-]{1,8}\Z") | WORDS | HOSTILE, min_size=1, max_size=4),
)
@example(name="dnl", path=["run", "x"])
@example(name="f", path=["run", "dnl", "x"])
@example(name="f", path=["run", "unix", "MAILER", "x"])
@example(name="conf", path=["_", "__line__", "x"])
@example(name="__file__", path=["x"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_name_and_a_socket_that_pass_reach_the_x_line_as_they_are(name, path):
    """The real m4, with the real cf.m4, writes exactly the name and S= of the inventory, or they were refused."""
    socket = "local:/" + "/".join(path)
    try:
        KEYS[model.Inventory, "filters"].parse(name)
        KINDS[model.Filter, "socket"].parse(socket)
    except Wrong:
        return
    source = (
        f"include(`{CF_M4}')dnl\nOSTYPE(`linux')dnl\n"
        f"INPUT_MAIL_FILTER(`{name}', `S={socket}, F=T, T=C:1m;S:30s;R:30s;E:5m')dnl\nMAILER(`smtp')dnl\n"
    )
    m4 = shutil.which("m4")
    assert m4 is not None
    done = subprocess.run([m4], input=source.encode(), capture_output=True, check=False, timeout=LAST_RESORT_SECONDS)
    lines = done.stdout.decode().split("\n")

    assert (0, b"") == (done.returncode, done.stderr)
    assert f"X{name}, S={socket}, F=T, T=C:1m;S:30s;R:30s;E:5m" in lines
    assert f"O InputMailFilters={name}" in lines


@pytest.mark.skipif(not (CF_M4.exists() and shutil.which("m4")), reason="m4 and sendmail-cf are not installed")
def test_no_macro_of_sendmail_can_name_a_filter():
    """Every macro that the real cf.m4 knows where filters are defined is refused as a filter's name."""
    source = f"include(`{CF_M4}')dnl\nOSTYPE(`linux')dnl\nMAILER(`local')MAILER(`smtp')dumpdef\n"
    m4 = shutil.which("m4")
    assert m4 is not None
    done = subprocess.run([m4], input=source.encode(), capture_output=True, check=False, timeout=LAST_RESORT_SECONDS)
    names = set(re.findall(r"^([A-Za-z0-9_-]+):\t", done.stderr.decode(), re.MULTILINE))
    taken = set()
    for name in names:
        try:
            KEYS[model.Inventory, "filters"].parse(name)
        except Wrong:
            continue
        taken.add(name)

    assert len(names) > 150
    assert set() == taken


HOST_LINES = st.lists(
    st.sampled_from(
        [
            "    service: relay # both",
            "    # a comment of its own",
            "    domains: []",
            "    milter: {log_level: 9}",
            "",
            "    paths:\n      key_dir: /etc/keys # here",
        ]
    ),
    unique=True,
    max_size=5,
)
FILTERS = st.sampled_from(
    ["    filters: [a, b, c]", "    filters:\n      - a # first\n      - b\n      - c", "    filters: [ a,b , c ] # x"]
)
DISABLED = st.sampled_from(
    [
        "",
        "    disabled_filters: []",
        "    disabled_filters: [c] # why",
        "    disabled_filters:\n      - c # why",
        "    disabled_filters:",
    ]
)


@given(HOST_LINES, FILTERS, DISABLED, st.booleans(), st.sampled_from(["a", "b"]), st.sampled_from(["\n", "\r\n"]))
@settings(max_examples=200, deadline=None)
def test_switching_a_filter_off_and_on_leaves_the_rest_alone(lines, filters, disabled, early, name, line_end):
    """Off: nothing else differs. On again: the same inventory, and every comment is still there."""
    body = (
        ([disabled] if disabled and early else []) + [filters] + lines + ([disabled] if disabled and not early else [])
    )
    text = line_end.join(
        "version: 1\nfilters:\n"
        + "".join(f'  {n}: {{socket: "inet:889{i}@127.0.0.1"}}\n' for i, n in enumerate("abc"))
        + "hosts:\n  mx1:\n" + "\n".join(body) + "\n  mx2:\n    filters: [a]\n"
        for _ in range(1)
    ).replace("\n", line_end)  # fmt: skip
    before = load_octets(text.encode(), "x").inventory
    off = disable_filter(text, "mx1", name)
    on = enable_filter(off, "mx1", name)
    after = load_octets(on.encode(), "x").inventory

    assert name in load_octets(off.encode(), "x").inventory.hosts["mx1"].disabled_filters
    assert (before.hosts, before.filters, before.domains) == (after.hosts, after.filters, after.domains)
    assert text.count("#") == on.count("#")
    assert set(text.split(line_end)) - set(off.split(line_end)) <= {
        line for line in text.split(line_end) if "disabled_filters" in line
    }
    with pytest.raises(CannotEdit):
        disable_filter(text, "mx2", "c")
