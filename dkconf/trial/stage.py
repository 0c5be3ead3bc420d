"""Build a sendmail.cf where nothing live is touched, and judge what can be judged without a dialogue.

The sources are copied into a private directory, m4 runs on the copies as an unprivileged user with an empty
environment and limits, and its octets are the ones that are judged and later installed. /etc/mail belongs to
the mail user on Debian, so nothing from it is executed or trusted as root. What counts (see the table of
checks in the documentation): m4 ends with 0 AND says nothing AND the model is the one that was meant AND
`sendmail -bs </dev/null` ends with 0. `-bt` and `-bv` do not notice a filter list that kills the daemon.
"""

from __future__ import annotations

import grp
import os
import pwd
import resource
import secrets
import stat
import subprocess
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from dkconf.desired.state import HostPaths, MilterFilter
from dkconf.errors import DkconfError, Refusal, Refused
from dkconf.files.looking import list_folder, look
from dkconf.files.making import NOBODYS, make_folders
from dkconf.files.reading import FileProblem, read_file
from dkconf.files.removing import remove_tree
from dkconf.files.writing import write_file
from dkconf.host.places import RUN_DIRECTORY
from dkconf.probe import process
from dkconf.probe.live import stat_of
from dkconf.sendmail import cf, endpoint, mc
from dkconf.sendmail.cf import CfModel

M4_TIMEOUT_SECONDS = 60
M4_CPU_SECONDS = 30
M4_MAX_OUTPUT_OCTETS = 16 * 1024 * 1024
"""A stock .cf has 64 KiB; a .mc in a loop must not fill the disk."""
M4_MAX_WORDS_OCTETS = 16 * 1024
"""Of its complaints; more is not shown."""
M4_MAX_MEMORY_OCTETS = 512 * 1024 * 1024
"""A stock .mc takes 5 MiB."""
MAX_RECORD_OCTETS = 100
"""Two numbers."""
RECORD = ".process"
"""Ends the name of the record of a throwaway's process, beside its own folder: that one may be its user's."""
START_TIMEOUT_SECONDS = 90
"""More than the 60 s that sendmail sleeps where its host name has no domain."""
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
# GNU m4 says so when the .mc ends in a `dnl` without a line end; the .cf is whole.
_HARMLESS = "end of file treated as newline"


class StageFailed(DkconfError):
    """The candidate cannot be built, or sendmail would not start with it. Nothing live was changed."""


class BaselineDiffers(Refused):
    """Building the host's own unchanged .mc does not give its live .cf: it was edited where we cannot see."""


@dataclass(frozen=True, slots=True)
class Staged:
    """A built configuration in its private directory; `discard` it, or use it in a `with`."""

    directory: Path
    mc: str
    fragment: str | None
    cf: bytes
    """The octets to install: those that were judged."""
    cf_path: str
    model: CfModel

    def discard(self) -> None:
        """Remove the private directory."""
        remove_tree(str(self.directory))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()


def private_directory(label: str, run_dir: str = RUN_DIRECTORY) -> Path:
    """Make and return a fresh directory below `run_dir` that only root writes to.

    Others may pass through it (0711) to what they are given the name of.
    """
    make_folders(run_dir, mode=0o711)
    found = look(run_dir)
    if not found or found.st_uid != os.geteuid() or found.st_mode & 0o022 or not stat.S_ISDIR(found.st_mode):
        raise StageFailed(f"{run_dir}: is not a directory of our own that only we may write to; remove it")
    sweep(run_dir)
    directory = Path(run_dir, f"{label}-{os.getpid()}-{secrets.token_hex(6)}")
    make_folders(str(directory), mode=0o711)
    return directory


def sweep(run_dir: str) -> None:
    """Remove the staging directories of runs that were killed, and end the throwaway filters they left behind."""
    for name in list_folder(run_dir):
        found = look(f"{run_dir}/{name}")
        parts = name.split("-")
        if not found or not stat.S_ISDIR(found.st_mode) or len(parts) != 3 or not parts[1].isdigit():
            continue
        if stat_of(int(parts[1])) is not None:
            continue  # that run goes on (or its number is in use again: then the next sweep will do)
        for record in list_folder(f"{run_dir}/{name}"):
            # Only those that root wrote: a filter's own folder is its user's.
            if record.startswith("filter-") and record.endswith(RECORD):
                _end_group(f"{run_dir}/{name}/{record}")
        remove_tree(f"{run_dir}/{name}")


def _end_group(record: str) -> None:
    """End the session that a throwaway filter's record names, if it is still that one."""
    try:
        pid, ticks = (int(word) for word in read_file(record, limit=MAX_RECORD_OCTETS).split())
    except (FileProblem, FileNotFoundError, ValueError):
        return
    process.end_session(pid, ticks)


def stage(
    paths: HostPaths,
    text: str,
    fragment: str | None,
    *,
    label: str = "candidate",
    run_dir: str = RUN_DIRECTORY,
) -> Staged:
    """Build the .cf of a sendmail.mc text and its fragment; check that sendmail starts with it.

    Args:
        text: The .mc, latin-1 decoded; its managed block, if any, includes `paths.fragment`.
        fragment: What the fragment would hold; None where there is no block.

    Raises:
        StageFailed: m4 or sendmail refuses; all that they said is in the message.
    """
    staged = build(paths, text, fragment, label=label, run_dir=run_dir)
    try:
        if staged.model.faults:
            raise StageFailed(f"{label}: " + "; ".join(staged.model.faults))
        check_start(paths, staged.cf_path, label)
    except BaseException:
        staged.discard()
        raise
    return staged


def build(paths: HostPaths, text: str, fragment: str | None, *, label: str, run_dir: str = RUN_DIRECTORY) -> Staged:
    """Run m4 alone; see `stage`."""
    directory = private_directory(label, run_dir)
    try:
        uid, gid = _m4_user(paths)
        sources = directory / "src"
        make_folders(str(sources), mode=0o750, owner=(-1, gid))
        staged_text = text
        if fragment is not None:
            _write(sources / "dkconf.m4", mc.encode(fragment), gid)
            block = mc.block(text)
            if block is None:
                raise StageFailed(f"{paths.sendmail_mc}: has no managed block that includes the fragment")
            staged_text = mc.insert_block(mc.remove_block(text), str(sources / "dkconf.m4"))
        _write(sources / "sendmail.mc", mc.encode(staged_text), gid)
        octets = _run_m4(paths, sources, uid, gid, label)
        cf_path = directory / "sendmail.cf"
        # sendmail as root reads it, and as RunAsUser once more after it has dropped its privileges.
        _write(cf_path, octets, gid)
        return Staged(directory, text, fragment, octets, str(cf_path), cf.parse(octets.decode("latin-1")))
    except BaseException:
        remove_tree(str(directory))
        raise


def baseline(
    paths: HostPaths, live_mc: str, live_fragment: str | None, live_cf: bytes, *, run_dir: str = RUN_DIRECTORY
) -> Staged:
    """Build the host's unchanged sources, and return that build if it says the same as the live .cf.

    Raises:
        BaselineDiffers: Each difference is one refusal.
        StageFailed: The present sources cannot even be built.
    """
    staged = build(paths, live_mc, live_fragment, label="live", run_dir=run_dir)
    found = cf.difference(staged.model, cf.parse(live_cf.decode("latin-1")))
    if found:
        staged.discard()
        way_on = f"bring {paths.sendmail_mc} in line with it, or build and install it by hand first"
        raise BaselineDiffers(
            [
                Refusal("", f"{paths.sendmail_cf} is not what {paths.sendmail_mc} gives: {words}", way_on)
                for words in found
            ]
        )
    return staged


def check_start(paths: HostPaths, cf_path: str, label: str) -> None:
    """Check that sendmail starts with a .cf.

    Raises:
        StageFailed: It does not, with its own words.
    """
    try:
        done = subprocess.run(
            [paths.sendmail, "-C", cf_path, "-bs"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={"PATH": PATH},
            cwd="/",
            timeout=START_TIMEOUT_SECONDS,
            check=False,
        )
    except OSError as error:
        raise StageFailed(f"{paths.sendmail}: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise StageFailed(f"{label}: sendmail did not start within {START_TIMEOUT_SECONDS} s") from error
    if done.returncode:
        said = _words(done.stderr + done.stdout).replace(cf_path, paths.sendmail_cf)
        raise StageFailed(f"{label}: sendmail would not start with it (status {done.returncode}): {said}")


def meant(
    candidate: CfModel,
    live: CfModel,
    filters: Sequence[MilterFilter],
    managed_before: Collection[str],
    taken_over: Collection[str] = (),
) -> list[str]:
    """Return in words how a candidate differs from what was meant; [] = it is just that.

    Meant is the live model, in which the managed filters are those of `filters` in their order, and every
    filter that is not managed stays as it is.

    Args:
        managed_before: Names that the live fragment defines.
        taken_over: Names whose hand-written calls move into the fragment now.
    """
    wanted = {one.name: one for one in filters}
    foreign = {n: x for n, x in live.filters.items() if n not in managed_before and n not in taken_over}
    found = list(candidate.faults)
    found += [f"filter {n} is defined elsewhere in sendmail.mc too; --take-over {n}" for n in wanted if n in foreign]
    for name, one in wanted.items():
        built = candidate.filters.get(name)
        if built is None:
            found.append(f"filter {name} is missing")
            continue
        for what, is_so, should in (
            ("S=", _same_place(built.socket), _same_place(one.socket)),
            ("on failure", built.on_failure, one.on_failure),
            ("T=", dict(built.timeouts), _timeouts(one)),
        ):
            if is_so != should:
                found.append(f"filter {name}: {what} is {is_so}, meant was {should}")
    found += [f"filter {n} is there, and was not meant" for n in candidate.filters if n not in {**wanted, **foreign}]
    found += [f"filter {n} has changed" for n, x in foreign.items() if candidate.filters.get(n) != x]
    for what, names, should_be in (
        ("managed filters", wanted, [n for n, one in wanted.items() if one.enabled]),
        ("other filters", foreign, [n for n in live.input_filters if n in foreign]),
    ):
        called = [n for n in candidate.input_filters if n in names]
        if called != should_be:
            said = ", ".join(called) or "none"
            found.append(f"{what} are called as {said}, meant was {', '.join(should_be) or 'none'}")
    for daemon in candidate.daemons:
        for name, one in wanted.items():
            if daemon.filters is not None and one.enabled != (name in daemon.filters):
                calls = "is not called" if one.enabled else "is still called"
                found.append(f"daemon {daemon.name} has a filter list of its own, by which {name} {calls}")
    return found + [
        words
        for words in cf.difference(live, candidate, milter_options=False)
        if not words.startswith(("filter ", "filters "))
    ]


def _timeouts(one: MilterFilter) -> dict[str, int]:
    times = one.timeouts
    return {"C": times.connect, "S": times.send, "R": times.read, "E": times.end_of_message}


def _same_place(socket: str) -> str:
    """Return an S= in one spelling: local: for unix:, no brackets."""
    try:
        return str(endpoint.parse(socket))
    except endpoint.EndpointError:
        return socket


def _m4_user(paths: HostPaths) -> tuple[int, int]:
    """Return (uid, gid) for m4: nobody, with the group that may read the sources (0640 on Debian)."""
    try:
        uid = pwd.getpwnam("nobody").pw_uid
    except KeyError as error:
        raise StageFailed("user nobody: not found on this host; m4 runs as this user") from error
    try:
        gid = grp.getgrnam(paths.mail_group).gr_gid
    except KeyError as error:
        raise StageFailed(f"group {paths.mail_group}: not found on this host; is sendmail installed?") from error
    return uid, gid


def _write(path: Path, octets: bytes, gid: int) -> None:
    """Write a new file, 0640, of our own and the given group."""
    write_file(str(path), octets, mode=0o640, owner=(0, gid) if os.geteuid() == 0 else NOBODYS, replace=False)


def _limit() -> None:
    """Bound what m4 may use; runs in the child."""
    resource.setrlimit(resource.RLIMIT_CPU, (M4_CPU_SECONDS, M4_CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (M4_MAX_OUTPUT_OCTETS, M4_MAX_OUTPUT_OCTETS))
    resource.setrlimit(resource.RLIMIT_AS, (M4_MAX_MEMORY_OCTETS, M4_MAX_MEMORY_OCTETS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def m4_argv(paths: HostPaths, source: str) -> list[str]:
    """Return the command that builds a .mc: FreeBSD reads the cf library on the command line."""
    command = [paths.m4]
    if paths.cf_dir:
        command.append(f"-D_CF_DIR_={paths.cf_dir}")
    if paths.cf_m4:
        command.append(paths.cf_m4)
    return [*command, source]


def _run_m4(paths: HostPaths, sources: Path, uid: int, gid: int, label: str) -> bytes:
    source = str(sources / "sendmail.mc")
    root = os.geteuid() == 0
    # What it writes goes to files, for which RLIMIT_FSIZE holds; a pipe would have no limit.
    with tempfile.TemporaryFile(dir=sources.parent) as output, tempfile.TemporaryFile(dir=sources.parent) as errors:
        try:
            done = subprocess.run(
                m4_argv(paths, source),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                env={"PATH": PATH},
                cwd="/",
                # Its own session: a program that the .mc names could type into root's terminal.
                start_new_session=True,
                user=uid if root else None,
                group=gid if root else None,
                extra_groups=[] if root else None,
                umask=0o077,
                preexec_fn=_limit,
                timeout=M4_TIMEOUT_SECONDS,
                check=False,
            )
        except OSError as error:
            raise StageFailed(f"{paths.m4}: {error.strerror}; install m4") from error
        except subprocess.TimeoutExpired as error:
            raise StageFailed(f"{label}: m4 did not end within {M4_TIMEOUT_SECONDS} s") from error
        output.seek(0)
        octets = output.read(M4_MAX_OUTPUT_OCTETS)
        errors.seek(0)
        words = errors.read(M4_MAX_WORDS_OCTETS)
    lines = [n for n in words.decode("utf-8", "replace").splitlines() if _HARMLESS not in n]
    said = "; ".join(lines).replace(source, paths.sendmail_mc)
    said = said.replace(str(sources / "dkconf.m4"), paths.fragment)
    if done.returncode:
        raise StageFailed(f"{label}: m4 ended with status {done.returncode}: {said}")
    if said:
        raise StageFailed(f"{label}: m4 complains: {said}")
    if not octets.strip():
        raise StageFailed(f"{label}: m4 wrote nothing; does {paths.sendmail_mc} include cf.m4?")
    return octets


def _words(octets: bytes) -> str:
    return "; ".join(line.strip() for line in octets.decode("utf-8", "replace").splitlines() if line.strip())
