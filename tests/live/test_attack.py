"""Root works while a user attacks, in every folder that he can write to: nothing of root's outside is ever touched.

The attacker wins each of these races against code that looks at a path first and then believes it; that is tried too.
DKCONF_ATTACK_SECONDS (`make attack`) says how long each user attacks.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.conftest import require
from tests.lab import Lab, inventory
from tests.lab.attack.canary import Watch, make
from tests.lab.lab import BIN, CHECKOUT, eventually
from tests.lab.nameserver import NameServer

pytestmark = pytest.mark.live
SECONDS = float(os.environ.get("DKCONF_ATTACK_SECONDS", "3"))
COMMAND_SECONDS = 100
SECOND = "s2"
"""A selector whose key is made again and again."""
MEMORY_KIB = 400 * 1024
STATUSES = {0, 1, 2, 3, 4, 5, 6, 7, 8, 64, 65}
CANARY, RAN, SIGNALS = "/var/canary", "/var/canary-ran", "/var/canary-signals"
CONF = "/var/mail-config"
KEEPER = 54321
PLAN = f"{CONF}/plan.json"
PRIVATE = f"/etc/dkconf-filter/keys/{inventory.DOMAIN}/{SECOND}.private"

ETC_MAIL = ["sendmail.mc", "sendmail.cf", "m4", ".sendmail.mc.dkconf-tmp", ".sendmail.cf.dkconf-tmp", "Makefile"]
M4 = ["dkconf.m4", ".dkconf.m4.dkconf-tmp", "dialup.m4"]
FOLDERS: dict[str, dict[str, list[str]]] = {
    "smmta": {
        "/etc/mail": ETC_MAIL,
        "/etc/mail/m4": M4,
        "/run/sendmail/mta": ["sendmail.pid"],
        "/var/spool/mqueue": ["qf1", "df1"],
    },
    "smmsp": {"/var/spool/mqueue-client": ["qf1"], "/run/sendmail/msp": ["sendmail.pid"]},
    "mail": {"/var/mail": ["root"]},
    "dkconf": {"/run/dkconf-filter": ["dkconf-filter.sock", "dkconf-filter.pid", ".dkconf-filter.pid.dkconf-tmp"]},
    "keeper": {
        CONF: ["inventory.yaml", "keys", ".git", "plan.json", "rendered", ".gitignore"],
        f"{CONF}/keys": [inventory.DOMAIN],
        f"{CONF}/keys/{inventory.DOMAIN}": [f"{inventory.SELECTOR}.pub.pem", f"{SECOND}.pub.pem"],
    },
}
COMMANDS: dict[str, list[list[str]]] = {
    "smmta": [
        ["apply", "--yes"],
        ["status"],
        ["plan"],
        ["disable-filter", inventory.OWN, "--yes", "--drain-timeout", "1s"],
        ["plan"],
        ["enable-filter", inventory.OWN, "--yes"],
        ["disable-filter", inventory.OWN, "--emergency"],
        ["recover"],
        ["rollback", "--yes"],
    ],
    "keeper": [
        ["plan", "--out", PLAN],
        ["forget", PRIVATE],
        ["keys", "generate", inventory.DOMAIN, SECOND],
        ["apply", PLAN, "--yes"],
        ["check"],
        ["keys", "list"],
        ["render", "--output", f"{CONF}/rendered"],
        ["dns", "show"],
        ["fmt"],
        ["plan"],
    ],
}
# Else it waits for the last connections for ten minutes, which is no fault.
for words in (words for listed in COMMANDS.values() for words in listed if words[0] in ("apply", "rollback")):
    words += ["--drain-timeout", "1s"]
COMMANDS["smmsp"] = COMMANDS["mail"] = [["apply", "--yes"], ["status"], ["plan"], ["rollback", "--yes"]]
COMMANDS["dkconf"] = COMMANDS["smmta"]


@dataclass
class Field:
    """A mail host with canaries."""

    lab: Lab
    watch: Watch
    signalled: int
    """The process of root's that nobody may signal, as it is numbered in the lab."""
    rounds: list[dict[str, Any]] = field(default_factory=list)

    def ids(self, user: str) -> tuple[int, int, list[int]]:
        """Return uid, gid and groups of a user of the lab."""
        if user == "keeper":
            return KEEPER, KEEPER, [KEEPER]
        ran = self.lab.run("sh", "-c", f"id -u {user}; id -g {user}; id -G {user}")
        assert ran.status == 0, ran
        uid, gid, groups = ran.out.splitlines()
        return int(uid), int(gid), [int(group) for group in groups.split()]

    @contextlib.contextmanager
    def attacked(self, user: str, folders: dict[str, list[str]]) -> Iterator[None]:
        """Have a user attack while the body runs."""
        uid, gid, groups = self.ids(user)
        settings = {
            "uid": uid, "gid": gid, "groups": groups, "folders": folders, "canary": CANARY,
            "signalled": self.signalled, "seed": user, "vanishing": [f"{SECOND}.pub.pem"],
        }  # fmt: skip
        attacker = self.lab.spawn(
            "python3", str(CHECKOUT / "tests/lab/attack/attacker.py"), json.dumps(settings), log=f"{user}.log"
        )
        log = self.lab.dir / f"{user}.log"
        assert eventually(lambda: log.read_bytes().startswith(b"ready"), 20), log.read_text()
        try:
            yield
            assert attacker.process.poll() is None, log.read_text()
        finally:
            attacker.stop()

    def drive(
        self, commands: list[list[str]], seconds: float, timeout: float = COMMAND_SECONDS
    ) -> list[dict[str, Any]]:
        """Run commands again and again; return what became of each."""
        settings = {"seconds": seconds, "directory": CONF, "commands": commands, "timeout": timeout}
        ran = self.lab.run(
            sys.executable, str(CHECKOUT / "tests/lab/attack/driver.py"), json.dumps(settings), timeout=1000
        )
        assert ran.status == 0, ran
        return [json.loads(line) for line in ran.out.splitlines()]

    def harm(self) -> list[str]:
        """Return what root was led to do, in words, since the last call."""
        found = sorted(f"{event.path}: {event.what[:90]}" for event in self.watch.events())
        found += sorted(f"{path}: is another" for path in self.watch.changed())
        self.watch.events()
        for note, what in ((RAN, "executed"), (SIGNALS, "signalled")):
            path = self.lab.path(note)
            if path.exists() and path.read_bytes():
                found.append(f"{what}: {path.read_text()!r}")
                path.write_bytes(b"")
        if not self.lab.path(f"/proc/{self.signalled}").exists():
            found.append("killed")
        return found


@pytest.fixture(scope="module")
def battle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    """A mail host with a filter of dkconf's, in force; its inventory in the checkout of an ordinary user."""
    require("named", "git")
    with Lab(tmp_path_factory.mktemp("attack") / "lab") as lab:
        lab.start_sendmail()
        own = inventory.own_filter().replace(
            f"inet:{inventory.OWN_PORT}@127.0.0.1", f"local:/run/dkconf-filter/{inventory.OWN}.sock"
        )
        written = inventory.write(lab, own, [inventory.OWN], services=inventory.OWN_SERVICE)
        first = f"{inventory.SELECTOR}: {{algorithm: rsa, bits: 2048, state: active}}"
        second = f"{first}\n      {SECOND}: {{algorithm: ed25519, state: planned}}"
        written.write_text(written.read_text().replace(first, second))
        setup = f"""
            set -e
            install -d -m 0755 {CONF}; cp {written} {CONF}/inventory.yaml; cd {CONF}
            {BIN}/dkconf keys generate {inventory.DOMAIN} {inventory.SELECTOR}
            git init -q; git add .; git -c user.name=a -c user.email=a@b commit -qm one
            chown -R {KEEPER}:{KEEPER} {CONF}
            echo file of root > /etc/canary-file; echo file of root > /var/canary-file
        """
        ran = lab.run("sh", "-c", setup)
        assert ran.status == 0, ran
        NameServer(lab).publish({}, lab.run("dkconf", "dns", "show", inventory.DOMAIN, directory=CONF).out)
        applied = lab.run("dkconf", "apply", "--yes", directory=CONF)
        assert applied.status == 0, applied
        make(lab.path(CANARY))
        signalled = lab.spawn("python3", str(CHECKOUT / "tests/lab/attack/signalled.py"), SIGNALS, log="signalled.log")
        log = lab.dir / "signalled.log"
        assert eventually(lambda: log.read_text().endswith("\n"), 20), signalled
        try:
            watch = Watch(lab.path(CANARY))
        except OSError as error:
            if os.environ.get("CI") == "true":
                raise
            pytest.skip(f"the canaries need fanotify and inotify: {error}")
        yield Field(lab, watch, int(log.read_text()))
        watch.close()


@pytest.mark.parametrize(
    ("act", "path", "user", "folder", "expected"),
    [
        ("read", f"{CONF}/inventory.yaml", "keeper", CONF, ": opened by"),
        ("write", "/etc/mail/m4/dkconf.m4", "smmta", "/etc/mail/m4", ": written"),
        ("chmod", "/etc/mail/m4/dkconf.m4", "smmta", "/etc/mail/m4", ": attributes"),
        ("signal", "/run/sendmail/mta/sendmail.pid", "smmta", "/run/sendmail/mta", "signalled"),
        ("execute", "/run/sendmail/mta/sendmail.pid", "smmta", "/run/sendmail/mta", "executed"),
    ],
)
def test_the_attacker_wins_where_a_path_is_believed(
    battle: Field, act: str, path: str, user: str, folder: str, expected: str
) -> None:
    """Against code that looks first, every canary sings: what is asked of dkconf below can be missed."""
    before = battle.lab.path(path).read_bytes()
    found: list[str] = []
    with battle.attacked(user, {folder: [os.path.basename(path)]}):
        for _ in range(20):
            battle.drive([["unsafe", act, path]], 0, timeout=5)
            found += battle.harm()
            if any(expected in words for words in found):
                break
    restore(battle, path, before)

    assert any(expected in words for words in found), found


def restore(battle: Field, path: str, content: bytes) -> None:
    """Put back what an unsafe writer may have spoilt, and the canaries too."""
    battle.lab.run("rm", "-rf", CANARY, path, f"{path}.aside")
    battle.lab.path(path).write_bytes(content)
    make(battle.lab.path(CANARY))
    battle.watch.close()
    battle.watch = Watch(battle.lab.path(CANARY))


@pytest.mark.parametrize("user", FOLDERS)
def test_nothing_outside_is_touched(battle: Field, user: str) -> None:
    """While a user attacks: nothing of root's is read, written, chmodded, signalled or executed; nothing hangs."""
    with battle.attacked(user, {folder: names for folder, names in FOLDERS[user].items() if names}):
        done = battle.drive(COMMANDS[user], SECONDS)

    summary = "\n".join(f"{one['status']} {one['seconds']} {' '.join(one['words'])}" for one in done)
    summary += "".join(one["said"] for one in done if "most recent call first" in one["said"])
    assert [] == battle.harm(), summary
    for one in done:
        told = f"{' '.join(one['words'])}: {one['status']}, {one['memory']} KiB, {one['seconds']} s: {one['said']}"
        assert one["status"] in STATUSES, told
        assert "Traceback" not in one["said"], told
        assert "internal error" not in one["said"], told
        assert one["memory"] < MEMORY_KIB, told
