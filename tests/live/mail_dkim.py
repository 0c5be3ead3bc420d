"""Mail::DKIM (Perl) as a second opinion: one process for all questions of a test run."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.patience import LAST_RESORT_SECONDS

SCRIPT = Path(__file__).with_name("mail_dkim.pl")
MODULES = ("Mail::DKIM", "Net::DNS", "JSON::PP", "MIME::Base64")


def missing() -> str:
    """Return why Mail::DKIM cannot be asked, or the empty string."""
    if shutil.which("perl") is None:
        return "no perl"
    for module in MODULES:
        if subprocess.run(["perl", f"-M{module}", "-e", "1"], capture_output=True, check=False).returncode:
            return f"the Perl module {module} is not installed"
    return ""


@dataclass(frozen=True)
class Opinion:
    """What Mail::DKIM says about one signature."""

    scheme: str
    result: str
    detail: str


class MailDkim:
    """A running Perl process; a context manager."""

    def __enter__(self) -> MailDkim:
        self._process = subprocess.Popen(["perl", str(SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(LAST_RESORT_SECONDS)
        self._process.stdout.close()

    def _ask(self, **request: object) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request).encode("ascii") + b"\n")
        self._process.stdin.flush()
        reply: dict[str, Any] = json.loads(self._process.stdout.readline())
        if "error" in reply:
            raise RuntimeError(reply["error"])
        return reply

    def sign(
        self,
        message: bytes,
        *,
        scheme: str,
        canon: str,
        key_file: Path,
        domain: str = "example.com",
        selector: str = "jan",
        algorithm: str = "",
        headers: str = "",
    ) -> bytes:
        """Return the message with a signature on top; `key_file` is PKCS#1 PEM."""
        reply = self._ask(
            op="sign",
            scheme=scheme,
            canon=canon,
            key=str(key_file),
            domain=domain,
            selector=selector,
            algorithm=algorithm or ("rsa-sha256" if scheme == "dkim" else "rsa-sha1"),
            headers=headers,
            message=base64.b64encode(message).decode("ascii"),
        )
        return base64.b64decode(reply["field"]) + b"\r\n" + message

    def verify(self, message: bytes, records: Mapping[str, str]) -> list[Opinion]:
        """Return an opinion on each signature of the message."""
        reply = self._ask(op="verify", records=dict(records), message=base64.b64encode(message).decode("ascii"))
        return [Opinion(each["scheme"], each["result"], each["detail"]) for each in reply["results"]]
