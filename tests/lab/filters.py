"""Filters to put under the lab's sendmail: the fault milter, Debian's OpenDKIM and OpenDMARC, our own."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
from pathlib import Path

from tests.lab.lab import HERE, Lab, LabError, Running, eventually
from tests.patience import LAST_RESORT_SECONDS


class Fault:
    """The fault milter, running in a lab; see faultmilter.py for the orders it takes."""

    def __init__(self, lab: Lab, port: int = 8891, name: str = "fault") -> None:
        self.lab, self.port, self.name = lab, port, name
        self.control = lab.dir / f"{name}.order"
        self.log = lab.dir / f"{name}.log"
        self._running: Running | None = None
        self.order("ok")

    @property
    def argv(self) -> tuple[str, ...]:
        """How a service manager would start it."""
        script = str(HERE / "faultmilter.py")
        files = ("--control", str(self.control), "--log", str(self.log))
        return (sys.executable, "-S", "-E", script, "--port", str(self.port), *files, "--name", self.name)

    @property
    def equates(self) -> str:
        """The S= of its X line."""
        return f"S=inet:{self.port}@127.0.0.1"

    def order(self, order: str) -> None:
        """Behave so from the next command on."""
        fresh = self.control.with_suffix(".new")
        fresh.write_text(order + "\n")
        fresh.rename(self.control)

    def start(self) -> Fault:
        self._running = self.lab.spawn(*self.argv, log=f"{self.name}.out")
        self.lab.wait_for_port(self.port)
        return self

    def stop(self) -> None:
        if self._running:
            self._running.stop()
            self._running = None

    @property
    def events(self) -> list[str]:
        """What arrived, "STAGE DATA" each."""
        return self.log.read_text().splitlines() if self.log.exists() else []

    def wait_for(self, stage: str, timeout: float = LAST_RESORT_SECONDS) -> None:
        """Return once a command of `stage` has arrived."""
        if not eventually(lambda: any(event.startswith(stage) for event in self.events), timeout):
            raise LabError(f"{self.name}: no {stage} within {timeout:g} s")


class OpenDkim:
    """Debian's OpenDKIM, signing or verifying; `port` on 127.0.0.1."""

    def __init__(self, lab: Lab, port: int = 8892, domain: str = "example.test", selector: str = "s1") -> None:
        self.lab, self.port, self.domain, self.selector = lab, port, domain, selector
        self.key = lab.dir / f"{domain}.{selector}.opendkim.private"
        self._running: Running | None = None

    @property
    def equates(self) -> str:
        return f"S=inet:{self.port}@127.0.0.1"

    def make_key(self) -> None:
        """Make an RSA-2048 key for it, once."""
        if not self.key.exists():
            subprocess.run(["openssl", "genrsa", "-out", str(self.key), "2048"], check=True, capture_output=True)
            self.key.chmod(0o600)

    def record(self) -> str:
        """Return its key record's text."""
        command = ["openssl", "rsa", "-in", str(self.key), "-pubout"]
        pem = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return "v=DKIM1; k=rsa; p=" + "".join(line for line in pem.splitlines() if not line.startswith("-"))

    def start(self, mode: str = "s", *more: str) -> OpenDkim:
        """Start with Mode `mode` ("s", "v" or "sv"); `more` are further lines of opendkim.conf."""
        self.make_key()
        settings = [
            f"Mode {mode}",
            f"Domain {self.domain}",
            f"Selector {self.selector}",
            f"KeyFile {self.key}",
            f"Socket inet:{self.port}@127.0.0.1",
            "Canonicalization relaxed/simple",
            "InternalHosts 127.0.0.1",
            "OversignHeaders From",
            "Syslog yes",
            "SyslogSuccess yes",
            "RequireSafeKeys no",
            "Nameservers 127.0.0.1",
            *more,
        ]
        conf = self._conf()
        conf.write_text("\n".join(settings) + "\n")
        self._running = self.lab.spawn(*self.argv, log="opendkim.out")
        self.lab.wait_for_port(self.port)
        return self

    def _conf(self) -> Path:
        return self.lab.dir / f"opendkim.{self.port}.conf"

    @property
    def argv(self) -> tuple[str, ...]:
        return ("/usr/sbin/opendkim", "-f", "-x", str(self._conf()))

    def stop(self) -> None:
        if self._running:
            self._running.stop(signal.SIGTERM)
            self._running = None


class OnSocket:
    """A filter on a Unix socket below /run of the lab, which is reached from outside as well."""

    def __init__(self, lab: Lab, authserv_id: str) -> None:
        self.lab, self.authserv_id = lab, authserv_id
        self.socket = f"/run/{type(self).__name__}.sock"

    @property
    def equates(self) -> str:
        return f"S=local:{self.socket}"

    def connect(self) -> socket.socket:
        """Return a connection to it."""
        made = socket.socket(socket.AF_UNIX)
        made.settimeout(20)
        try:
            made.connect(str(self.lab.path(self.socket)))
        except OSError:
            made.close()
            raise
        return made

    def _spawn(self, *argv: str) -> None:
        self.lab.spawn(*argv, log=f"{type(self).__name__}.out")
        if not eventually(self._answers, 20):
            raise LabError(f"{argv[0]} does not answer: {self.lab.maillog[-20:]}")

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), self.connect():
            return True
        return False


class OpenDmarc(OnSocket):
    """Debian's OpenDMARC, which believes the Authentication-Results of `authserv_id`."""

    def start(self) -> OpenDmarc:
        """Start it; it asks the lab's name server."""
        settings = [
            f"AuthservID {self.authserv_id}",
            f"TrustedAuthservIDs {self.authserv_id}",
            f"Socket local:{self.socket}",
            "RejectFailures no",
            "SPFSelfValidate no",
            "SPFIgnoreResults yes",
            "Syslog yes",
        ]
        conf = self.lab.dir / "opendmarc.conf"
        conf.write_text("\n".join(settings) + "\n")
        self._spawn("/usr/sbin/opendmarc", "-f", "-c", str(conf))
        return self


class OwnVerifier(OnSocket):
    """dkconf-filter as a verifier, with the DNS of the lab."""

    def start(self) -> OwnVerifier:
        settings = self.lab.dir / "verifier.toml"
        settings.write_text(
            f'socket = "local:{self.socket}"\nlog = "stderr"\nworkers = 1\nroles = ["verify"]\n'
            f'[verifying]\nauthserv_id = "{self.authserv_id}"\n'
        )
        self._spawn("dkconf-filter", "--config", str(settings), "-f")
        return self
