"""The lab's first process: mounts its private world, says "ready", then only collects what died.

Runs as PID 1 of the lab's namespaces, as `inside.py DIR KEEP...`: DIR is the lab's directory (visible inside and
outside), KEEP are directories (the checkout, the Python in use) that must stay visible if they lie below a directory
that becomes private. Ends, and with it everything in the lab, when its standard input is closed.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

HOSTS = """\
127.0.0.1 localhost
127.0.1.1 mx1.example.test mx1
"""
NODES = ("null", "zero", "full", "random", "urandom", "tty")
PRIVATE = ("/etc", "/var", "/run", "/tmp", "/dev")
# path below /var or /run, mode, owner, group: what Debian's packages make there
DIRECTORIES = (
    ("var/cache", 0o755, "root", "root"),
    ("var/cache/bind", 0o775, "root", "bind"),
    ("var/lib", 0o755, "root", "root"),
    ("var/lib/sendmail", 0o2751, "smmta", "smmsp"),
    ("var/log", 0o755, "root", "root"),
    ("var/mail", 0o2775, "root", "mail"),
    ("var/spool", 0o755, "root", "root"),
    ("var/spool/mqueue", 0o2750, "smmta", "smmsp"),
    ("var/spool/mqueue-client", 0o2770, "smmsp", "smmsp"),
    ("var/tmp", 0o1777, "root", "root"),
    ("run/lock", 0o1777, "root", "root"),
    ("run/named", 0o775, "root", "bind"),
    ("run/opendkim", 0o755, "opendkim", "opendkim"),
    ("run/sendmail", 0o2755, "root", "smmta"),
    ("run/sendmail/msp", 0o2775, "smmsp", "smmsp"),
    ("run/sendmail/mta", 0o2755, "smmta", "smmsp"),
    ("run/sendmail/stampdir", 0o2775, "root", "smmsp"),
    ("etc/mail", 0o2755, "smmta", "smmsp"),
    ("etc/mail/m4", 0o2755, "smmta", "smmsp"),
    ("etc/mail/peers", 0o755, "root", "root"),
    ("etc/mail/smrsh", 0o2755, "smmta", "smmsp"),
)


def mount(*args: str) -> None:
    """Run mount(8); raises CalledProcessError."""
    subprocess.run(["mount", *args], check=True)


def directory(path: Path, mode: int, owner: str, group: str) -> None:
    """Make `path` with exactly this mode, owner and group; unknown names (a package is missing) become root."""
    path.mkdir(exist_ok=True)
    for user, team in ((owner, group), ("root", "root")):
        try:
            shutil.chown(path, user, team)
        except LookupError:
            continue
        break
    path.chmod(mode)


def read_only_outside(lab: Path) -> None:
    """Make every mount that came from outside read-only, but not `lab`."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in points:
        if point == str(lab) or point.startswith(("/proc", "/sys", "/dev")):
            continue
        # Some container file systems cannot be remounted; what is private below does not depend on it.
        subprocess.run(["mount", "-o", "remount,bind,ro", point], check=False, stderr=subprocess.DEVNULL)


def private_dev(dev: Path, log_socket: Path) -> None:
    """Fill `dev` with the few device nodes needed, and the lab's own syslog socket."""
    for name in NODES:
        (dev / name).touch()
        mount("--bind", f"/dev/{name}", str(dev / name))
    (dev / "pts").mkdir()
    if Path("/dev/pts").is_dir():
        mount("--bind", "/dev/pts", str(dev / "pts"))
    (dev / "ptmx").symlink_to("pts/ptmx")
    (dev / "fd").symlink_to("/proc/self/fd")
    (dev / "shm").mkdir(mode=0o777)
    (dev / "log").touch()
    mount("--bind", str(log_socket), str(dev / "log"))


def enter(lab: Path, keep: list[Path]) -> None:
    """Mount the private world."""
    mount("--make-rprivate", "/")
    mount("--bind", str(lab), str(lab))
    read_only_outside(lab)

    world = lab / "world"
    world.mkdir()
    mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", str(world))
    for name in ("etc", "var", "run", "tmp", "dev", "keep"):
        (world / name).mkdir()
    (world / "tmp").chmod(0o1777)
    subprocess.run(["cp", "-a", "/etc/.", str(world / "etc")], check=True)
    shutil.rmtree(world / "etc" / "mail", ignore_errors=True)
    shutil.rmtree(world / "etc" / "dkconf", ignore_errors=True)
    for path, mode, owner, group in DIRECTORIES:
        directory(world / path, mode, owner, group)
    (world / "var" / "run").symlink_to("/run")
    for name, text in (("hosts", HOSTS), ("hostname", "mx1.example.test\n"), ("resolv.conf", "nameserver 127.0.0.1\n")):
        (world / "etc" / name).unlink(missing_ok=True)
        (world / "etc" / name).write_text(text)
    private_dev(world / "dev", lab / "syslog.sock")

    hidden = [lab, *(path for path in keep if not path.is_relative_to(lab))]
    hidden = [path for path in hidden if any(path.is_relative_to(top) for top in PRIVATE)]
    for number, path in enumerate(hidden):
        (world / "keep" / str(number)).mkdir()
        mount("--bind", str(path), str(world / "keep" / str(number)))
    # From here on `world` may be hidden by what is mounted over it: it is reached as the working directory, by
    # relative paths that mount(8) must not make absolute (-c). A recursive bind takes the device nodes along.
    os.chdir(world)
    for top in PRIVATE:
        mount("-c", "--rbind", top[1:], top)
    for number, path in enumerate(hidden):
        path.mkdir(parents=True, exist_ok=True)
        mount("-c", "--bind", f"keep/{number}", str(path))
    os.chdir("/")


def reap_until_closed() -> None:
    """Collect dead children until standard input is closed."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    while True:
        ready, _, _ = select.select([reader, 0], [], [])
        if reader in ready:
            os.read(reader, 4096)
        if 0 in ready and not os.read(0, 1):
            return
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass


def main() -> None:
    lab, *keep = (Path(arg) for arg in sys.argv[1:])
    os.chdir("/")
    os.umask(0o022)
    for command in (
        ["hostname", "mx1.example.test"],
        ["ip", "link", "set", "lo", "up"],
        # A second address, from which a client is not "internal".
        ["ip", "address", "add", "198.51.100.1/32", "dev", "lo"],
    ):
        subprocess.run(command, check=True)
    enter(lab, keep)
    print("ready", flush=True)
    reap_until_closed()


if __name__ == "__main__":
    main()
