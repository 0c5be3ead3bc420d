"""Where the CPU time of a message goes inside the filter's session, without a profiler and without a socket.

    python bench/stages.py                 verify and sign, 4 KB of prose, relaxed/relaxed, RSA-2048
    python bench/stages.py verify 51200    one of them, another size in octets

Loops that end a stage earlier are subtracted from those that end a stage later; least of many rounds. What the public
key operation, the hash and the search for blanks cost alone stands below, in the same place of the same loop.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import corpus
from dkconf.crypto.keys import PrivateKey, PublicKey, generate
from dkconf.dkim.blanks import relaxed_blanks
from dkconf.dkim.keyrecord import format_record
from dkconf.filter import config
from dkconf.filter.engine import Engine
from dkconf.filter.session import Session
from dkconf.mail.header import milter_value, parse_message
from dkconf.mail.lookup import TxtAnswer

STAGES = ("MAIL, its macros", "header fields", "end of headers", "body", "end of message")
ROUNDS, MESSAGES = 25, 150

SETTINGS = {
    "verify": 'socket = "local:/x"\nroles = ["verify"]\nlog = "off"\n',
    "sign": (
        f'socket = "local:/x"\nroles = ["sign"]\nlog = "off"\n[[keys]]\ndomain = "{corpus.DOMAIN}"\nselector = "sel"\n'
        'path = "/k"\nschemes = ["dkim"]\n[signing]\ndkim_canonicalization = "relaxed/relaxed"\n'
        '[origin]\ninternal_hosts = ["192.0.2.7"]\n'
    ),
}


def least(work: Callable[[], object]) -> float:
    """Return the CPU time of one call in us."""
    best = float("inf")
    for _ in range(ROUNDS):
        begin = time.process_time()
        for _ in range(MESSAGES):
            work()
        best = min(best, time.process_time() - begin)
    return best / MESSAGES * 1e6


def measure(role: str, octets: int, folder: Path) -> None:
    """Print the stages of one role."""
    pem = generate("rsa", 2048)
    key = PrivateKey.load_pem(pem)
    if role == "verify":
        path = corpus.signed(folder / "v.eml", key, "sel", "relaxed/relaxed", octets)
    else:
        path = corpus.plain(folder / "s.eml", "prose", octets)
    engine = Engine.load(config.loads(SETTINGS[role]), lambda _: pem)
    fields, body = parse_message(path.read_bytes())
    pairs = [(field.name, milter_value(field.value, leading_space=True)) for field in fields]
    record = format_record("rsa", key.public_der)
    answers = {f"sel._domainkey.{corpus.DOMAIN}".encode(): TxtAnswer("found", (record,), "", 3600)}
    pieces = [memoryview(body)[start : start + 65535] for start in range(0, len(body), 65535)]

    session = Session(engine, lambda: float(corpus.NOW), lambda priority, line, facts: None)
    session.negotiate(6, 0x1FF, 0x1FFFFF)
    session.macros(ord("C"), {b"j": b"mx.example.net", b"{daemon_name}": b"MTA"})
    session.connect(b"client.example.org", b"4", 1, b"192.0.2.7")

    def message(stages: int) -> bytes | tuple[bytes, ...]:
        session.macros(ord("M"), {b"i": b"4BX2k1000001"})
        session.envfrom((b"<sender@example.org>",))
        if stages > 1:
            session.headers(pairs)
        if stages > 2:
            session.end_of_headers()
        if stages > 3:
            for piece in pieces:
                session.body(piece)
        return session.end_of_message(None, answers) if stages > 4 else b""

    reply = message(len(STAGES))
    assert isinstance(reply, bytes)
    assert (b"dkim=pass" if role == "verify" else b"DKIM-Signature") in reply
    print(f"{role}, {octets} octets: us")
    before = 0.0
    for number, name in enumerate(STAGES, 1):
        total = least(partial(message, number))
        print(f"  {name:22}{total - before:8.1f}")
        before = total
    print(f"  {'together':22}{before:8.1f}")

    digest = hashlib.sha256(b"").digest()
    signature, public = key.sign_sha256(digest), PublicKey.from_der(key.public_der)

    def rsa() -> None:
        if role == "verify":
            public.verify_sha256(signature, digest)
        else:
            key.sign_sha256(digest)

    def sha() -> None:
        hashlib.sha256(body).digest()

    def blanks() -> None:
        for piece in pieces:
            relaxed_blanks(bytes(piece).replace(b"\t", b" "))

    # Behind a message, since what lies ready in the processor's caches takes a third less.
    without = least(partial(message, 4))
    for name, work in (("of which RSA", rsa), ("SHA-256 of the body", sha), ("blanks of the body", blanks)):
        print(f"  {name:22}{least(lambda work=work: (message(4), work())) - without:8.1f}")


def main() -> None:
    """Measure what the command line names."""
    roles = [word for word in sys.argv[1:] if word in SETTINGS] or list(SETTINGS)
    octets = next((int(word) for word in sys.argv[1:] if word.isdecimal()), 4096)
    with tempfile.TemporaryDirectory() as folder:
        for role in roles:
            measure(role, octets, Path(folder))


if __name__ == "__main__":
    main()
