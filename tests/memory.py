"""A host's files in a dict, for tests: the same steps in the same order, no disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

from dkconf.errors import Locked
from dkconf.host.steps import Hook, Steps
from dkconf.host.system import SystemProblem, holder_words
from dkconf.plan.actual import FileState


class MemorySystem:
    """`System` over `files`, `directories` and `links`; `tick` is the clock of modification times."""

    def __init__(self, hook: Hook | None = None, users: tuple[str, ...] = ("root",)) -> None:
        self.root = "/"
        self.files: dict[str, FileState] = {}
        self.directories: set[str] = {"/"}
        self.links: dict[str, str] = {}
        self.users = {"0", *users}
        self.tick = 1_000_000_000
        self._locked: dict[str, dict[str, Any]] = {}
        self.use(hook)

    def use(self, hook: Hook | None) -> None:
        """Start a new run on the same files, as after a crash."""
        self._steps = Steps(hook)
        self._locked.clear()

    def put(self, path: str, content: bytes, mode: int = 0o644, owner: str = "root", group: str = "root") -> None:
        """Put a file there, and the directories above it, as the host's own."""
        parent = os.path.dirname(path)
        while parent not in self.directories:
            self.directories.add(parent)
            parent = os.path.dirname(parent)
        self.tick += 1
        self.files[path] = FileState(content, mode, owner, group, self.tick)

    def step(self, name: str) -> AbstractContextManager[None]:
        return self._steps.step(name)

    def read(self, path: str) -> FileState | None:
        return self.files.get(path)

    def attributes(self, path: str) -> FileState | None:
        found = self.files.get(path)
        return replace(found, content=b"") if found else None

    def listdir(self, path: str) -> tuple[str, ...]:
        inside = [*self.files, *self.directories, *self.links]
        return tuple(sorted({os.path.basename(p) for p in inside if os.path.dirname(p) == path and p != "/"}))

    def is_directory(self, path: str) -> bool:
        return path in self.directories

    def link(self, path: str) -> str:
        return self.links.get(path, "")

    def unsafe(self, path: str) -> str:
        return ""

    def known_user(self, name: str) -> bool:
        return name in self.users

    def known_group(self, name: str) -> bool:
        return name in self.users

    def real_path(self, path: str) -> str:
        return ""

    def write(self, path: str, state: FileState) -> None:
        with self.step(f"write:{path}"):
            self._need_parent(path)
            if state.owner not in self.users:
                raise SystemProblem(f'{path}: no user "{state.owner}" on this host')
            self.tick += 1
            self.files[path] = state if state.mtime_ns else replace(state, mtime_ns=self.tick)

    def set_attributes(self, path: str, mode: int, owner: str, group: str) -> None:
        with self.step(f"attributes:{path}"):
            self.files[path] = replace(self.files[path], mode=mode, owner=owner, group=group)

    def remove(self, path: str) -> None:
        with self.step(f"remove:{path}"):
            self.files.pop(path, None)
            self.links.pop(path, None)

    def rename(self, path: str, to: str) -> None:
        with self.step(f"rename:{path}"):
            self.directories = {_moved(p, path, to) for p in self.directories}
            self.files = {_moved(p, path, to): state for p, state in self.files.items()}

    def mkdir(self, path: str, mode: int, owner: str, group: str) -> None:
        with self.step(f"mkdir:{path}"):
            self._need_parent(path)
            self.directories.add(path)

    def rmdir(self, path: str) -> None:
        with self.step(f"rmdir:{path}"):
            if not self.listdir(path):
                self.directories.discard(path)

    def make_private(self, path: str) -> None:
        if path in self.directories:
            return
        with self.step(f"mkdir:{path}"):
            while path not in self.directories:
                self.directories.add(path)
                path = os.path.dirname(path)

    def remove_tree(self, path: str) -> None:
        if path not in self.directories:
            return
        with self.step(f"remove-tree:{path}"):
            inside = f"{path}/"
            self.files = {p: s for p, s in self.files.items() if not p.startswith(inside)}
            self.directories = {d for d in self.directories if d != path and not d.startswith(inside)}

    def symlink(self, path: str, target: str) -> None:
        with self.step(f"symlink:{path}"):
            self._need_parent(path)
            self.links[path] = target

    def clean(self, path: str) -> None:
        return None

    @contextmanager
    def lock(self, path: str, holder: dict[str, Any]) -> Iterator[None]:
        if path in self._locked:
            raise Locked(holder_words(path, b""))
        self._locked[path] = holder
        try:
            yield
        finally:
            self._locked.pop(path, None)

    def _need_parent(self, path: str) -> None:
        if os.path.dirname(path) not in self.directories:
            raise SystemProblem(f"{os.path.dirname(path)}: no such file or directory")


def _moved(path: str, old: str, new: str) -> str:
    return new + path[len(old) :] if path == old or path.startswith(old + "/") else path
