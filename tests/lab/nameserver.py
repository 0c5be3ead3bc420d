"""BIND in the lab, authoritative for everything below "test."."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Mapping

import dns.exception
import dns.message
import dns.query
import dns.rdatatype

from tests.lab.lab import Lab, LabError, Running, eventually
from tests.lab.namespace import in_network_of
from tests.patience import LAST_RESORT_SECONDS

CONF = """\
options {{
  directory "{directory}"; listen-on {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
  recursion no; pid-file none; session-keyfile none; dnssec-validation no;
}};
controls {{ }};
zone "." {{ type primary; file "{directory}/root.zone"; }};
"""
FIXED = """\
$TTL 60
@ IN SOA ns.example.test. root.example.test. {serial} 3600 600 86400 5
@ IN NS ns.example.test.
ns.example.test. IN A 127.0.0.1
example.test. IN A 127.0.1.1
example.org. IN A 127.0.1.1
mx1.example.test. IN A 127.0.1.1
elsewhere.test. IN A 127.0.1.2
"""


class NameServer:
    """named, answering on 127.0.0.1:53 in the lab once `publish` was called."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.directory = lab.dir / "named"
        self.directory.mkdir()
        self._serial = 0
        self._running: Running | None = None
        self._records: dict[str, str] = {}

    def publish(self, records: Mapping[str, str], zone_lines: str = "") -> None:
        """Add TXT records (absolute name without final dot -> text) and whole zone lines; return once they answer."""
        self._records.update(records)
        self._serial += 1
        lines = [FIXED.format(serial=self._serial)]
        for name, text in self._records.items():
            pieces = (text[start : start + 255] for start in range(0, len(text) or 1, 255))
            lines.append(f"{name}. IN TXT " + " ".join('"' + _escaped(piece) + '"' for piece in pieces) + "\n")
        (self.directory / "root.zone").write_text("".join(lines) + zone_lines)
        if self._running is None:
            (self.directory / "named.conf").write_text(CONF.format(directory=self.directory))
            self._running = self.lab.spawn(
                *("/usr/sbin/named", "-f", "-n", "1", "-c", str(self.directory / "named.conf")), log="named.out"
            )
        else:
            os.kill(self._running.pid, signal.SIGHUP)
        if not eventually(self._answers_now, LAST_RESORT_SECONDS):
            raise LabError("named does not answer: " + "\n".join(self.lab.maillog[-20:]))

    def _answers_now(self) -> bool:
        query = dns.message.make_query(".", dns.rdatatype.SOA)
        try:
            with in_network_of(self.lab.pid, _udp) as sock:
                answer = dns.query.udp(query, "127.0.0.1", timeout=1, sock=sock)
        except (OSError, dns.exception.DNSException):
            return False
        return bool(answer.answer) and answer.answer[0][0].serial == self._serial


def _udp() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setblocking(False)  # dnspython waits by itself, with its timeout
    return made


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
