"""Measure dkconf-filter and OpenDKIM under the same load, in turn, and print the ratios.

    python bench/filter.py                       all scenarios, five rounds
    python bench/filter.py -r 3 sign-4k cold     some of them (a word selects all whose names hold it)
    python bench/filter.py --list                their names and targets

Both filters sign with the same key file, and verify with the same key from a file (but for `cold`, where each
message has a key of its own, from a name server on this host). Neither logs. Both run all the time; the load, from
`drive.c`, goes to one and then to the other in each round. Figures are medians over the rounds, ratios are medians of
the ratios within a round, since a busy machine slows both. The CPU time per message, of all processes of a filter,
tells what the rates would be on a machine that does nothing else. Status 1 where a target is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench import corpus  # noqa: E402

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
SELECTOR, DOMAIN = "sel", corpus.DOMAIN
# OpenDKIM asks at port 53 only, and its libunbound no server on 127.0.0.0/8: a network namespace has both free.
NAMESERVER, NAMESPACE = "192.0.2.53", f"bench{os.getpid()}"
INSIDE_NAMESPACE = ["ip", "netns", "exec", NAMESPACE]
COLD_KEYS = 2000
INSIDE, OUTSIDE = "127.0.0.1", "192.0.2.7"


@dataclass(frozen=True)
class Scenario:
    """One comparison."""

    name: str
    target: float
    """Least ratio of the rates; 0 = none is asked for."""
    messages: int
    kind: str = "prose"
    octets: int = 4096
    canon: str = "relaxed/relaxed"
    verify: bool = False
    cold: bool = False
    schemes: tuple[str, ...] = ("dkim",)
    drive: tuple[str, ...] = ()
    note: str = field(default="", compare=False)


SCENARIOS = (
    Scenario("sign-4k-relaxed", 4.5, 6000),
    Scenario("sign-4k-simple", 0, 6000, canon="simple/simple"),
    Scenario("sign-4k-domainkeys", 0, 6000, schemes=("domainkeys",), note="against DKIM by OpenDKIM"),
    Scenario("sign-4k-both", 0, 4000, schemes=("domainkeys", "dkim"), note="two signatures against one"),
    Scenario("sign-50k-relaxed", 4, 3000, octets=50_000),
    Scenario("sign-50k-simple", 4, 3000, octets=50_000, canon="simple/simple"),
    Scenario("sign-1m-relaxed", 2, 300, octets=1_000_000),
    Scenario("sign-1m-simple", 4, 300, octets=1_000_000, canon="simple/simple"),
    Scenario("verify-4k-relaxed", 6, 8000, verify=True),
    Scenario("verify-4k-cold", 1, COLD_KEYS, verify=True, cold=True),
    Scenario("verify-50k-relaxed", 4, 3000, verify=True, octets=50_000),
    Scenario("verify-1m-relaxed", 2, 300, verify=True, octets=1_000_000),
    Scenario("verify-1m-simple", 4, 300, verify=True, octets=1_000_000, canon="simple/simple"),
    *(
        Scenario(f"sign-{'1m' if size > 100_000 else '50k'}-{kind}", 1, 200 if size > 100_000 else 2000, kind, size)
        for kind in ("html", "base64", "blanks", "blank-crlf", "crlf", "tab-words")
        for size in (50_000, 1_000_000)
    ),
    Scenario("one-message-per-connection", 1, 4000, drive=("-p", "1")),
    Scenario("200-connections", 1, 6000, drive=("-c", "200", "-p", "1")),
    Scenario("connections-in-turn", 4.5, 6000, drive=("-o",)),
)


class Place:
    """A directory with keys, the compiled driver, and messages as they are needed."""

    def __init__(self, path: Path) -> None:
        from dkconf.crypto.keys import PrivateKey, generate

        self.path = path
        path.chmod(0o755)
        self.key_path = path / "key.pem"
        self.key_path.write_bytes(generate("rsa", 2048))
        self.key_path.chmod(0o600)
        self.key = PrivateKey.load_pem(self.key_path.read_bytes())
        self.drive = path / "drive"
        subprocess.run(["gcc", "-O2", "-o", self.drive, ROOT / "bench" / "drive.c"], check=True)

    def record(self) -> str:
        from dkconf.dkim.keyrecord import format_record

        return format_record("rsa", self.key.public_der).decode()

    def quoted_record(self) -> str:
        text = self.record()
        return " ".join(f'"{text[i : i + 250]}"' for i in range(0, len(text), 250))

    def messages(self, scenario: Scenario) -> list[Path]:
        name = f"{scenario.kind}-{scenario.octets}"
        if not scenario.verify:
            return [corpus.plain(self.path / f"{name}.eml", scenario.kind, scenario.octets)]
        name += "-" + scenario.canon.replace("/", "-")
        if not scenario.cold:
            path = self.path / f"{name}.eml"
            return [corpus.signed(path, self.key, SELECTOR, scenario.canon, scenario.octets, scenario.kind)]
        return [
            corpus.signed(self.path / f"{name}-{i}.eml", self.key, f"s{i}", scenario.canon, scenario.octets)
            for i in range(COLD_KEYS)
        ]

    def load(self, process: Process, scenario: Scenario, messages: list[Path], *more: str) -> dict[str, Any]:
        """Put the load on one filter; return what the driver prints, and the CPU time per message."""
        sock, before = process.socket, process.cpu_seconds()
        client = OUTSIDE if scenario.verify else INSIDE
        argv = [self.drive, "-s", sock, "-n", str(scenario.messages), "-a", client, *scenario.drive, *more, *messages]
        done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{scenario.name}: {done.stderr}")
        result: dict[str, Any] = json.loads(done.stdout)
        result["cpu_us"] = (process.cpu_seconds() - before) / scenario.messages * 1e6
        edits = result["edits"]
        if sum(edits.get(letter, 0) for letter in "hi") < scenario.messages:
            raise SystemExit(f"{scenario.name}: not every message was signed or has a result: {done.stdout}")
        return result


class Process:
    """A filter that runs; its own directory holds settings and socket."""

    def __init__(self, place: Place, name: str) -> None:
        self.path = place.path / name
        self.path.mkdir(exist_ok=True)
        self.socket = self.path / "s"
        self.socket.unlink(missing_ok=True)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, argv: list[str]) -> None:
        with (self.path / "log").open("wb") as log:
            self.process = subprocess.Popen(argv, env=ENVIRONMENT, stdout=log, stderr=log, cwd=self.path)
        deadline = time.monotonic() + 20
        while True:
            with socket.socket(socket.AF_UNIX) as probe:
                try:
                    probe.connect(str(self.socket))
                    break
                except OSError:
                    pass
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise SystemExit(f"{argv[0]} does not start: {(self.path / 'log').read_text()}")
            time.sleep(0.05)
        time.sleep(0.5)

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)

    def pids(self) -> list[int]:
        assert self.process is not None
        pid = self.process.pid
        return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]

    def cpu_seconds(self) -> float:
        """CPU time, user and system, of all its processes so far."""
        ticks = 0
        for pid in self.pids():
            words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(words[11]) + int(words[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def memory_kib(self) -> dict[int, int]:
        """Proportional memory (shared pages shared out) of each process, in KiB."""
        out = {}
        for pid in self.pids():
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            out[pid] = int(re.search(r"^Pss:\s+(\d+)", text, re.M)[1])  # type: ignore[index]
        return out


def start_ours(place: Place, scenario: Scenario) -> Process:
    """dkconf-filter, two workers, no log."""
    ours = Process(place, "dkconf")
    (ours.path / "records").write_text(f"{SELECTOR}._domainkey.{DOMAIN} TXT {place.quoted_record()}\n")
    dns = f'records_file = "{ours.path}/records"'
    if scenario.cold:
        dns = f'nameservers = ["{NAMESERVER}"]'
    schemes = json.dumps(list(scenario.schemes))
    (ours.path / "f.toml").write_text(
        f'socket = "local:{ours.socket}"\nlog = "off"\nworkers = {len(os.sched_getaffinity(0))}\n'
        f'[signing]\ndkim_canonicalization = "{scenario.canon}"\n[dns]\n{dns}\n[[keys]]\ndomain = "{DOMAIN}"\n'
        f'selector = "{SELECTOR}"\npath = "{place.key_path}"\nschemes = {schemes}\n'
    )
    inside = INSIDE_NAMESPACE if scenario.cold else []
    ours.start([*inside, sys.executable, "-m", "dkconf.server.main", "--config", str(ours.path / "f.toml"), "-f"])
    return ours


def start_theirs(place: Place, scenario: Scenario) -> Process:
    """OpenDKIM, as Debian builds it, no log."""
    theirs = Process(place, "opendkim")
    path = theirs.path
    (path / "keytable").write_text(f"k {DOMAIN}:{SELECTOR}:{place.key_path}\n")
    (path / "signingtable").write_text(f"*@{DOMAIN} k\n")
    (path / "internal").write_text("127.0.0.1\n")
    (path / "public").write_text(f"{SELECTOR}._domainkey.{DOMAIN} {place.record()}\n")
    keys = f"Nameservers {NAMESERVER}\n" if scenario.cold else f"TestPublicKeys {path}/public\n"
    (path / "conf").write_text(
        f"Socket local:{theirs.socket}\nBackground no\nSyslog no\nUMask 0\nMode {'v' if scenario.verify else 's'}\n"
        f"Canonicalization {scenario.canon}\nKeyTable file:{path}/keytable\nSigningTable refile:{path}/signingtable\n"
        f"InternalHosts {path}/internal\nOversignHeaders From\nRequireSafeKeys no\nAlwaysAddARHeader yes\n{keys}"
    )
    inside = INSIDE_NAMESPACE if scenario.cold else []
    theirs.start([*inside, "opendkim", "-f", "-x", str(path / "conf")])
    return theirs


def start_named(place: Place) -> subprocess.Popen[bytes]:
    """A name server with a key record for each selector."""
    path = place.path / "named"
    path.mkdir(exist_ok=True)
    record = place.quoted_record()
    lines = [f"s{i}._domainkey IN TXT ({record})" for i in range(COLD_KEYS)]
    (path / "zone").write_text(
        f"$TTL 3600\n@ IN SOA ns root 1 3600 600 86400 60\n@ IN NS ns\nns IN A {NAMESERVER}\n" + "\n".join(lines) + "\n"
    )
    (path / "named.conf").write_text(
        f'options {{ directory "{path}"; listen-on {{ {NAMESERVER}; }};\n'
        f" listen-on-v6 {{ none; }}; recursion no; pid-file none; }};\ncontrols {{ }};\n"
        f'zone "{DOMAIN}" {{ type primary; file "zone"; }};\n'
    )
    for each in (path, path / "zone", path / "named.conf"):
        each.chmod(0o755)
    for command in (
        ["ip", "netns", "add", NAMESPACE],
        [*INSIDE_NAMESPACE, "ip", "link", "set", "lo", "up"],
        [*INSIDE_NAMESPACE, "ip", "address", "add", f"{NAMESERVER}/32", "dev", "lo"],
    ):
        subprocess.run(command, check=True)
    argv = [*INSIDE_NAMESPACE, "named", "-g", "-n", "1", "-c", str(path / "named.conf")]
    process = subprocess.Popen(argv, stderr=subprocess.PIPE)
    assert process.stderr is not None
    while b"running" not in (line := process.stderr.readline()):
        if not line:
            raise SystemExit("named does not start")
    # It says little more, but what it says must not fill the pipe.
    threading.Thread(target=process.stderr.read, daemon=True).start()
    return process


def stop_named(process: subprocess.Popen[bytes]) -> None:
    """Stop it, and remove the namespace."""
    process.terminate()
    process.wait(30)
    subprocess.run(["ip", "netns", "delete", NAMESPACE], check=True)


def compare(place: Place, scenario: Scenario, rounds: int) -> dict[str, float]:
    """Load both in turn; return the medians."""
    messages = place.messages(scenario)
    pairs = []
    starters: tuple[Callable[[Place, Scenario], Process], ...] = (start_ours, start_theirs)
    running = [] if scenario.cold else [start(place, scenario) for start in starters]
    try:
        for process in running:
            place.load(process, scenario, messages)
        for _ in range(rounds):
            results = []
            for number, start in enumerate(starters):
                # Cold means a process that has not seen any of the keys.
                process = start(place, scenario) if scenario.cold else running[number]
                try:
                    results.append(place.load(process, scenario, messages))
                finally:
                    if scenario.cold:
                        process.stop()
            pairs.append(results)
    finally:
        for process in running:
            process.stop()

    def median(number: int, key: str) -> float:
        return statistics.median(float(pair[number][key]) for pair in pairs)

    return {
        "ratio": statistics.median(pair[0]["rate"] / pair[1]["rate"] for pair in pairs),
        "cpu_ratio": statistics.median(pair[1]["cpu_us"] / max(pair[0]["cpu_us"], 1) for pair in pairs),
        **{f"ours_{key}": median(0, key) for key in ("rate", "p50_ms", "p99_ms", "cpu_us")},
        **{f"theirs_{key}": median(1, key) for key in ("rate", "p50_ms", "p99_ms", "cpu_us")},
    }


def rsa_limit(cores: int = 0) -> float:
    """RSA-2048 signatures that OpenSSL makes: per second on so many cores, or (0) per second of CPU time."""
    more = ["-multi", str(cores)] if cores else []
    done = subprocess.run(
        ["openssl", "speed", "-seconds", "3", *more, "rsa2048"], capture_output=True, text=True, check=True
    )
    return float(re.search(r"^rsa\s+2048 bits\s+\S+\s+\S+\s+([0-9.]+)", done.stdout, re.M)[1])  # type: ignore[index]


def share_of_rsa(place: Place, rounds: int) -> tuple[float, float]:
    """Signing 4 KB messages as a share of what OpenSSL's RSA allows, measured in turn: of the rate, of CPU time."""
    scenario = next(s for s in SCENARIOS if s.name == "sign-4k-relaxed")
    messages = place.messages(scenario)
    ours = start_ours(place, scenario)
    try:
        place.load(ours, scenario, messages)
        rates, times = [], []
        for _ in range(rounds):
            found = place.load(ours, scenario, messages)
            rates.append(found["rate"] / rsa_limit(len(os.sched_getaffinity(0))))
            times.append(1e6 / rsa_limit() / found["cpu_us"])
        return statistics.median(rates), statistics.median(times)
    finally:
        ours.stop()


def memory(place: Place) -> dict[str, float]:
    """Growth of a worker over many messages and over a large one, and the cost of an idle connection; in KB."""
    small = Scenario("memory", 0, 100_000, octets=1000)
    large = Scenario("memory-large", 0, 8, octets=100_000_000)
    ours = start_ours(place, small)
    messages = place.messages(small)
    try:
        # The first messages fill caches and the allocator's pools.
        place.load(ours, Scenario("memory", 0, 5000, octets=1000), messages)
        before = ours.memory_kib()
        place.load(ours, small, messages)
        growth = max(after - before[pid] for pid, after in ours.memory_kib().items())
        before = ours.memory_kib()
        place.load(ours, large, place.messages(large), "-c", "2")
        growth_large = max(after - before[pid] for pid, after in ours.memory_kib().items())
        total = sum(ours.memory_kib().values())
        idle = idle_connections(ours.socket, 1000)
        cost = (sum(ours.memory_kib().values()) - total) / len(idle)
        for sock in idle:
            sock.close()
    finally:
        ours.stop()
    return {"100k_messages_kb": growth, "100_mb_message_kb": growth_large, "idle_connection_kb": cost}


def idle_connections(path: Path, count: int) -> list[socket.socket]:
    """Connections that have negotiated and said CONNECT, and wait for mail."""
    offer = b"\0\0\0\x0dO\0\0\0\6\0\0\1\xff\0\x1f\xff\xff"
    connect = b"C" + b"client.example.org\0" + b"4\x9c\x40" + b"192.0.2.7\0"
    out = []
    for _ in range(count):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(path))
        sock.sendall(offer)
        if sock.recv(4096)[4:5] != b"O":
            raise SystemExit("no answer to the offer")
        sock.sendall(len(connect).to_bytes(4, "big") + connect)
        out.append(sock)
    time.sleep(1)
    return out


def main() -> int:
    """Run what the command line asks for; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="run only scenarios whose names hold one of these words")
    parser.add_argument("-r", "--rounds", type=int, default=5)
    parser.add_argument("-s", "--scale", type=float, default=1.0, help="times as many messages")
    parser.add_argument("--list", action="store_true", help="print the names of the scenarios")
    parser.add_argument("--json", action="store_true", help="print one JSON object per scenario")
    options = parser.parse_args()
    if options.list:
        for scenario in SCENARIOS:
            print(f"{scenario.name:28} {scenario.target or '-'}")
        print("share-of-rsa                 0.65\nmemory")
        return 0

    def wanted(name: str) -> bool:
        return not options.names or any(word in name for word in options.names)

    missed = []
    with tempfile.TemporaryDirectory(prefix="bench") as directory:
        place = Place(Path(directory))
        print(
            f"{'':28} {'ours/s':>8} {'theirs/s':>8} {'ratio':>6} {'target':>6} {'cpu us':>8} {'theirs':>8} {'ratio':>6}"
            f" {'p99 ms':>7} {'theirs':>7}"
        )
        for scenario in SCENARIOS:
            if not wanted(scenario.name):
                continue
            named = start_named(place) if scenario.cold else None
            scaled = Scenario(**{**vars(scenario), "messages": max(8, int(scenario.messages * options.scale))})
            try:
                found = compare(place, scaled, options.rounds)
            finally:
                if named is not None:
                    stop_named(named)
            if options.json:
                print(json.dumps({"name": scenario.name, "target": scenario.target, **found}))
            else:
                print(
                    f"{scenario.name:28} {found['ours_rate']:8.0f} {found['theirs_rate']:8.0f} {found['ratio']:6.2f}"
                    f" {scenario.target or '-':>6} {found['ours_cpu_us']:8.0f} {found['theirs_cpu_us']:8.0f}"
                    f" {found['cpu_ratio']:6.2f} {found['ours_p99_ms']:7.1f} {found['theirs_p99_ms']:7.1f}"
                    f"  {scenario.note}",
                    flush=True,
                )
            if found["ratio"] < scenario.target:
                missed.append(scenario.name)
        if wanted("share-of-rsa"):
            share, of_time = share_of_rsa(place, options.rounds)
            print(f"share-of-rsa {share:.3f} (target 0.65); of the CPU time {of_time:.3f}", flush=True)
            missed += ["share-of-rsa"] if share < 0.65 else []
        if wanted("memory"):
            limits = {"100k_messages_kb": 5000, "100_mb_message_kb": 2000, "idle_connection_kb": 20}
            for name, kilobytes in memory(place).items():
                print(f"memory {name} {kilobytes:.1f} (target under {limits[name]})", flush=True)
                missed += [name] if kilobytes >= limits[name] else []
    if missed:
        print(f"missed: {', '.join(missed)}")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
