"""Services: names, argv, units and option files per platform and service manager."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dkconf.desired import NotRenderable, build, services
from dkconf.desired.state import DesiredState, ManagedFile
from dkconf.inventory.model import (
    Domain,
    Filter,
    FilterService,
    Host,
    Inventory,
    Paths,
    Platform,
    Selector,
    ServiceManager,
)
from tests.patience import wait_until

from .inventories import HOST, one_host

OURS = Filter("local:/run/dkconf/signer.sock")
DK = Filter("inet:8892@127.0.0.1", program="dk-filter")
DK_DOMAIN = Domain({"s1": Selector()}, sign=("domainkeys",))


def file_of(state: DesiredState, role: str) -> ManagedFile:
    """The one file of that role."""
    (found,) = [f for f in state.files if f.role == role]
    return found


@pytest.mark.parametrize(
    ("platform", "manager", "name", "path"),
    [
        ("debian", "systemd", "dkconf-signer", "/etc/systemd/system/dkconf-signer.service"),
        ("debian", "sysv", "dkconf-signer", "/etc/init.d/dkconf-signer"),
        ("rhel", "systemd", "dkconf-signer", "/etc/systemd/system/dkconf-signer.service"),
        ("freebsd", "rcd", "dkconf_signer", "/usr/local/etc/rc.d/dkconf_signer"),
    ],
)
def test_dkconf_filter_gets_a_unit_or_script(platform: Platform, manager: ServiceManager, name: str, path: str) -> None:
    """One per service manager, root's, with the right name."""
    state = build(one_host(OURS, platform=platform, service_manager=manager), HOST, {})

    assert state.services[0].name == name
    assert state.services[0].managed
    assert state.services[0].running
    assert [f.owner for f in state.files if f.path == path] == ["root"]


@pytest.mark.parametrize("manager", ["systemd", "sysv", "rcd"])
def test_paths_unit_dir_holds_for_scripts_too(manager: ServiceManager) -> None:
    """hosts.HOST.paths.unit_dir."""
    state = build(one_host(OURS, service_manager=manager, paths=Paths(unit_dir="/opt/init")), HOST, {})

    assert [f.path.rpartition("/")[0] for f in state.files if f.role in ("unit", "init-script")] == ["/opt/init"]


def test_direct_has_an_argv_and_no_unit() -> None:
    """dkconf starts the program itself, and needs its pid file."""
    state = build(one_host(OURS, service_manager="direct"), HOST, {})

    assert state.services[0].argv == (
        "/usr/local/bin/dkconf-filter",
        "--config",
        "/etc/dkconf-filter/signer.toml",
    )
    assert state.services[0].pid_file == "/run/dkconf-signer.pid"
    assert {f.role for f in state.files} == {"fragment", "filter-settings"}
    assert b'pid_file = "/run/dkconf-signer.pid"' in file_of(state, "filter-settings").content


def test_the_hosts_own_argv_and_service_name_hold() -> None:
    """hosts.HOST.services.NAME."""
    entry = FilterService(service="mysigner.service", argv=("/opt/f", "-x"), pid_file="/run/f.pid")
    direct = build(one_host(OURS, service_manager="direct", services={"signer": entry}), HOST, {})
    systemd = build(one_host(OURS, services={"signer": entry}), HOST, {})

    assert direct.services[0].argv == ("/opt/f", "-x")
    assert direct.services[0].pid_file == "/run/f.pid"
    assert systemd.services[0].name == "mysigner"
    assert file_of(systemd, "unit").path == "/etc/systemd/system/mysigner.service"


def test_a_disabled_filter_shall_not_run() -> None:
    """sendmail lets go of it first; that order is apply's."""
    assert not build(one_host(OURS, disabled_filters=("signer",)), HOST, {}).services[0].running


def test_an_external_filter_is_left_alone_unless_its_service_is_named() -> None:
    """dkconf only tells sendmail about it."""
    spec = Filter("inet:1@127.0.0.1", program="external")
    alone = build(one_host(spec), HOST, {})
    named = build(one_host(spec, services={"signer": FilterService(service="opendkim")}), HOST, {})

    assert [f.role for f in alone.files] == ["fragment"]
    assert not alone.services[0].managed
    assert alone.keys == ()
    assert alone.users == ()
    assert named.services[0].managed
    assert named.services[0].name == "opendkim"


def test_debians_dk_filter_reads_its_defaults() -> None:
    """The init script adds -u, -P and -p $SOCKET."""
    state = build(one_host(DK, domain=DK_DOMAIN), HOST, {})
    file = file_of(state, "dk-filter-options")

    assert file.path == "/etc/default/dk-filter"
    assert state.services[0].name == "dk-filter"
    assert b"\nSOCKET=inet:8892@127.0.0.1\n" in file.content
    assert b"-d example.com" in file.content
    (options,) = [line for line in file.content.splitlines() if line.startswith(b"DAEMON_OPTS=")]
    assert b" -p " not in options
    assert b" -u " not in options


def test_debians_script_has_its_own_user() -> None:
    """Another in the inventory would not be obeyed, and could not read its keys."""
    spec = Filter("inet:8892@127.0.0.1", program="dk-filter", user="other")

    with pytest.raises(NotRenderable, match="dk-filter as dk-filter"):
        build(one_host(spec, domain=DK_DOMAIN), HOST, {})
    assert build(one_host(spec, domain=DK_DOMAIN, service_manager="direct"), HOST, {}).keys[0].owner == "other"


def test_freebsds_dk_filter_reads_rc_variables() -> None:
    """The port's script is milter-dk; its variables carry no dash."""
    state = build(one_host(DK, domain=DK_DOMAIN, platform="freebsd", service_manager="rcd"), HOST, {})
    file = file_of(state, "dk-filter-options")

    assert file.path == "/etc/rc.conf.d/milterdk"
    assert file.group == "wheel"
    assert b'milterdk_enable="YES"\nmilterdk_flags=\'' in file.content
    assert b"-u mailnull'" in file.content
    assert state.services[0].name == "milter-dk"
    assert state.keys[0].owner == "mailnull"
    assert state.keys[0].path.startswith("/usr/local/etc/dkconf-filter/keys/")


def test_rhel_has_no_dk_filter_package_so_a_unit_is_written() -> None:
    """In the foreground, under systemd."""
    state = build(one_host(DK, domain=DK_DOMAIN, platform="rhel"), HOST, {})

    assert b"ExecStart=/usr/sbin/dk-filter -f -b sv" in file_of(state, "unit").content


def test_dk_filter_under_direct_is_a_plain_argv() -> None:
    """With everything that an init script would add."""
    argv = build(one_host(DK, domain=DK_DOMAIN, service_manager="direct"), HOST, {}).services[0].argv

    assert argv[0] == "/usr/sbin/dk-filter"
    assert argv[-6:] == ("-p", "inet:8892@127.0.0.1", "-P", "/var/run/dk-filter/dk-filter.pid", "-u", "dk-filter")


def test_a_value_that_debians_script_would_split_is_refused() -> None:
    """The script uses $DAEMON_OPTS unquoted; under `direct` the same value is fine."""
    spec = Filter("inet:8892@127.0.0.1", program="dk-filter", macros={"x": "a b"})

    with pytest.raises(NotRenderable, match="/etc/default/dk-filter"):
        build(one_host(spec, domain=DK_DOMAIN), HOST, {})
    assert "x=a b" in build(one_host(spec, domain=DK_DOMAIN, service_manager="direct"), HOST, {}).services[0].argv


def test_the_sockets_directory_is_safe_for_sendmail() -> None:
    """Not writable by group or world, and the filter's."""
    state = build(one_host(OURS), HOST, {})
    (directory,) = [d for d in state.directories if d.runtime]

    assert (directory.path, directory.mode, directory.owner) == ("/run/dkconf", 0o755, "dkconf")
    assert b"\nRuntimeDirectory=dkconf\nRuntimeDirectoryMode=0755\n" in file_of(state, "unit").content


def test_a_socket_elsewhere_is_let_through_the_sandbox() -> None:
    """ProtectSystem=strict would keep the filter from making it."""
    state = build(one_host(Filter("local:/var/spool/milter/x.sock")), HOST, {})

    assert b"\nReadWritePaths=/var/spool/milter\n" in file_of(state, "unit").content
    assert b"RuntimeDirectory" not in file_of(state, "unit").content


def test_a_low_port_brings_its_capability() -> None:
    """And nothing else brings one."""
    low = build(one_host(Filter("inet:891@127.0.0.1")), HOST, {})
    high = build(one_host(Filter("inet:8891@127.0.0.1")), HOST, {})

    assert b"CapabilityBoundingSet=CAP_NET_BIND_SERVICE\n" in file_of(low, "unit").content
    assert b"CapabilityBoundingSet=\n" in file_of(high, "unit").content


def test_two_filters_of_one_file_are_refused() -> None:
    """Two dk-filters need two service names."""
    inventory = one_host(DK, domain=DK_DOMAIN, filters=("signer", "other"))
    inventory.filters["other"] = DK  # type: ignore[index]

    with pytest.raises(NotRenderable, match="services"):
        build(inventory, HOST, {})


def test_filters_of_two_users_do_not_share_a_runtime_directory() -> None:
    """Only one of them could make its socket there."""
    inventory = one_host(OURS, filters=("signer", "other"))
    inventory.filters["other"] = Filter("local:/run/dkconf/o.sock", user="somebody")  # type: ignore[index]

    with pytest.raises(NotRenderable, match="own directory"):
        build(inventory, HOST, {})


HARD = Paths(filter_config='/etc/it\'s 100% "of" $HOME')


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
@pytest.mark.parametrize("spec", [OURS, Filter("local:/var/a%b/x.sock"), Filter("inet:891@127.0.0.1")])
def test_systemd_takes_the_unit(spec: Filter, tmp_path: Path) -> None:
    """No warning about any line, hard values included."""
    unit = tmp_path / "dkconf-signer.service"
    content = file_of(build(one_host(spec, paths=HARD), HOST, {}), "unit").content
    unit.write_bytes(content.replace(b"/usr/local/bin/dkconf-filter", b"/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
    )

    assert unit.name not in done.stderr, done.stderr


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_finds_the_unit_well_locked(tmp_path: Path) -> None:
    """`systemd-analyze security` rates the exposure; 0 is none, 10 all."""
    unit = tmp_path / "dkconf-signer.service"
    unit.write_bytes(file_of(build(one_host(OURS), HOST, {}), "unit").content)
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=25", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-600:] + done.stderr


@pytest.mark.parametrize("platform,manager", [("debian", "sysv"), ("freebsd", "rcd")])
def test_scripts_are_posix_shell(platform: Platform, manager: ServiceManager, tmp_path: Path) -> None:
    """`sh -n` reads them, hard values included."""
    inventory = one_host(OURS, platform=platform, service_manager=manager, paths=HARD)
    script = tmp_path / "script"
    script.write_bytes(file_of(build(inventory, HOST, {}), "init-script").content)

    assert subprocess.run(["sh", "-n", str(script)], check=False).returncode == 0


FAKE_DAEMON = """#!/bin/sh
[ "$1 $2" = "--config {settings}" ] || exit 64
# A shell of its own shows the same command line, as a daemon does that went into the background.
( trap 'echo HUP >> {heard}' HUP; trap 'exit 0' TERM; : > {pid_file}.ready; while :; do sleep 0.05; done ) \
    >/dev/null 2>&1 &
# A daemon is up when it can be told.
until [ -e {pid_file}.ready ]; do sleep 0.05; done
echo $! > {pid_file}
"""


@dataclass
class Script:
    """A System V script of ours, and a daemon that it can start."""

    path: Path
    pid_file: Path
    heard: Path
    program: Path

    def run(self, verb: str) -> int:
        # The tests may run where SIGHUP is ignored (nohup), and a shell cannot trap what is ignored at its start.
        heard = ["env", "--default-signal=HUP", "sh", str(self.path), verb]
        return subprocess.run(heard, capture_output=True, check=False, timeout=60).returncode

    @property
    def pid(self) -> int:
        return int(self.pid_file.read_text())


@pytest.fixture
def script(tmp_path: Path) -> Iterator[Script]:
    program, pid_file, heard = tmp_path / "it's a filter", tmp_path / "pid", tmp_path / "heard"
    settings = "/etc/dkconf-filter/signer.toml"
    program.write_text(FAKE_DAEMON.format(settings=settings, pid_file=pid_file, heard=heard))
    program.chmod(0o755)
    inventory = one_host(
        Filter("inet:8891@127.0.0.1", user=pwd.getpwuid(os.getuid()).pw_name),
        service_manager="sysv",
        services={"signer": FilterService(pid_file=str(pid_file))},
        paths=Paths(dkconf_filter=str(program)),
    )
    path = tmp_path / "script"
    path.write_bytes(file_of(build(inventory, HOST, {}), "init-script").content)
    made = Script(path, pid_file, heard, program)
    yield made
    made.run("stop")


def test_the_system_v_script_starts_tells_and_stops(script: Script) -> None:
    """With a program that only sleeps: the statuses are those of LSB."""
    assert [script.run("status"), script.run("stop"), script.run("reload")] == [3, 0, 1]
    assert [script.run("start"), script.run("start"), script.run("status")] == [0, 0, 0]
    pid = script.pid
    assert script.run("reload") == 0
    wait_until(script.heard.exists, "the daemon heard nothing")
    assert script.run("stop") == 0
    assert not Path(f"/proc/{pid}").exists()
    assert [script.run("status"), script.run("nonsense")] == [3, 2]


@pytest.mark.parametrize("text", ["{}", "{}\n", "{} \n", "-{}", "0{}", "{}\n1\n", "{} 1", "x{}", "", "\0" * 9])
@pytest.mark.parametrize("victim", ["another program", "another user, the same command line"])
def test_the_system_v_script_signals_nobody_else(script: Script, text: str, victim: str) -> None:
    """Whatever the filter's user writes into the pid file: it is not running, and the other process goes on."""
    same = [str(script.program), "--config", "/etc/dkconf-filter/signer.toml"]
    code = "import os, sys; {0}print(flush=True); sys.stdin.read()"
    if victim == "another program":
        argv = [sys.executable, "-c", code.format("")]
    elif os.getuid() == 0:
        argv = [sys.executable, "-c", code.format("os.setuid(65534); "), *same]
    else:
        pytest.skip("needs a second user")
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        script.pid_file.write_text(text.format(process.pid))
        assert [script.run("status"), script.run("reload"), script.run("stop")] == [3, 1, 0]
        assert process.poll() is None
        process.kill()
    script.pid_file.unlink()


def test_the_system_v_script_waits_for_no_pipe(script: Script) -> None:
    """A pid file that is none: a pipe that nobody writes to, a folder, a link to nowhere."""
    os.mkfifo(script.pid_file)
    assert script.run("status") == 3
    script.pid_file.unlink()
    script.pid_file.mkdir()
    assert script.run("status") == 3
    script.pid_file.rmdir()
    script.pid_file.symlink_to("/nonexistent")
    assert script.run("status") == 3
    script.pid_file.unlink()


@pytest.mark.parametrize(
    ("entry", "manager", "expected"),
    [
        (FilterService(argv=("/usr/sbin/sendmail", "-bd")), "systemd", ("/usr/sbin/sendmail", "-bd")),
        (FilterService(service="sendmail"), "systemd", ("systemctl", "restart", "sendmail.service")),
        (FilterService(service="sendmail.service"), "systemd", ("systemctl", "restart", "sendmail.service")),
        (FilterService(service="sendmail"), "sysv", ("service", "sendmail", "start")),
        (FilterService(service="sendmail"), "rcd", ("service", "sendmail", "onestart")),
        (FilterService(service="sendmail"), "direct", ()),
        (FilterService(), "systemd", ()),
    ],
)
def test_how_sendmail_is_started_again(
    entry: FilterService, manager: ServiceManager, expected: tuple[str, ...]
) -> None:
    """By its argv, or by the service manager's command for its name."""
    assert expected == services.start_sendmail(entry, manager)
    host = Host(service_manager=manager, services={"sendmail": entry})
    assert expected == build(Inventory({}, {}, {"mx": host}), "mx", {}).sendmail_argv


def test_a_name_of_a_service_is_no_path() -> None:
    """It becomes a word of a command."""
    with pytest.raises(NotRenderable, match="no service name"):
        services.start_sendmail(FilterService(service="../x"), "systemd")
