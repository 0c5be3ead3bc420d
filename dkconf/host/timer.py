"""The clock behind `--confirm-timeout`: a timer unit where systemd runs this machine, else a detached
watcher.

Both start `dkconf.operations.watcher` by its lasting name. It knows the deadline from the journal alone: when the
change was confirmed or undone meanwhile, it has nothing to do. After a reboot the deadline counts as over: a unit
that runs before sendmail, or the next run, or the host's own start script (`dkconf recover --boot`),
honours it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import dkconf
from dkconf.errors import DkconfError
from dkconf.files.making import make_folders
from dkconf.files.removing import remove_file
from dkconf.files.standing import open_to_append
from dkconf.files.writing import make_link, write_file

ENTRY = "dkconf.apply.watcher"
"""What is armed. The name stays whatever becomes of the rooms: a timer that one dkconf has armed may go off under
another, older or newer."""
UNIT = "dkconf-revert"
BOOT_UNIT = "/etc/systemd/system/dkconf-recover.service"
BOOT_WANTS = "/etc/systemd/system/multi-user.target.wants/dkconf-recover.service"
COMMAND_SECONDS = 30


def under_systemd() -> bool:
    """Return whether systemd is process 1 here, and sees the files that we see."""
    if not os.path.isdir("/run/systemd/system"):
        return False
    try:
        return os.readlink("/proc/self/ns/mnt") == os.readlink("/proc/1/ns/mnt")
    except OSError:
        return False


def watcher_argv(state_dir: str, run: str) -> list[str]:
    """Return the command that undoes the change `run` when its time is over."""
    return [sys.executable, "-m", ENTRY, state_dir, run]


def environment() -> dict[str, str]:
    """Return the environment of the watcher: it must find this very package, installed or not."""
    package = str(Path(dkconf.__file__).resolve().parent.parent)
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": package}


def arm(state_dir: str, seconds: int, run: str, systemd: bool) -> None:
    """Have the change undone in `seconds` unless it is confirmed, whatever becomes of this process.

    Raises:
        DkconfError: It cannot be promised, so the change must not begin.
    """
    if systemd and under_systemd():
        _arm_boot(state_dir)
        _arm_systemd(state_dir, seconds, run)
    else:
        _arm_watcher(state_dir, run)


def disarm(state_dir: str) -> None:
    """Take the timer back; a watcher ends by itself when the journal is gone."""
    if under_systemd():
        for path in (BOOT_WANTS, BOOT_UNIT):
            remove_file(path)
        # The timer alone: we may be running in its service, which ends by itself.
        with suppress(DkconfError):
            _run(["systemctl", "stop", f"{UNIT}-*.timer"], quiet=True)


def _arm_systemd(state_dir: str, seconds: int, run: str) -> None:
    settings = [f"--setenv={name}={value}" for name, value in environment().items()]
    timing = [f"--on-active={seconds}", "--timer-property=AccuracySec=1s"]
    _run(
        [
            "systemd-run",
            "--quiet",
            "--collect",
            f"--unit={UNIT}-{run}",
            *timing,
            *settings,
            *watcher_argv(state_dir, run),
        ]
    )


def _arm_boot(state_dir: str) -> None:
    """Have a reboot honour the deadline before sendmail starts."""
    python = environment()["PYTHONPATH"]
    text = (
        "[Unit]\n"
        "Description=Undo an unconfirmed change of the mail filters before sendmail starts\n"
        "Before=sendmail.service\n"
        "DefaultDependencies=no\n"
        "After=local-fs.target\n"
        f"RequiresMountsFor={state_dir} /etc\n"
        f"ConditionPathExists={state_dir}/journal/journal.json\n\n"
        "[Service]\n"
        "Type=oneshot\n"
        f'Environment="PYTHONPATH={python}"\n'
        f"ExecStart={sys.executable} -m {ENTRY} {state_dir} boot\n"
    )
    write_file(BOOT_UNIT, text.encode(), mode=0o644)
    make_folders(os.path.dirname(BOOT_WANTS), mode=0o755)
    make_link(BOOT_WANTS, BOOT_UNIT)
    _run(["systemctl", "daemon-reload"])


def _arm_watcher(state_dir: str, run: str) -> None:
    """Start a process in a session of its own: no terminal, no parent that it would die with."""
    log = open_to_append(f"{state_dir}/watcher.log", mode=0o600)
    try:
        process = subprocess.Popen(
            watcher_argv(state_dir, run),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=environment() | {k: v for k, v in os.environ.items() if k == "TZ"},
            start_new_session=True,
            close_fds=True,
        )
    except OSError as exc:
        raise DkconfError(f"the watcher for --confirm-timeout cannot be started: {exc}") from exc
    finally:
        os.close(log)
    # It outlives us: nobody waits for it, and that is no fault.
    process.returncode = 0


def _run(argv: list[str], *, quiet: bool = False) -> None:
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=COMMAND_SECONDS, check=False)
    except (OSError, subprocess.SubprocessError) as exc:
        raise DkconfError(f"{argv[0]}: {exc}") from exc
    if done.returncode and not quiet:
        said = done.stderr.decode("utf-8", "replace").strip()
        raise DkconfError(f"{' '.join(argv[:2])}: status {done.returncode}: {said}")
