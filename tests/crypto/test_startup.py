"""What the manager imports of the filter half loads no cryptographic library: `dkconf --help` must start quickly."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "module",
    [
        "dkconf.crypto",
        "dkconf.dkim.keyrecord",
        "dkconf.dkim.signature",
        "dkconf.domainkeys.keyrecord",
        "dkconf.domainkeys.policyrecord",
        "dkconf.mail.lookup",
        "dkconf.mail.authres",
    ],
)
def test_records_load_no_cryptography(module: str) -> None:
    """Nor anything else that is slow to load."""
    code = f"import sys, {module}; print(*sorted({{'cryptography', 'ctypes', 'asyncio', 'dns'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "" == done.stdout.strip()
