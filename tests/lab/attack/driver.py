"""Runs commands as root while somebody attacks, one after the other until the time is over: `driver.py SETTINGS`.

SETTINGS is JSON: seconds, directory, commands (lists of words for `dkconf`, ["unsafe", ACT, PATH] or
["forget", PATH]), timeout.
Everything is loaded once and each command is a fork, so that there are many looks a second. Prints one JSON line per
command: its words, status, seconds, the most memory in KiB, and what it said.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

SAID = 4000
UNSAFE_SECONDS = 0.5
LOADED = (
    *("dkconf.cli.host", "dkconf.cli.keys", "dkconf.cli.inventory", "dkconf.cli.repocmds"),
    *("dkconf.operations.commands", "dkconf.operations.real", "dkconf.trial.judge"),
    *("dkconf.inventory", "dkconf.desired", "dkconf.keys", "dkconf.repo.checks"),
)


def unsafe(act: str, path: str) -> int:
    """Do by a path what must never be done so: look at it first, and then believe it."""
    if os.path.islink(path):
        return 1
    time.sleep(0.0002)
    if act == "write":
        with open(path, "w") as file:
            file.write("written\n")
    elif act == "read":
        with open(path, "rb") as file:
            file.read(10)
    elif act == "chmod":
        os.chmod(path, 0o644)
    else:
        with open(path, "rb") as file:
            number, line = file.read(1000).decode().split("\n")[:2]
        signal.setitimer(signal.ITIMER_REAL, 0)  # what was read is acted on, however long it takes
        if act == "signal":
            os.kill(int(number), signal.SIGHUP)
        else:
            subprocess.run(line.split(), check=False)
    return 0


def tries(act: str, path: str) -> int:
    """Do it again and again for a while; a named pipe must not hold us up."""
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    end = time.monotonic() + UNSAFE_SECONDS
    while time.monotonic() < end:
        with contextlib.suppress(OSError, ValueError, KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, 0.02)
            unsafe(act, path)
        signal.setitimer(signal.ITIMER_REAL, 0)
    return 0


def child(words: list[str], directory: str, output: int) -> int:
    """Run one command in this process."""
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(directory)
    if words[0] == "forget":
        with contextlib.suppress(FileNotFoundError):
            os.unlink(words[1])  # in a folder that only root can change
        return 0
    if words[0] == "unsafe":
        return tries(words[1], words[2])
    from dkconf.cli.main import main

    try:
        main(words)
    except SystemExit as done:
        sys.stdout.flush()
        return int(done.code or 0)
    return 0


def run(words: list[str], directory: str, timeout: float) -> dict[str, Any]:
    """Run one command; it is killed when its time is over."""
    start = time.monotonic()
    with tempfile.TemporaryFile() as output:
        pid = os.fork()
        if pid == 0:
            status = 70
            try:
                status = child(words, directory, output.fileno())
            finally:
                os._exit(status)
        handle = os.pidfd_open(pid)
        hangs = not select.select([handle], [], [], timeout)[0]
        if hangs:
            os.kill(pid, signal.SIGKILL)
        os.close(handle)
        _, status, usage = os.wait4(pid, 0)
        output.seek(max(0, output.seek(0, os.SEEK_END) - SAID))
        said = output.read().decode("utf-8", "replace")
    return {
        "words": words,
        "status": -1 if hangs else os.waitstatus_to_exitcode(status),
        "seconds": round(time.monotonic() - start, 2),
        "memory": usage.ru_maxrss,
        "said": said,
    }


def main() -> None:
    settings = json.loads(sys.argv[1])
    os.environ["NO_COLOR"] = "1"
    # Who opened a canary is asked by a signal where in the source he stands.
    faulthandler.register(signal.SIGURG, file=2, all_threads=False)
    if any(words[0] != "unsafe" for words in settings["commands"]):
        for module in LOADED:
            __import__(module)
    end = time.monotonic() + settings["seconds"]
    while True:
        for words in settings["commands"]:
            print(json.dumps(run(words, settings["directory"], settings["timeout"])), flush=True)
            if time.monotonic() > end:
                return


if __name__ == "__main__":
    main()
