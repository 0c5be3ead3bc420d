"""`plan --markdown` and `render --check`: what differs between two renderings, and nothing that could mean more."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dkconf.errors import DkconfError
from dkconf.repo.markdown import MAX_CHARACTERS, compare, escaped
from dkconf.repo.rendered import differences, read


def tree(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    folder.mkdir(exist_ok=True)
    return folder


def test_the_same_renderings_differ_in_nothing(tmp_path):
    """No table, no fold: one sentence."""
    files = {"mx1/etc/mail/m4/dkconf.m4": b"a\n"}
    old, new = tree(tmp_path / "old", files), tree(tmp_path / "new", files)

    assert "### dkconf plan\n\nNothing changes on any host.\n" == compare(old, new)
    assert [] == differences(files, new)


def test_each_file_has_a_row_and_a_fold(tmp_path):
    """New, gone and changed, per host."""
    old = tree(tmp_path / "old", {"mx1/etc/a": b"1\n2\n", "mx2/etc/gone": b"x\n"})
    new = tree(tmp_path / "new", {"mx1/etc/a": b"1\n3\n", "mx1/etc/new": b"y\n"})
    text = compare(old, new)

    assert (
        "| mx1 | &#47;etc&#47;a | changed |\n| mx1 | &#47;etc&#47;new | new |\n| mx2 | &#47;etc&#47;gone | gone |"
        in text
    )
    assert 3 == text.count("<details>") == text.count("</details>")
    assert "\n-2\n+3\n" in text


def test_a_base_without_a_rendering_is_empty(tmp_path):
    """The first merge request has nothing to compare with: all is new."""
    assert "| new |" in compare(tmp_path / "no", tree(tmp_path / "new", {"mx1/etc/a": b"1\n"}))


def test_a_rendering_that_is_not_there_is_an_error(tmp_path):
    """A mistyped folder is not a plan in which nothing changes."""
    with pytest.raises(DkconfError, match="is not a folder"):
        compare(tree(tmp_path / "old", {}), tmp_path / "nwe")


def test_it_stays_below_githubs_limit(tmp_path):
    """However much changes, it is under 65,000 characters, whole, and says how much was left out."""
    files = {f"mx{i}/etc/file{j}": b"".join(b"line %d\n" % n for n in range(200)) for i in range(100) for j in range(3)}
    text = compare(tree(tmp_path / "old", {}), tree(tmp_path / "new", files))

    assert 40_000 < len(text) < MAX_CHARACTERS
    assert text.count("<details>") == text.count("</details>")
    assert re.search(r"\d+ more files differ", text)


def test_one_huge_file_is_cut_inside_its_fence(tmp_path):
    """A fence that was opened is closed."""
    text = compare(
        tree(tmp_path / "old", {}),
        tree(tmp_path / "new", {"mx1/a": b"x" * 1_000_000 + b"\n", "mx1/b": b"y\n" * 99_999}),
    )

    assert len(text) < MAX_CHARACTERS
    assert 0 == len(re.findall("^```", text, re.MULTILINE)) % 2
    assert "cut here" in text


def test_a_private_key_is_not_shown(tmp_path):
    """Even if somebody put one into a rendering."""
    key = b"-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq\n-----END PRIVATE KEY-----\n"
    text = compare(tree(tmp_path / "old", {}), tree(tmp_path / "new", {"mx1/a": b"x\n" + key + b"y\n"}))

    assert "MIIEvQIBADANBgkq" not in text
    assert "+y" in text


def test_links_are_not_followed(tmp_path):
    """A rendering that links out of itself differs, and shows nothing of what it links to."""
    (tmp_path / "secret").write_text("s3cret\n")
    new = tree(tmp_path / "new", {"mx1/a": b"x\n"})
    (new / "mx1/b").symlink_to(tmp_path / "secret")
    (new / "mx2").symlink_to(tmp_path)

    assert "s3cret" not in compare(tree(tmp_path / "old", {}), new)
    assert "mx1/b" in read(new)


@given(st.text(min_size=1, max_size=60))
@settings(deadline=None)
def test_no_name_means_anything_in_markdown(name):
    """Only letters, digits, blank, dot and minus stand for themselves."""
    assert re.fullmatch(r"([A-Za-z0-9 .-]|&#\d+;|�)*", escaped(name))


HOSTILE = st.text(alphabet=st.sampled_from("`~<>/!@#*_[](){}|-+ \\\t$&'\"adeilst\r\n\u202e\x1b"), max_size=80)


@given(HOSTILE, HOSTILE, st.integers(0, 12))
@settings(max_examples=100, deadline=None)
def test_no_content_closes_its_fence(tmp_path_factory, before, after, ticks):
    """Backticks, closing tags, mentions and quick actions of a file stay inside the code block."""
    folder = tmp_path_factory.mktemp("r")
    after = f"{after}\n{'`' * ticks}\n</details>\n/close\n@all\n"
    text = compare(tree(folder / "old", {"mx1/a": before.encode()}), tree(folder / "new", {"mx1/a": after.encode()}))
    lines = text.split("\n")
    opening = next(i for i, line in enumerate(lines) if re.fullmatch("`{3,}diff", line))
    fence = lines[opening].removesuffix("diff")
    closing = next(i for i, line in enumerate(lines) if i > opening and re.fullmatch(f"`{{{len(fence)},}} *", line))

    assert ["", "</details>", ""] == lines[closing + 1 :]
    assert all(line[:1] in ("+", "-", "@", " ", "\\") for line in lines[opening + 1 : closing])
    assert text.replace("\n", "").isprintable() or "\t" in text


@pytest.mark.parametrize(
    "there, shown",
    [(b"a\nb\n", ["-b", "+c"]), (b"a\nc", ["\\ no line end"]), (None, ["+a", "+c"]), (b"\xff\xfe", ["is not text"])],
)
def test_a_rendering_that_differs_is_shown(tmp_path, there, shown):
    """Byte for byte, the last line end too."""
    folder = tree(tmp_path / "r", {} if there is None else {"mx1/a": there})
    lines = [text for _, text in differences({"mx1/a": b"a\nc\n"}, folder)]

    assert lines
    assert all(any(part in line for line in lines) for part in shown)


def test_a_file_that_the_inventory_does_not_give_is_a_difference(tmp_path):
    """What a rendering holds beyond it was put there by hand."""
    assert differences({}, tree(tmp_path / "r", {"mx1/extra": b"x\n"}))
