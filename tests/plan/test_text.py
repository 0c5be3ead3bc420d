"""A plan as a person reads it, and as it is saved: no key, no terminal tricks, no contents in the file."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from dkconf.desired.state import DesiredState, MilterFilter
from dkconf.errors import DkconfError
from dkconf.plan.actual import ActualState
from dkconf.plan.codec import from_json, to_json
from dkconf.plan.diff import diff
from dkconf.plan.model import saved_digest
from dkconf.plan.redact import has_private_key, redact
from dkconf.plan.text import printable, render
from tests.plan.conftest import FINGERPRINT, PATHS, SETTINGS, applied, before_dkconf, state

Edit = Callable[[ActualState, str, bytes], ActualState]
PEM = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----"


def shown(desired: DesiredState, actual: ActualState, last: object = None) -> str:
    return "\n".join(line for _, line in render(diff(desired, actual, last)))  # type: ignore[arg-type]


def test_what_a_person_reads(signer: MilterFilter) -> None:
    """Filters in words, records and fingerprints one line each; a diff of a file, or what a new one says."""
    desired = state(signer)

    words = shown(desired, before_dkconf(desired))

    assert "filter signer: absent -> called by sendmail" in words
    assert f"+ key s1._domainkey.example.com rsa sha256 {FINGERPRINT}" in words
    assert "+ record s1._domainkey.example.com TXT 3600 v=DKIM1; p=AAAA" in words
    assert f"--- a{PATHS.sendmail_mc}\n+++ b{PATHS.sendmail_mc}\n@@" in words
    assert f"--- a{PATHS.fragment}" not in words
    assert "+include(`/etc/mail/m4/dkconf.m4')dnl" in words
    assert f"{PATHS.sendmail_cf}: rebuilt from sendmail.mc" in words
    assert "start filter signer: it does not run yet" in words


def test_a_new_file_is_shown_without_its_comments(signer: MilterFilter) -> None:
    """A first apply has hundreds of lines, most of them explanations; it is said how many are left out."""
    desired = state(signer)
    content = b"#!/bin/sh\n# why\n\nkey = 1  # kept\n   # indented\n[table]\n"
    files = tuple(replace(f, content=content) if f.path == SETTINGS else f for f in desired.files)
    desired = replace(desired, files=files)

    words = shown(desired, before_dkconf(desired))
    assert (
        "+#!/bin/sh\n+key = 1  # kept\n+[table]\n"
        "  (3 lines of comments and empty ones are not shown; `dkconf render` writes them)\n"
    ) in words

    gone = replace(desired, files=tuple(f for f in desired.files if f.path != SETTINGS))
    words = shown(gone, *applied(desired))
    assert "-key = 1  # kept\n-[table]\n  (3 lines of comments and empty ones are not shown)" in words


def test_a_long_record_is_shown_by_its_beginning(signer: MilterFilter) -> None:
    """Enough to tell two RSA keys apart; `dns show` has the rest."""
    desired = state(signer)
    value = b"v=DKIM1; k=rsa; p=" + b"A" * 400
    desired = replace(desired, records=(replace(desired.records[0], value=value),))

    [line] = [line for line in shown(desired, before_dkconf(desired)).split("\n") if "+ record" in line]

    assert value.decode()[:95] in line
    assert line.endswith("... (`dkconf dns show` prints all of it)")
    assert len(line) < 200


def test_empty_plan_is_one_line(signer: MilterFilter) -> None:
    """Nothing to do says so."""
    desired = state(signer)

    assert "mx1.example.test: nothing to do" == shown(desired, *applied(desired))


@pytest.mark.parametrize("kind", ["PRIVATE KEY", "RSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "OPENSSH PRIVATE KEY"])
def test_private_keys_are_hidden(kind: str) -> None:
    """A PEM private key of any kind is one line that says so, also if its end is missing."""
    pem = PEM.replace("PRIVATE KEY", kind)
    assert has_private_key(pem.encode())

    lines = [*redact(["before", *pem.split("\n"), "after"])]

    assert ["before", "[private key, not shown]", "after"] == lines
    assert ["[private key, not shown]"] == [*redact(pem.split("\n")[:2])]


def test_a_diff_shows_no_key(signer: MilterFilter, edited: Edit) -> None:
    """A private key in a file that is overwritten is in no line of the plan, nor in its JSON."""
    desired = state(signer)
    actual, last = applied(desired)
    actual = edited(actual, SETTINGS, PEM.encode())

    words = shown(desired, actual, last) + json.dumps(diff(desired, actual, last).to_json())

    assert "c2VjcmV0" not in words
    assert "private key, not shown" in words


def test_a_file_does_not_steer_the_terminal(signer: MilterFilter, edited: Edit) -> None:
    """Control characters in a file are shown as escapes."""
    desired = state(signer)
    actual, last = applied(desired)

    words = shown(desired, edited(actual, SETTINGS, b"\x1b]0;title\x07\xff\xc2\x9b31m\n"), last)

    assert "\x1b" not in words
    assert "\\x1b]0;title\\x07\\xff" in words
    assert "\\x9b31m" == printable("\x9b31m")


def test_saved_plan_has_digests_only(signer: MilterFilter) -> None:
    """The JSON holds no contents; its digest covers all that would be done, and shows an edit."""
    desired = state(signer)
    saved = diff(desired, before_dkconf(desired), None).to_json(plan_id="x", created="now")

    assert "INPUT_MAIL_FILTER" not in json.dumps(saved)
    assert saved["digest"] == saved_digest(json.loads(json.dumps(saved)))
    saved["files"][0]["post"]["sha256"] = "0" * 64
    assert saved["digest"] != saved_digest(saved)
    assert not saved["empty"]


def test_digest_tells_plans_apart(signer: MilterFilter, edited: Edit) -> None:
    """Another pre-image is another plan: it is stale after a hand edit."""
    desired = state(replace(signer, enabled=False))
    actual, last = applied(state(signer))
    plan = diff(desired, actual, last)

    assert plan.digest == diff(desired, actual, last).digest
    assert plan.digest != diff(desired, edited(actual, PATHS.fragment, b"x"), last).digest
    assert plan.digest != diff(desired, actual, replace(last, number=8)).digest


def test_codec_gives_back_what_it_was_given(signer: MilterFilter) -> None:
    """A desired state survives JSON, octets included; a damaged one is told as such."""
    desired = state(signer)

    assert desired == from_json(DesiredState, json.loads(json.dumps(to_json(desired))))
    with pytest.raises(DkconfError, match="damaged DesiredState"):
        from_json(DesiredState, {"host": "x"})


def test_codec_passes_over_what_it_does_not_know(signer: MilterFilter) -> None:
    """A generation of a later version, with more keys, can still be read."""
    data = {**to_json(state(signer)), "new_in_9": [1]}

    assert state(signer) == from_json(DesiredState, data)
