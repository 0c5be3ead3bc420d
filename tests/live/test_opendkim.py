"""What we sign OpenDKIM verifies, and the other way round, by OpenDKIM's test mode: no milter, no DNS.

That mode hands each field to the filter as an MTA without leading blanks would: one blank behind the colon, whatever
stood there. So messages with none, or with several, are no fair question under simple header canonicalization.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from dkconf.dkim import signer
from tests.dkim.helpers import ANSWERS, KEY, NAME, RECORD, sign, verify
from tests.patience import LAST_RESORT_SECONDS
from tests.signing import KEY_PEM, MESSAGES

SIMPLE_UNFAIR = {"folded header", "no blank behind the colon"}
CASES = [
    (name, form)
    for name in MESSAGES
    for form in ("relaxed/relaxed", "relaxed/simple", "simple/simple")
    if form != "simple/simple" or name not in SIMPLE_UNFAIR
]


@pytest.fixture
def settings_file(tmp_path: Path) -> Path:
    """OpenDKIM's key files, and where its settings go."""
    if shutil.which("opendkim") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("nothing is skipped in CI: no opendkim")
        pytest.skip("no opendkim")
    (tmp_path / "key.pem").write_bytes(KEY_PEM)
    (tmp_path / "key.pem").chmod(0o600)
    (tmp_path / "keys").write_bytes(NAME + b" " + RECORD + b"\n")
    return tmp_path / "opendkim.conf"


def run(settings_file: Path, message: bytes, *settings: str) -> str:
    """Return what OpenDKIM's test mode says about a message."""
    settings_file.write_text("\n".join([f"Socket local:{settings_file.parent}/socket", "Syslog no", *settings, ""]))
    message_file = settings_file.with_name("message.eml")
    message_file.write_bytes(message)
    done = subprocess.run(
        ["opendkim", "-x", str(settings_file), "-t", str(message_file), "-vv"],
        capture_output=True,
        check=False,
        timeout=LAST_RESORT_SECONDS,
    )
    return (done.stdout + done.stderr).decode("utf-8", "replace")


@pytest.mark.parametrize(("name", "form"), CASES)
def test_our_signature_passes_there(settings_file: Path, name: str, form: str) -> None:
    """Every message of the table, as we sign it, verifies in OpenDKIM."""
    signed = sign(MESSAGES[name], signer.Signer("example.com", "jan", KEY, *form.split("/")))
    said = run(settings_file, signed, "Mode v", f"TestPublicKeys {settings_file.parent}/keys")

    assert "dkim=pass" in said, said


@pytest.mark.parametrize(("name", "form"), CASES)
def test_their_signature_passes_here(settings_file: Path, name: str, form: str) -> None:
    """Every message of the table, as OpenDKIM signs it, verifies here."""
    said = run(
        settings_file,
        MESSAGES[name],
        "Mode s",
        "Domain example.com",
        "Selector jan",
        f"KeyFile {settings_file.parent}/key.pem",
        "SignatureAlgorithm rsa-sha256",
        f"Canonicalization {form}",
        "InternalHosts 0.0.0.0/0",
        "RequireSafeKeys no",
    )
    inserted = re.search(r"hname='DKIM-Signature' hvalue='([^']*)'", said)
    assert inserted is not None, said
    value = inserted.group(1).strip().replace("\n", "\r\n").encode("ascii")

    (verdict,) = verify(b"DKIM-Signature: " + value + b"\r\n" + MESSAGES[name], ANSWERS, now=2**33)
    assert ("pass", "") == (verdict.result, verdict.reason)
