"""A hostile sender with name servers of his own, at full rate, beside an honest one who notices nothing."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dkconf.server import dnswire
from tests.patience import wait_until
from tests.server import evildns
from tests.server.mta import ROOT, Daemon, Mta, message

P99_SECONDS = 0.05
STEP_SECONDS = 0.005
TRIES = 4
"""A busy machine makes each of them slower, never faster: one that is quick enough shows that the filter is."""
MESSAGES = 300
CONNECTIONS = 40


@pytest.fixture
def name_server() -> Iterator[int]:
    """The port of a hostile name server, in a process of its own."""
    argv = [sys.executable, "-m", "tests.server.evildns"]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


@pytest.fixture
def filter_(tmp_path: Path, name_server: int) -> Iterator[Daemon]:
    """A filter with one worker that asks it."""
    dns = f'[dns]\nnameservers = ["127.0.0.1:{name_server}"]\ntimeout_seconds = 2\ndeadline_seconds = 3\n'
    with Daemon(tmp_path, None, extra=f'roles = ["verify"]\n{dns}', workers=1) as daemon:
        yield daemon


def _question(kind: bytes) -> bytes:
    return dnswire.encode_question(7, dnswire.encode_name(kind + b"._domainkey.example.org") or b"")


@pytest.mark.parametrize("kind", [*evildns.KINDS, b"compressed", b"names"])
def test_no_answer_takes_long_to_read(kind: bytes) -> None:
    """Whatever its length and whatever is in it: CPU time of this thread, at the best of some rounds."""
    question = _question(kind)
    if kind in evildns.KINDS:
        octets = evildns.answer(question, tcp=True)[1]
    else:
        octets = _crammed(question, kind)
    for cut in (octets, octets[: dnswire.MAX_ANSWER_OCTETS], octets[:1232]):
        fastest = 1.0
        for _ in range(20):
            begin = time.thread_time()
            dnswire.read_answer(cut, question)
            fastest = min(fastest, time.thread_time() - begin)
        assert fastest < STEP_SECONDS


def _crammed(question: bytes, kind: bytes) -> bytes:
    """An answer as full as may be of what is slow to read: aliases of aliases, or names of many labels."""
    end = question.index(b"\0", 12) + 5
    head = question[:2] + b"\x81\x80\0\1\0\x40\0\x40\0\0" + question[12:end]
    if kind == b"names":
        name = b"\1a" * 50 + b"\0"
        return head + (name + b"\0\5\0\1\0\0\0\1" + len(name).to_bytes(2, "big") + name) * 30
    return head + (b"\1a" * 50 + b"\xc0\x0c\0\5\0\1\0\0\0\1\0\2\xc0\x0c") * 64


def _honest(path: Path, number: int) -> list[float]:
    """The seconds that honest messages take one by one, each from its connection and negotiation to its verdict."""
    octets = message([evildns.signature(b"good", b"honest.example"), (b"From", b" ann@honest.example")])
    seconds = []
    for _ in range(number):
        begin = time.perf_counter()
        with Mta(path) as mta:
            mta.begin(b"192.0.2.7")
            mta.send(octets)
            letter, _ = mta.end_of_message()[-1]
        seconds.append(time.perf_counter() - begin)
        assert letter == b"c"
    return seconds


def _p99(seconds: list[float]) -> float:
    return sorted(seconds)[-max(1, len(seconds) // 100)]


def test_an_attack_keeps_nobody_waiting(filter_: Daemon) -> None:
    """Forty connections send what costs most, as fast as it is taken: huge answers, answers that trickle, answers for
    other names, headers and keys of all kinds. Of a hundred honest messages beside them one may take 50 ms.
    """
    _honest(filter_.socket, 3)
    argv = [sys.executable, "-m", "tests.server.evildns", str(filter_.socket), str(CONNECTIONS)]
    before = filter_.metrics()
    with subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE) as attacker:
        try:
            wait_until(lambda: filter_.metrics()["dkconf_filter_in_flight"] >= CONNECTIONS // 2, "the attack")
            found: list[float] = []
            while len(found) < TRIES and min(found, default=1.0) >= P99_SECONDS:
                found.append(_p99(_honest(filter_.socket, MESSAGES)))
        finally:
            attacker.kill()
    assert min(found) < P99_SECONDS, found
    after = filter_.metrics()
    assert (
        after['dkconf_filter_dns_lookups_total{outcome="miss"}']
        > before['dkconf_filter_dns_lookups_total{outcome="miss"}'] + 100
    )
    assert "Traceback" not in filter_.log
