"""A process of root's that does nothing, and notes every signal in the file that it is given."""

from __future__ import annotations

import contextlib
import os
import signal
import sys


def main() -> None:
    note = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number in signal.valid_signals():
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, lambda came, _: (os.write(note, f"{came}\n".encode()), None)[1])
    print(os.getpid(), flush=True)
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
