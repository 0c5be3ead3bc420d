"""The way to a file or folder, which somebody else must not be able to lead elsewhere.

/etc/mail belongs to the mail user on Debian: whoever has that user can put a link in the place of /etc/mail/m4,
and root would write wherever it points. In somebody's checkout its owner can put a link to /etc/shadow in the place of
a file. So a way is walked folder by folder, each opened below the one before it and never through a link. We read a
link ourselves, and follow it only

- if root or we set it, in a folder where nobody else could have put it; or
- if it lies in the tree that the caller names and stays in it, and what it leads to belongs to whoever owns the link.

A user who is not root follows each link of his own and of root's: nobody gains by leading him.
"""

from __future__ import annotations

import errno
import os
import stat

from dkconf.files.problems import shown

LINKS = 40
"""As many as the kernel follows."""
CHECKOUT = "(its checkout)"
"""As `within`: the nearest folder above a link that holds `.git`, or else the folder that the link lies in."""
ANYWHERE = "/"
"""As `within`: wherever a link leads, as long as that belongs to the link's owner."""
TO_PASS = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""How a folder is opened only to open what is in it: needs no right to read the folder."""
TO_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
LINK_ERRORS = frozenset((errno.ENOTDIR, errno.ELOOP, errno.EMLINK))
"""What `open` says of a link with O_NOFOLLOW: the first for a folder, the last on FreeBSD."""


class Misled(OSError):
    """A link on the way that may not be followed; the message names it."""

    def __init__(self, text: str) -> None:
        super().__init__(shown(text))


def open_folder(path: str, *, to_pass: bool = False, within: str = "") -> int:
    """Return a handle of the folder, the caller's to close; links are followed as the top of this module says.

    Args:
        to_pass: Only to open what is in it: needs no right to read the folder.
        within: The tree that others' links must stay in, or `CHECKOUT` or `ANYWHERE`; "" = others' links are not
            followed.

    Raises:
        Misled: The link that is not followed is named.
        OSError: As `os.open`.
    """
    with Way(path, within) as way:
        return way.open(TO_PASS if to_pass else TO_LIST)


def others_write(folder: os.stat_result) -> bool:
    """Return whether others than root and ourselves can put something of their choice into a folder.

    In a sticky folder of ours nobody can put what is his in the place of what is ours: whoever asks has looked at
    the owner of what lies there.
    """
    if folder.st_uid not in (0, os.geteuid()):
        return True
    return bool(folder.st_mode & (stat.S_IWGRP | stat.S_IWOTH)) and not folder.st_mode & stat.S_ISVTX


def folders_above(path: str, top: str = "/") -> list[tuple[str, os.stat_result | OSError]]:
    """Return what is known of each folder above a path, the nearest first: by the names given and by the real ones.

    Whoever can write one of them can put another file in the place of what the path names. What is not there yet is
    left out; an error stands for a folder that cannot be looked at.

    Args:
        top: The last one that is asked for.
    """
    named = _parents(os.path.abspath(path), os.path.abspath(top))
    real = _parents(os.path.realpath(path), os.path.realpath(top))
    found: list[tuple[str, os.stat_result | OSError]] = []
    for folder in dict.fromkeys((*named, *real)):
        try:
            found.append((folder, os.stat(folder)))
        except FileNotFoundError:
            continue
        except OSError as error:
            found.append((folder, error))
    return found


def _parents(path: str, top: str) -> list[str]:
    found = []
    while path not in (top, "/"):
        path = os.path.dirname(path)
        found.append(path)
    return found


class Way:
    """A walk along a path; close it, or use it in `with`."""

    def __init__(self, path: str, within: str = "") -> None:
        """Stand before the first folder; nothing but that is open yet.

        Args:
            path: Absolute, or from the working directory.
            within: See `open_folder`.
        """
        if within and not path.startswith("/"):
            path = os.path.join(os.getcwd(), path)
        self._within = within
        self._left = _parts(path)
        self._names = [""]
        self._passed = [os.open("/" if path.startswith("/") else ".", TO_PASS)]
        self._links = 0
        self._claimed: set[int] = set()
        self._claim_words = ""
        self._left_tree: os.stat_result | None = None
        self._top = -1
        """Place in `_passed` of the top of the tree that somebody else's link must stay in; -1 = none was followed."""

    @property
    def folder(self) -> int:
        """The handle of the folder reached so far, open as long as this object is."""
        return self._passed[-1]

    def open(self, flags: int) -> int:
        """Return what the path leads to, opened with `flags`; the caller closes it.

        Raises:
            Misled: A link that may not be followed; named.
            OSError: As `os.open`.
        """
        while self._left:
            name = self._left.pop()
            if name == "..":
                self._up()
                continue
            try:
                handle = os.open(name, TO_PASS if self._left else flags | os.O_NOFOLLOW, dir_fd=self.folder)
            except OSError as error:
                if error.errno not in LINK_ERRORS or not self._follow(name):
                    raise
                continue
            if not self._left:
                return self._checked(handle)
            self._pass(handle, name)
        return self._checked(os.open(".", flags, dir_fd=self.folder))

    def to_last(self, *, follow: bool = True) -> str:
        """Go to the folder that the last part of the path lies in; return that part.

        Args:
            follow: If that part is a link, go where it leads: what is returned is no link.

        Raises:
            As `open`; IsADirectoryError if the path ends in no name.
        """
        while self._left:
            name = self._left.pop()
            if name == "..":
                self._up()
                continue
            if not self._left:
                if follow and self._follow(name):
                    continue
                return name
            try:
                self._pass(os.open(name, TO_PASS, dir_fd=self.folder), name)
            except OSError as error:
                if error.errno not in LINK_ERRORS or not self._follow(name):
                    raise
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))

    def check(self, handle: int) -> None:
        """Refuse what does not belong to the owner of each link of somebody else's that led to it.

        Raises:
            Misled: It belongs to another.
        """
        if self._claimed and {os.fstat(handle).st_uid} != self._claimed:
            raise Misled(f"{self._claim_words} to what does not belong to the link's owner")

    @property
    def left(self) -> bool:
        """Whether a link of ours led out of a repository."""
        found = self._left_tree
        return found is not None and not any(os.path.samestat(os.fstat(each), found) for each in self._passed)

    def _checked(self, handle: int) -> int:
        try:
            self.check(handle)
        except BaseException:
            os.close(handle)
            raise
        return handle

    def _pass(self, handle: int, name: str) -> None:
        self._passed.append(handle)
        self._names.append(name)

    def _back(self) -> None:
        os.close(self._passed.pop())
        self._names.pop()

    def _up(self) -> None:
        if self._top >= 0 and len(self._passed) == self._top + 1:
            raise Misled(f"{self._claim_words} that leads out of {self._tree_name()}")
        # By the folder that we came through: another may be its parent by now.
        if len(self._passed) > 1:
            self._back()
        else:
            above = os.open("..", TO_PASS, dir_fd=self.folder)
            os.close(self._passed[0])
            self._passed[0] = above

    def _follow(self, name: str) -> bool:
        """Go where a link leads; return False if `name` is none."""
        try:
            info = os.stat(name, dir_fd=self.folder, follow_symlinks=False)
        except FileNotFoundError:
            return False
        if not stat.S_ISLNK(info.st_mode):
            return False
        self._links += 1
        if self._links > LINKS:
            raise Misled(f"the way has more than {LINKS} links")
        target = os.readlink(name, dir_fd=self.folder)
        if not _trusted(os.fstat(self.folder), info):
            target = self._claim(name, info, target)
            self._left += _parts(target)
            return True
        if self._within == CHECKOUT and self._left_tree is None:
            # git makes the links of a repository for whoever clones it, root too: they are no word of his.
            self._left_tree = next((os.fstat(each) for each in self._passed[::-1] if holds(each, ".git")), None)
        if target.startswith("/"):
            self._top = -1
            self._restart()
        self._left += _parts(target)
        return True

    def _claim(self, name: str, link: os.stat_result, target: str) -> str:
        """Return the target of somebody else's link, from the folder reached; it has to stay in the tree."""
        self._claim_words = f'"{name}" on the way is a link'
        top = self._find_top()
        if top < 0:
            raise Misled(f"{self._claim_words} that others than root could have put there")
        self._top = top
        if target.startswith("/"):
            tree = self._tree_name()
            if not f"{target}/".startswith(f"{tree}/"):
                raise Misled(f"{self._claim_words} that leads out of {tree or '/'}")
            while len(self._passed) > top + 1:
                self._back()
            target = target[len(tree) :]
        self._claimed.add(link.st_uid)
        return target

    def _find_top(self) -> int:
        """Return the place in `_passed` of the tree's top that is nearest to where we are; -1 if we are in no tree."""
        if not self._within:
            return -1
        places = range(len(self._passed) - 1, -1, -1)
        if self._within == CHECKOUT:
            return next((at for at in places if holds(self._passed[at], ".git")), places[0])
        try:
            tree = os.stat(self._within)
        except OSError:
            return -1
        return next((at for at in places if os.path.samestat(os.fstat(self._passed[at]), tree)), -1)

    def _tree_name(self) -> str:
        """Return the real path of the tree's top, "" for /."""
        return "/".join(self._names[: self._top + 1])

    def _restart(self) -> None:
        top = os.open("/", TO_PASS)
        self.close()
        self._passed, self._names = [top], [""]

    def close(self) -> None:
        """Close every folder passed."""
        while self._passed:
            os.close(self._passed.pop())

    def __enter__(self) -> Way:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def holds(folder: int, name: str) -> bool:
    """Return whether an open folder holds something of that name, a link to nowhere too."""
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError:
        return False
    return True


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")][::-1]


def _trusted(folder: os.stat_result, link: os.stat_result) -> bool:
    """Return whether root or we put a link into a folder."""
    if link.st_uid not in (0, os.geteuid()):
        return False
    # A link of ours with a second name may have got this one from somebody else.
    return os.geteuid() != 0 or (not others_write(folder) and (link.st_nlink == 1 or not _shared(folder)))


def _shared(folder: os.stat_result) -> bool:
    return bool(folder.st_mode & (stat.S_IWGRP | stat.S_IWOTH))
