"""Invariant: whatever octets come, a parser returns or raises its own error; never anything else, and never slowly.

Usage: python -m fuzz.smoke [SECONDS [SEED]]: runs every target over random octets and mutated seeds, without atheris.
"""

from __future__ import annotations

import random
import sys
import time

from fuzz.targets import SEEDS, TARGETS

SLOW_SECONDS = 1.0
"""One input of up to some kilobytes may take no longer."""

_PIECES = [
    b"",
    b";",
    b"=",
    b":",
    b'"',
    b"(",
    b")",
    b"<",
    b">",
    b"@",
    b"\\",
    b"\r\n",
    b"\0",
    b"\xff",
    b" " * 50,
    b"9" * 400,
]


def mutated(generator: random.Random, seed: bytes) -> bytes:
    """Return the seed with a few places cut, doubled, replaced or filled."""
    octets = seed
    for _ in range(generator.randint(0, 4)):
        start = generator.randint(0, len(octets))
        end = min(len(octets), start + generator.randint(0, 8))
        middle = generator.choice([*_PIECES, generator.randbytes(3), octets[start:end] * 2, octets])
        octets = octets[:start] + middle + octets[end:]
    return octets


def run(name: str, count: int, seed: int) -> None:
    """Run one target over this many inputs.

    Raises:
        AssertionError: The invariant does not hold; the input is in the message.
    """
    generator = random.Random(seed)
    for number in range(count):
        octets = (
            generator.randbytes(number % 64) if number % 4 == 0 else mutated(generator, generator.choice(SEEDS[name]))
        )
        start = time.monotonic()
        try:
            TARGETS[name](octets)
        except Exception as error:
            raise AssertionError(f"{name}: {error!r} on {octets!r}") from error
        if time.monotonic() - start > SLOW_SECONDS:
            raise AssertionError(f"{name}: slow on {octets!r}")


def main() -> None:
    """Run all targets for as long as asked."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(2**32)
    end = time.monotonic() + seconds
    rounds = 0
    while time.monotonic() < end:
        for name in TARGETS:
            run(name, 500, seed + rounds)
        rounds += 1
    sys.stdout.write(f"{rounds} rounds of 500 inputs per target from seed {seed}: the invariant holds\n")


if __name__ == "__main__":
    main()
