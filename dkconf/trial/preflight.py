"""What a host lacks for dkconf to work on its sendmail: everything at once, before anything is touched."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

from dkconf.desired.state import HostPaths, Service
from dkconf.files.looking import is_file, is_folder, may_read, may_run, may_write
from dkconf.files.reading import FileProblem, read_file
from dkconf.host.services import systemd_runs
from dkconf.probe.hostname import host_name, qualified_name
from dkconf.sendmail import m4, mc

NOBODY = 65534
"""A user and a group that own nothing."""
TIMEOUT_SECONDS = 90
"""More than the 60 s that sendmail sleeps where its host name has no domain."""

MAX_MC_OCTETS = 16 * 1024 * 1024
"""As much as m4 may write; a stock .mc has 5 KiB."""


def preflight(paths: HostPaths, services: Sequence[Service] = (), *, emergency: bool = False) -> list[str]:
    """Return one sentence per thing that is missing, each with what to do; [] = go on.

    Args:
        services: Filters that are to run here: their programs must be there.
        emergency: Only what makes any change impossible. What it takes to build and judge a .cf is not asked for: the
            live one can lose a filter without m4, and a short host name costs a minute, not mail.
    """
    if emergency:
        return [words for check in _ALWAYS if (words := check(paths))]
    found = {check: words for check in _CHECKS if (words := check(paths))}
    programs = [words for service in services if (words := _program(service))]
    if words := _manager(services):
        programs.append(words)
    # This one starts sendmail, which sleeps for a minute on a host without a qualified name.
    if _sendmail not in found and _name not in found and (words := _milter(paths)):
        found[_milter] = words
    return [*found.values(), *programs]


def _program(service: Service) -> str:
    """The program of a filter that dkconf runs; a service without an argv is its package's business."""
    program = service.argv[0] if service.argv else ""
    if not (service.managed and service.running and program.startswith("/")) or may_run(program):
        return ""
    name = os.path.basename(program)
    there = shutil.which(name) or os.path.join(os.path.dirname(sys.executable), name)
    where = f"it is {there} here" if may_run(there) else "install it there"
    return (
        f"{program}: the program of filter {service.filter} is not there; {where}: link it, or name it in the "
        "inventory (hosts.HOST.paths.dkconf_filter or dk_filter, under `direct` services.NAME.argv)"
    )


def _manager(services: Sequence[Service]) -> str:
    """A container or a chroot has no systemd that could start a filter."""
    units = [s.filter for s in services if s.managed and s.running and s.manager == "systemd"]
    if not units or systemd_runs():
        return ""
    return (
        f"systemd does not run here, so it cannot start {' and '.join(units)}; give the host "
        "`service_manager: sysv`, or `direct` with services.NAME.argv"
    )


def _right(paths: HostPaths) -> str:
    if os.geteuid() != 0:
        return f"this user may not change {paths.sendmail_mc}: run dkconf as root"
    return ""


def _writable(paths: HostPaths) -> str:
    """Root may write everywhere but on a file system that is mounted read-only."""
    if os.geteuid() != 0:
        return ""
    files = (paths.sendmail_mc, paths.sendmail_cf, paths.fragment, f"{paths.state_dir}/x")
    directories = dict.fromkeys(os.path.dirname(path) for path in files)
    found = [d for d in directories if is_folder(d) and not may_write(d)]
    return f"{' and '.join(found)}: read-only file system; mount it so that it can be written" if found else ""


def _m4(paths: HostPaths) -> str:
    return "" if may_run(paths.m4) else f"{paths.m4}: not found; install the package m4"


def _sendmail(paths: HostPaths) -> str:
    if may_run(paths.sendmail):
        return ""
    return f"{paths.sendmail}: not found; install sendmail, or set paths.sendmail"


def _sources(paths: HostPaths) -> str:
    missing = [p for p in (paths.sendmail_mc, paths.sendmail_cf) if not is_file(p)]
    if not missing:
        return ""
    return f"{' and '.join(missing)}: not found; set paths.sendmail_mc and paths.sendmail_cf, or run sendmailconfig"


def _library(paths: HostPaths) -> str:
    """The cf library that the .mc includes, or that is read on the command line."""
    path = paths.cf_m4 or _included_library(paths.sendmail_mc)
    if path and not may_read(path):
        return f"{path}: not found; install the package sendmail-cf"
    return ""


def _included_library(mc_path: str) -> str:
    try:
        text = mc.decode(read_file(mc_path, limit=MAX_MC_OCTETS))
    except (FileProblem, FileNotFoundError):
        return ""
    for call in m4.find_calls(text, {"include"}):
        if call.arguments and call.arguments[0].strip().endswith("/cf.m4"):
            return call.arguments[0].strip()
    return ""


def _name(_: HostPaths) -> str:
    if qualified_name():
        return ""
    name = host_name()
    return (
        f'this host\'s name, "{name}", has no domain, so that sendmail sleeps for 60 s at every start: '
        f'put a line like "127.0.1.1 {name}.example.com {name}" into /etc/hosts'
    )


def _milter(paths: HostPaths) -> str:
    compiled = compiled_with(paths.sendmail)
    if "MILTER" in compiled:
        return ""
    return f"{paths.sendmail} is built without MILTER, so it cannot call any filter; install one that is"


def _as_nobody() -> dict[str, Any]:
    """Return what a program is started with so that it has no rights of root's."""
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}


def compiled_with(sendmail: str) -> set[str]:
    """Return the words of sendmail's `Compiled with:`."""
    try:
        done = subprocess.run(
            # The live sendmail.cf lies in a folder of the mail user's: nothing there is read, and not as root.
            [sendmail, "-C", "/dev/null", "-d0.1", "-bt"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            cwd="/",
            timeout=TIMEOUT_SECONDS,
            check=False,
            start_new_session=True,
            **_as_nobody(),
        )
    except (OSError, subprocess.TimeoutExpired):
        return set()
    text = done.stdout.decode("utf-8", "replace")
    _, _, rest = text.partition("Compiled with:")
    return set(rest.partition("=====")[0].split())


_ALWAYS: tuple[Callable[[HostPaths], str], ...] = (_right, _writable, _sendmail, _sources)
_CHECKS = (*_ALWAYS, _m4, _library, _name)
