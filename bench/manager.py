"""Measure the manager: start-up, a large inventory, many keys. Ratios within one run; absolute times mean little.

    python bench/manager.py             everything, as a table
    python bench/manager.py startup     only `--help` and `check` against `python -c pass`
    python bench/manager.py inventory   10,000 domains on 200 hosts against ruamel.yaml's C loader alone
    python bench/manager.py linear      the same from 100 to 10,000 domains
    python bench/manager.py keys        1,000 RSA-2048 keys, against the same work on one core

Each figure is the median of the pair by pair ratios; the target stands beside it. Status 1 where one is missed.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DKCONF = [sys.executable, "-m", "dkconf.cli.main"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}

LOAD_ALONE = """
import sys
from ruamel.yaml import YAML
from ruamel.yaml.cyaml import CParser
yaml = YAML(typ="safe")
yaml.load(open(sys.argv[1], "rb"))
assert issubclass(yaml.Parser, CParser), "the C loader is not in use"
"""


def timed(argv: Sequence[str], *, statuses: Sequence[int] = (0,)) -> float:
    """Return the CPU seconds (user and system) of one run, its children included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(argv, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=ROOT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in statuses:
        raise SystemExit(f"{' '.join(argv)}: status {done.returncode}\n{done.stderr.decode()}")
    return (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)


def ratio(ours: Sequence[str], theirs: Sequence[str], rounds: int) -> tuple[float, float, float]:
    """Return (median ratio, median of ours, median of theirs), the two run in turn after one warm-up each."""
    timed(ours)
    timed(theirs)
    pairs = [(timed(ours), timed(theirs)) for _ in range(rounds)]
    return (
        statistics.median(a / b for a, b in pairs),
        statistics.median(a for a, _ in pairs),
        statistics.median(b for _, b in pairs),
    )


failed = False


def row(
    what: str, value: float, target: float, *, seconds: tuple[float, float] | None = None, least: bool = False
) -> None:
    """Print one figure with its target."""
    global failed
    met = value >= target if least else value <= target
    failed |= not met
    times = f"   ({seconds[0]:.3f} s against {seconds[1]:.3f} s)" if seconds else ""
    bound = "at least" if least else "at most"
    print(f"{what:58} {value:6.2f}x   {bound} {target:g}x   {'met' if met else 'MISSED'}{times}", flush=True)


def startup(rounds: int = 15) -> None:
    """`--help` and `check` against an interpreter that does nothing."""
    nothing = [sys.executable, "-c", "pass"]
    got, ours, theirs = ratio([*DKCONF, "--help"], nothing, rounds)
    row("dkconf --help / python -c pass", got, 6, seconds=(ours, theirs))
    got, ours, theirs = ratio([*DKCONF, "check", "inventory.example.yaml"], nothing, rounds)
    row("dkconf check inventory.example.yaml / python -c pass", got, 20, seconds=(ours, theirs))


def generated(domains: int, hosts: int = 200) -> str:
    """Return an inventory of so many domains, each with two selectors, spread over so many hosts."""
    lines = [
        "version: 1",
        "filters:",
        "  dkconf:",
        "    socket: local:/run/dkconf/dkconf.sock",
        "domains:",
    ]
    for n in range(domains):
        lines += [
            f"  d{n:05}.example:",
            "    selectors:",
            "      s2026a: {algorithm: rsa, bits: 2048, state: active}",
            "      s2026b: {algorithm: rsa, bits: 2048, state: published}",
            "    sign: [dkim, domainkeys]",
            "    domainkeys_policy: {signs: some}",
        ]
    lines.append("hosts:")
    for h in range(hosts):
        # Every host of a group signs for the same share of the domains, as a cluster of relays does.
        share = [f"d{n:05}.example" for n in range(domains) if n % hosts == h]
        lines += [
            f"  mx{h:03}.example.net:",
            "    platform: debian",
            f"    service: group{h // 4}",
            "    filters: [dkconf]",
            f"    domains: [{', '.join(share)}]",
        ]
    return "\n".join(lines) + "\n"


def with_inventory(domains: int, work: Callable[[Path], None]) -> None:
    """Call `work` with a generated inventory and its public keys in a temporary directory."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "inventory.yaml")
        path.write_text(generated(domains))
        work(path)


def plan_command(path: Path, root: Path) -> list[str]:
    return [*DKCONF, "plan", "-i", str(path), "--host", "mx000.example.net", "--root", str(root)]


def empty_host(directory: Path) -> Path:
    """Return a tree with a sendmail.mc, for `plan --root`."""
    root = directory / "root"
    (root / "etc/mail/m4").mkdir(parents=True)
    (root / "etc/mail/sendmail.mc").write_text(
        "divert(-1)dnl\ndivert(0)dnl\ninclude(`/usr/share/sendmail/cf/m4/cf.m4')dnl\nOSTYPE(`debian')dnl\n"
        "MAILER_DEFINITIONS\nMAILER(`local')dnl\nMAILER(`smtp')dnl\n"
    )
    (root / "etc/mail/sendmail.cf").write_text("DSsmart.example\n")
    return root


def public_keys(path: Path) -> None:
    """Put one public half per selector that the first host needs beside the inventory: the same key for all."""
    sys.path.insert(0, str(ROOT))
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    pem = (
        rsa.generate_private_key(65537, 2048)
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    for line in path.read_text().splitlines():
        if line.startswith("  d") and line.endswith(".example:"):
            folder = path.parent / "keys" / line.strip().rstrip(":")
            folder.mkdir(parents=True)
            for selector in ("s2026a", "s2026b"):
                (folder / f"{selector}.pub.pem").write_bytes(pem)


def inventory(rounds: int = 5) -> None:
    """10,000 domains on 200 hosts: checked, and one host planned, against loading alone."""

    def work(path: Path) -> None:
        alone = [sys.executable, "-c", LOAD_ALONE, str(path)]
        got, ours, theirs = ratio([*DKCONF, "check", str(path)], alone, rounds)
        row("check of 10,000 domains / the C loader alone", got, 2, seconds=(ours, theirs))
        public_keys(path)
        got, ours, theirs = ratio(plan_command(path, empty_host(path.parent)), alone, rounds)
        row("plan of one host of it / the C loader alone", got, 3, seconds=(ours, theirs))

    with_inventory(10_000, work)


def linear() -> None:
    """The cost of a domain must not grow with their number."""
    cost: dict[int, float] = {}
    for count in (100, 5_000, 10_000):

        def work(path: Path, count: int = count) -> None:
            cost[count] = min(timed([*DKCONF, "check", str(path)]) for _ in range(3))

        with_inventory(count, work)
    print("check: " + ", ".join(f"{count:,} domains {seconds:.3f} s" for count, seconds in cost.items()))
    # Start-up costs as much as some thousand domains, so the first thousand alone would say nothing.
    first, second = (cost[5_000] - cost[100]) / 4_900, (cost[10_000] - cost[5_000]) / 5_000
    row("cost of a further domain, 5,000 to 10,000 / 100 to 5,000", second / first, 1.5)


def keys(count: int = 1_000) -> None:
    """Many keys use every core: wall clock against the CPU time spent."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "inventory.yaml")
        path.write_text(generated(count // 2, hosts=1))
        argv = [*DKCONF, "keys", "generate", "--all", "-i", str(path), "--host", "mx000.example.net", "--root", name]
        start = time.perf_counter()
        cpu = timed(argv)
        wall = time.perf_counter() - start
        made = len(list(Path(name, "keys").rglob("*.pub.pem")))
        cores = len(os.sched_getaffinity(0))
        print(f"{made} keys in {wall:.1f} s, {cpu:.1f} s of CPU on {cores} cores")
        row("cores in use while generating keys", cpu / wall, 0.85 * cores, least=True)


PARTS: dict[str, Callable[[], None]] = {
    "startup": startup,
    "inventory": inventory,
    "linear": linear,
    "keys": keys,
}


def main(argv: list[str]) -> int:
    wrong = [name for name in argv if name not in PARTS]
    if wrong:
        print(__doc__, file=sys.stderr)
        return 64
    for name in argv or PARTS:
        PARTS[name]()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
