"""A config repository in git, clean by every rule, for tests to plant faults in."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

INVENTORY = """\
version: 1
domains:
  example.com:
    sign: [dkim, domainkeys]
    selectors:
      s1: {state: active}
      s2: {state: percolating}
    domainkeys_policy:
      signs: some
filters:
  dk:
    socket: inet:8891@127.0.0.1
    on_failure: tempfail
hosts:
  mx1:
    service: relay
    filters: [dk]
    domains: [example.com]
  mx2:
    service: relay
    filters: [dk]
    domains: [example.com]
"""


@cache
def private_key(number: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def public_pem(number: int) -> bytes:
    return (
        private_key(number)
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def private_pem(number: int) -> bytes:
    return private_key(number).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


class ConfigRepository:
    """A git repository with an inventory, its public keys and a .gitignore."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.inventory = top / "inventory.yaml"

    def git(self, *arguments: str, when: int = 1_700_000_000) -> str:
        who = {
            f"GIT_{r}_{w}": v for r in ("AUTHOR", "COMMITTER") for w, v in (("NAME", "T"), ("EMAIL", "t@example.com"))
        }
        dates = {"GIT_AUTHOR_DATE": f"{when} +0000", "GIT_COMMITTER_DATE": f"{when} +0000"}
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.top.parent),
            "GIT_CONFIG_NOSYSTEM": "1",
            **who,
            **dates,
        }
        done = subprocess.run(
            ["git", "-C", str(self.top), *arguments], env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout

    def write(self, text: str) -> None:
        self.inventory.write_text(text)

    def change(self, old: str, new: str) -> None:
        text = self.inventory.read_text()
        assert old in text
        self.write(text.replace(old, new, 1))

    def commit(self, when: int = 1_700_000_000) -> None:
        self.git("add", "--all", when=when)
        self.git("commit", "--quiet", "--allow-empty", "-m", "x", when=when)

    def key(self, domain: str, selector: str, number: int) -> Path:
        path = self.top / "keys" / domain / f"{selector}.pub.pem"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(public_pem(number))
        return path


@pytest.fixture
def repository(tmp_path: Path) -> ConfigRepository:
    """A repository that `check` has nothing to say about, with one commit on main."""
    made = ConfigRepository(tmp_path / "repository")
    made.top.mkdir()
    made.git("init", "--quiet", "--initial-branch=main")
    made.write(INVENTORY)
    (made.top / ".gitignore").write_text("*.private\n")
    made.key("example.com", "s1", 1)
    made.key("example.com", "s2", 2)
    made.commit()
    return made
