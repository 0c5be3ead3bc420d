"""`dkconf mail sign|verify` on files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dkconf.cli import main as door
from dkconf.crypto.keys import PrivateKey
from dkconf.dkim.keyrecord import format_record
from dkconf.mail.lookup import TxtAnswer, format_records
from tests.dkim.helpers import sign_with_length
from tests.signing import KEY_PEM

MESSAGE = (
    b"From: Joe <joe@example.com>\r\nTo: ann@example.org\r\nSubject: what we\r\n\ttalked about\r\n"
    b"Date: Tue, 14 Nov 2023 22:13:20 +0000\r\nX-Raw: \xe4\xff \r\n\r\nHello  there \r\nbye\r\n\r\n"
)
NOW = "1700000000"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a key, a message and a records file, and we are in it."""
    record = format_record("rsa", PrivateKey.load_pem(KEY_PEM).public_raw)
    (tmp_path / "key.pem").write_bytes(KEY_PEM)
    (tmp_path / "m.eml").write_bytes(MESSAGE)
    (tmp_path / "records").write_text(
        format_records({b"jan._domainkey.example.com": TxtAnswer("found", (record,), ttl=60)})
        + 'dead._domainkey.example.com TIMEOUT\n_domainkey.example.com TXT "o=-; t=y; n=hello"\n'
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sign(*more: str, file: str = "m.eml") -> list[str]:
    """The command line of a signing."""
    return ["mail", "sign", file, "--domain", "example.com", "--selector", "jan", "--key", "key.pem",
            "--now", NOW, *more]  # fmt: skip


def verify(*more: str) -> list[str]:
    """The command line of a verification that asks no DNS."""
    return ["mail", "verify", "--records", "records", "--now", NOW, "--json", *more]


@pytest.mark.parametrize(
    "scheme, forms",
    [
        ("domainkeys", ["simple", "nofws"]),
        ("dkim", ["simple", "relaxed", "simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed"]),
    ],
)
@pytest.mark.parametrize("newline", [b"\r\n", b"\n"])
@pytest.mark.parametrize("tail", [b"", b"no line end"])
def test_what_is_signed_verifies(
    folder: Path, capfdbinary: pytest.CaptureFixture[bytes], scheme: str, forms: list[str], newline: bytes, tail: bytes
) -> None:
    """The rest stays octet by octet, with LF as with CRLF, with or without a final line end."""
    message = (MESSAGE + tail).replace(b"\r\n", newline)
    (folder / "m.eml").write_bytes(message)
    for form in forms:
        assert door.run(sign("--scheme", scheme, "--canonicalization", form)) == 0
        out = capfdbinary.readouterr().out
        assert out.endswith(message)
        head = out[: -len(message)]
        assert head.startswith(b"DomainKey-Signature: " if scheme == "domainkeys" else b"DKIM-Signature: ")
        assert head.count(newline) == head.count(b"\n")
        assert (b"\r" in head) == (newline == b"\r\n")
        (folder / "signed.eml").write_bytes(out)
        assert door.run(verify("signed.eml")) == 0
        algorithm = "rsa-sha1" if scheme == "domainkeys" else "rsa-sha256"
        assert json.loads(capfdbinary.readouterr().out)["signatures"] == [
            {
                "scheme": scheme,
                "domain": "example.com",
                "selector": "jan",
                "algorithm": algorithm,
                "result": "pass",
                "reason": "",
            }
        ]


def test_one_object_per_message(folder: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """JSON lines, in the order of the arguments; an unsigned message has no signatures, and a policy."""
    assert door.run(sign()) == 0
    (folder / "signed.eml").write_bytes(capfdbinary.readouterr().out + b"one line more\r\n")
    assert door.run(verify("signed.eml", "m.eml")) == 0
    first, second = map(json.loads, capfdbinary.readouterr().out.splitlines())
    policy = {"domain": "example.com", "signs": "all", "testing": True, "report": "", "note": "hello"}

    assert list(first) == ["file", "signatures", "policy"]
    assert [(s["result"], s["reason"]) for s in first["signatures"]] == [("fail", "body hash did not verify")]
    assert second == {"file": "m.eml", "signatures": [], "policy": policy}


def test_signatures_stand_in_the_order_of_the_message(folder: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Top to bottom, both schemes mixed; a key that does not answer is temperror."""
    assert door.run(sign("--scheme", "domainkeys")) == 0
    (folder / "m.eml").write_bytes(capfdbinary.readouterr().out)
    assert door.run(sign("--selector", "dead")) == 0
    (folder / "m.eml").write_bytes(capfdbinary.readouterr().out)
    assert door.run(verify("m.eml")) == 0
    document = json.loads(capfdbinary.readouterr().out)

    assert [(s["scheme"], s["selector"], s["result"]) for s in document["signatures"]] == [
        ("dkim", "dead", "temperror"),
        ("domainkeys", "jan", "pass"),
    ]
    assert document["policy"] is None


@pytest.mark.parametrize("bits, result", [("1024", "pass"), ("2048", "policy")])
def test_min_bits(folder: Path, capfdbinary: pytest.CaptureFixture[bytes], bits: str, result: str) -> None:
    """A key below the minimum is policy, in both schemes."""
    for scheme in ("dkim", "domainkeys"):
        assert door.run(sign("--scheme", scheme)) == 0
        (folder / "signed.eml").write_bytes(capfdbinary.readouterr().out)
        assert door.run(verify("signed.eml", "--min-bits", bits)) == 0
        assert json.loads(capfdbinary.readouterr().out)["signatures"][0]["result"] == result


def test_for_people(folder: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Without --json: one line per signature, and one for the policy."""
    assert door.run(["mail", "verify", "--records", "records", "m.eml"]) == 0
    assert capfdbinary.readouterr().out.decode().splitlines() == [
        "m.eml: not signed",
        "m.eml: DomainKeys policy of example.com: signs all, test mode",
    ]
    assert door.run(sign()) == 0
    (folder / "s.eml").write_bytes(capfdbinary.readouterr().out)
    assert door.run(["mail", "verify", "--records", "records", "s.eml"]) == 0
    assert capfdbinary.readouterr().out == b"s.eml: dkim=pass d=example.com s=jan a=rsa-sha256\n"


def test_an_mbox_line_stays_first(folder: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """The signature goes below `From joe ...`, which is no header field."""
    (folder / "m.eml").write_bytes(b"From joe Tue Nov 14 22:13:20 2023\n" + MESSAGE.replace(b"\r\n", b"\n"))
    assert door.run(sign()) == 0

    assert capfdbinary.readouterr().out.startswith(b"From joe Tue Nov 14 22:13:20 2023\nDKIM-Signature: ")


@pytest.mark.parametrize(
    "arguments, status, message",
    [
        (sign(file="none.eml"), 1, "none.eml: no such file or directory"),
        (sign("--key", "none.pem"), 1, "none.pem: no such file or directory"),
        (sign("--key", "m.eml"), 1, "m.eml: no private key in PEM form found"),
        (sign("--canonicalization", "nofws"), 64, '--canonicalization "nofws" is unknown; write one of simple'),
        (sign("--now", "9" * 13), 64, "Invalid value for '--now'"),
        (sign("--domain", "a..b"), 64, '--domain "a..b": write a domain name'),
        (sign("--selector", "a b"), 64, '--selector "a b": write DNS labels'),
        (sign("--scheme", "domainkeys", "--domain", "example.net"), 1, "sender joe@example.com is not within"),
        (sign("--scheme", "arc"), 64, "'arc' is not one of"),
        (["mail", "verify", "none.eml", "--records", "records"], 1, "none.eml: no such file or directory"),
        (["mail", "verify", "m.eml", "--records", "none"], 1, "none: no such file or directory"),
        (["mail", "verify", "m.eml", "--records", "m.eml"], 1, "m.eml: "),
        (["mail", "verify"], 64, "Missing argument"),
    ],
)
def test_faults_are_one_line(
    folder: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], status: int, message: str
) -> None:
    """Never a traceback, and what would be right where there is something to say."""
    assert door.run(arguments) == status
    err = capfd.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_a_missing_message_does_not_hide_the_others(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The other messages are verified all the same, and the status says that something was wrong."""
    assert door.run(verify("none.eml", "m.eml")) == 1
    out, err = capfd.readouterr()
    assert json.loads(out)["file"] == "m.eml"
    assert "none.eml" in err


def test_text_behind_a_signed_length_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The signature passes, or is policy where that is asked for; both say how much of the body it leaves unsigned."""
    (folder / "m.eml").write_bytes(sign_with_length(MESSAGE, 10) + b"<html>phish</html>\r\n")
    # Of "Hello  there " the last three and the line end, "bye" and two line ends, and what was appended.
    words = "32 octets unsigned"

    assert door.run(["mail", "verify", "--records", "records", "--now", NOW, "m.eml"]) == 0
    assert f"dkim=pass d=example.com s=jan a=rsa-sha256 ({words})" in capsys.readouterr().out
    for choice, result in (("accept", "pass"), ("policy", "policy")):
        assert door.run(verify("--unsigned-content", choice, "m.eml")) == 0
        (found,) = json.loads(capsys.readouterr().out)["signatures"]
        assert (found["result"], found["reason"]) == (result, words)
