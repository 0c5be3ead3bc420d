"""Invariant: whatever octets come, a parser returns or raises its own error; never anything else, and never slowly.

Usage: python -m fuzz.atheris_target NAME [libFuzzer options]; NAME is one of `fuzz.targets.TARGETS`. Needs atheris,
which is no dependency of the project: pip install atheris.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Hand one target to atheris, for as long as its options say."""
    import atheris  # type: ignore[import-not-found]

    with atheris.instrument_imports(include=["dkconf"]):
        from fuzz.targets import TARGETS
    name = sys.argv.pop(1) if len(sys.argv) > 1 else ""
    if name not in TARGETS:
        sys.exit(f"usage: python -m fuzz.atheris_target {'|'.join(TARGETS)} [libFuzzer options]")
    atheris.Setup(sys.argv, TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
