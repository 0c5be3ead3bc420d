"""`dkconf-filter`: the order of a start, and the exit statuses.

    parse, check settings and keys -> find the user -> open the sockets -> background -> pid file
    -> become the user, give up what could lead back -> workers -> ready

A failure before "ready" reaches whoever started us, as a line on standard error and as exit status: 64 usage,
65 unknown user or group, 69 socket, 70 software, 71 fork, 77 user not to be had, 78 settings or keys.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Sequence
from typing import Final

from dkconf import __version__
from dkconf.filter import args
from dkconf.filter.config import Settings, SettingsError
from dkconf.filter.report import summary
from dkconf.server import background, journal, listen, privileges
from dkconf.server.fault import EX_CONFIG, EX_OK, EX_SOFTWARE, StartFailure
from dkconf.server.load import Loaded, Loader
from dkconf.server.notify import Notifier
from dkconf.server.supervisor import Supervisor

PROGRAM: Final = "dkconf-filter"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the filter; return the exit status."""
    background.fill_standard_descriptors()
    arguments = sys.argv[1:] if argv is None else list(argv)
    loader = Loader(arguments, PROGRAM)
    try:
        invocation = loader.parse()
        if invocation.help_text:
            sys.stdout.write(invocation.help_text)
            return EX_OK
        if invocation.show_version:
            sys.stdout.write(f"{PROGRAM} v{__version__}\n")
            return EX_OK
        loaded = loader.load(invocation)
    except args.CommandLineError as error:
        journal.stderr_line(str(error).rstrip("\n"))
        return error.exit_status
    except SettingsError as error:
        for problem in error.problems:
            journal.stderr_line(f"{PROGRAM}: {problem}")
        return EX_CONFIG
    if invocation.check_only:
        return _check(loader, loaded)
    return _start(loader, loaded)


def _check(loader: Loader, loaded: Loaded) -> int:
    """`-n`: say that all is well, with what is worth knowing."""
    for note in (*loaded.invocation.notes, *loaded.engine.notes):
        journal.stderr_line(f"{PROGRAM}: warning: {note}")
    user = loaded.bundle.settings.user
    try:
        if user:
            identity = privileges.find(user)
            if os.geteuid() == 0:
                privileges.drop(identity)
                for note in loader.closed(loaded.bundle):
                    journal.stderr_line(f"{PROGRAM}: warning: {note}")
    except StartFailure as error:
        journal.stderr_line(f"{PROGRAM}: {error}")
        return error.exit_status
    return EX_OK


def _start(loader: Loader, loaded: Loaded) -> int:
    settings = loaded.bundle.settings
    opened: list[listen.Listener] = []
    waiter = background.Waiter()
    pid_file = background.PidFile(settings.pid_file) if settings.pid_file else None
    try:
        identity = privileges.find(settings.user) if settings.user else None
        # A SIGHUP before anybody listens for it must not be the end; the settings are new anyway.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        _set_limits()
        opened.append(_milter_listener(settings))
        if settings.metrics:
            opened.append(listen.open_listener(settings.metrics, 0o660))
        if not loaded.invocation.foreground:
            waiter = background.detach(keep_stderr=settings.log == "stderr")
        log = journal.Log(settings.log, settings.log_format, PROGRAM)
        if pid_file is not None:
            _write_pid(pid_file, log)
        if identity is not None:
            for listener in opened:
                # As if the user had opened it, which is how dk-filter did: the group is theirs unless one is named.
                listen.owner_for(listener, identity.uid, -1 if settings.socket_group else identity.gid)
        _become(identity, log)
        status = _supervise(loader, loaded, opened, log, waiter, pid_file)
    except StartFailure as error:
        journal.stderr_line(f"{PROGRAM}: {error}")
        status = error.exit_status
    except Exception:
        waiter.tell(EX_SOFTWARE)
        raise
    finally:
        for listener in opened:
            listener.close(unlink=True)
        if pid_file is not None:
            pid_file.remove()
    waiter.tell(status or EX_SOFTWARE)
    return status


def _become(identity: privileges.Identity | None, log: journal.Log) -> None:
    """Become the user, if one is named, and give up what is not needed any more."""
    bounded = privileges.empty_bounding_set()
    if os.geteuid() == 0 and not bounded and sys.platform == "linux":
        log(journal.INFO, "the capability bounding set cannot be emptied here; no program is ever executed")
    if identity is not None:
        privileges.drop(identity)
    privileges.confine(privileges.ROOTS_FILES if os.geteuid() == 0 else ())


def _milter_listener(settings: Settings) -> listen.Listener:
    """The socket handed over by a service manager, or the one of the settings."""
    handed = listen.inherited(os.environ, os.getpid())
    if handed:
        return listen.adopt(handed[0], f"fd:{handed[0]}")
    return listen.open_listener(settings.socket, settings.socket_mode, settings.socket_group)


def _supervise(
    loader: Loader,
    loaded: Loaded,
    opened: list[listen.Listener],
    log: journal.Log,
    waiter: background.Waiter,
    pid_file: background.PidFile | None,
) -> int:
    settings = loaded.bundle.settings
    arguments = " ".join(loaded.invocation.arguments)
    log(journal.INFO, f"{PROGRAM} v{__version__} starting (args: {arguments})")
    for note in (*loaded.invocation.notes, *loaded.engine.notes, *loader.closed(loaded.bundle)):
        log(journal.WARNING, note)

    def ready() -> None:
        log(journal.INFO, f"ready on {opened[0].spec}: {summary(settings)}")
        waiter.tell(EX_OK)

    def in_a_worker() -> None:
        waiter.let_go()
        if pid_file is not None:
            pid_file.let_go()
        privileges.confine()

    supervisor = Supervisor(
        loader,
        loaded,
        opened[0],
        opened[1] if len(opened) > 1 else None,
        log,
        Notifier(os.environ),
        on_ready=ready,
        on_fork=in_a_worker,
    )
    status = supervisor.run()
    log(journal.INFO, f"{PROGRAM} v{__version__} terminating with status {status}")
    return status


def _write_pid(pid_file: background.PidFile, log: journal.Log) -> None:
    try:
        pid_file.write(os.getpid())
    except OSError as error:
        log(journal.WARNING, f"can't write pid to {pid_file.path}: {error.strerror}")


def _set_limits() -> None:
    """No core file, which would hold private keys; as many descriptors as we may have.

    Each connection takes one, and each lookup up to three.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, 65536) if hard != resource.RLIM_INFINITY else 65536
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    raise SystemExit(main())
