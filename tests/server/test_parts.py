"""The small parts of the daemon: shared numbers, rate limit, metrics text, log lines, channel, answers kept."""

from __future__ import annotations

import contextlib
import errno
import json
import select
import selectors
import socket
import threading

import pytest

from dkconf.crypto.keys import PrivateKey, generate
from dkconf.filter.config import SettingsError
from dkconf.mail.lookup import TxtAnswer
from dkconf.server import channel, journal, metrics
from dkconf.server.cache import AnswerCache
from dkconf.server.load import Loader
from dkconf.server.notify import Notifier
from dkconf.server.respawn import LONGEST_DELAY_SECONDS, RateLimit
from dkconf.server.shared import NOBODY, Shared
from tests.patience import LAST_RESORT_SECONDS

# --- shared numbers


def test_counters_are_summed_over_workers():
    """Each worker counts for itself; the parent sees the sum."""
    shared = Shared(2)
    for slot, amount in zip(shared.slots, (1, 2), strict=True):
        slot.take_over()
        slot.add("a", amount)
        slot.add('b{x="y"}')

    assert {"a": 3.0, 'b{x="y"}': 2.0} == shared.totals()


def test_a_new_worker_goes_on_counting():
    """A total never falls when a worker is replaced."""
    shared = Shared(1)
    shared.slots[0].take_over()
    shared.slots[0].add("a", 5)
    shared.slots[0].take_over()
    shared.slots[0].add("b")
    shared.slots[0].add("a")

    assert {"a": 6.0, "b": 1.0} == shared.totals()


def test_more_names_than_there_is_room_for_share_one_counter():
    """Hostile labels cannot fill the memory."""
    shared = Shared(1)
    shared.slots[0].take_over()
    for number in range(2000):
        shared.slots[0].add(f"n{number}")

    totals = shared.totals()
    assert 512 == len(totals)
    assert 2000 == sum(totals.values())


def test_the_least_load_is_that_of_the_others_that_live():
    """A slot without a worker takes no connections."""
    shared = Shared(3)
    assert shared.least_load(0) is None
    for slot, load in zip(shared.slots, (5, 3, 4), strict=True):
        slot.take_over()
        slot.load = load

    assert 3 == shared.least_load(0)
    assert 4 == shared.least_load(1)
    shared.slots[1].load = NOBODY
    assert 4 == shared.least_load(0)


# --- rate limit


def test_deaths_in_a_row_slow_the_replacement():
    """The first are replaced at once, then ever later, and never later than half a minute."""
    limit = RateLimit()
    delays = [limit.delay(float(i)) for i in range(20)]

    assert [0.0, 0.0, 0.0, 1.0, 2.0, 4.0] == delays[:6]
    assert LONGEST_DELAY_SECONDS == max(delays)
    assert 0.0 == limit.delay(1000.0)


# --- metrics


def test_the_text_is_a_prometheus_exposition():
    """Buckets add up, the count is the last one, labels are quoted."""
    shared = Shared(1)
    slot = shared.slots[0]
    slot.take_over()
    histogram = metrics.Histogram(slot, metrics.DNS_SECONDS)
    for seconds in (0.0002, 0.0002, 0.2, 99.0):
        histogram.observe(seconds)
    slot.add(metrics.sample(metrics.MESSAGES, role="verify", result='a"b'))

    lines = metrics.render(shared, {}).splitlines()
    assert 'dkconf_filter_dns_seconds_bucket{le="0.00025"} 2' in lines
    assert 'dkconf_filter_dns_seconds_bucket{le="0.25"} 3' in lines
    assert 'dkconf_filter_dns_seconds_bucket{le="+Inf"} 4' in lines
    assert "dkconf_filter_dns_seconds_count 4" in lines
    assert 'dkconf_filter_messages_total{role="verify",result="a\\"b"} 1' in lines
    assert "dkconf_filter_workers 1" in lines


@pytest.mark.parametrize(
    ("request_octets", "expected"),
    [
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 200 OK"),
        (b"GET / HTTP/1.0\r\n\r\n", b"HTTP/1.1 200 OK"),
        (b"GET /x HTTP/1.0\r\n\r\n", b"HTTP/1.1 404 "),
        (b"POST / HTTP/1.0\r\n\r\n", b"HTTP/1.1 405 "),
        (b"\0\r\n\r\n", b"HTTP/1.1 405 "),
        (b"x" * 9000, b""),
    ],
)
def test_the_endpoint_answers_one_request(request_octets, expected):
    """GET is answered, the rest refused, and what does not end is closed."""
    with selectors.DefaultSelector() as selector, socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = metrics.Endpoint(selector, listener, lambda: "text\n")
        with socket.create_connection(listener.getsockname()) as client:
            client.sendall(request_octets)
            client.shutdown(socket.SHUT_WR)
            client.setblocking(False)
            got = b""
            while True:
                for key, mask in selector.select(1):
                    key.data(mask)
                try:
                    octets = client.recv(65536)
                except BlockingIOError:
                    continue
                except ConnectionResetError:
                    break
                if not octets:
                    break
                got += octets
        endpoint.close()

    assert got.startswith(expected)
    assert bool(expected) == bool(got)


# --- log


def test_nothing_from_the_network_breaks_a_log_line(capfd):
    """Line ends and escape sequences are written as such."""
    journal.Log("stderr", "text")(journal.INFO, "a\nb\x1b[31m\u2028\xe9")

    assert "info: a\\nb\\x1b[31m\\u2028\\xe9\n" in capfd.readouterr().err


def test_json_lines_carry_their_fields(capfd):
    """One object per line, octets as text."""
    journal.Log("stderr", "json")(journal.ERR, "x\ny", {"queue_id": b"q\xff", "condition": "bad"})

    [line] = capfd.readouterr().err.splitlines()
    entry = json.loads(line)
    assert ("err", "x\ny", "q\\xff", "bad") == tuple(entry[k] for k in ("level", "message", "queue_id", "condition"))


@pytest.mark.parametrize(
    "line, fields",
    [
        ("x" * 100_000, None),
        ("\x00\u2028\U0001f600" * 9_000, None),
        ("x" * 9_000, {"reason": "y" * 9_000, "queue_id": "q"}),
        ("x", {"traceback": ["z" * 300] * 2_000, "queue_id": b"q"}),
        ("x", {"traceback": [b"\xff" * 50_000], "queue_id": "q"}),
        ("x" * 7_950, {"queue_id": "q"}),
    ],
    ids=["message", "escapes", "two", "list", "octets", "just"],
)
def test_a_long_json_line_is_still_json(capfd, line, fields):
    """syslogd cuts at 8 KiB, so the longest fields are shortened, and the others stay as they are."""
    journal.Log("stderr", "json")(journal.ERR, line, fields)

    [text] = capfd.readouterr().err.splitlines()
    entry = json.loads(text)
    assert len(text) <= 8000
    assert len(text) > 3500  # no more is lost than has to be
    assert entry["level"] == "err"
    assert {"time", "level", "pid", "message", *(fields or {})} == set(entry)
    if fields:
        assert entry["queue_id"] == "q"
    if len(line) == 1:
        assert entry["message"] == line


def test_a_shortened_list_keeps_its_end(capfd):
    """The last lines of a traceback name the fault."""
    lines = [f"line {number} {'z' * 100}" for number in range(1000)]
    journal.Log("stderr", "json")(journal.ERR, "x", {"traceback": lines})

    kept = json.loads(capfd.readouterr().err)["traceback"]
    assert kept == lines[-len(kept) :]
    assert len(kept) > 30


def test_syslog_lines_survive_a_restarted_syslogd(tmp_path):
    """Priority, facility mail, name and process; a new socket under the old name is found again."""
    path = str(tmp_path / "log")
    log = journal.Log("syslog", "text", "dk-filter", path)
    log(journal.INFO, "lost: nobody is there")
    log._retry_at = 0.0
    for number in range(2):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
            server.bind(path)
            log(journal.INFO, f"line {number}")
            octets = server.recv(8192)
        (tmp_path / "log").unlink()
        assert octets.startswith(b"<22>")
        assert octets.endswith(b": line %d" % number)
        assert b" dk-filter[" in octets
    log.close()

    assert 1 == log.lost


def test_a_log_without_a_descriptor_loses_lines_and_nothing_else(tmp_path, monkeypatch):
    """Out of descriptors is when much is logged; a logger that raises there would stop everything."""
    path = tmp_path / "log"
    log = journal.Log("syslog", "text", path=str(path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(path))
        with monkeypatch.context() as patch:

            def refuse(*arguments):
                raise OSError(errno.EMFILE, "Too many open files")

            patch.setattr(journal.socket, "socket", refuse)
            log(journal.ERR, "x")
        assert 1 == log.lost
        monkeypatch.setattr(journal, "_RETRY_SECONDS", 0.0)
        log._retry_at = 0.0
        log(journal.ERR, "y")
        assert server.recv(1000).endswith(b": y")
    log.close()


def test_no_target_means_silence(capfd):
    """Without -l nothing is logged, as with dk-filter."""
    journal.Log("off", "text")(journal.EMERG, "x")

    assert ("", "") == capfd.readouterr()


# --- settings


def test_a_worker_proves_no_key_again(monkeypatch, tmp_path):
    """Of 10,000 keys that took a worker 11 s of a reload, in which it answered nobody; the parent has done it."""
    key, config = tmp_path / "k.pem", tmp_path / "f.toml"
    key.write_bytes(generate("rsa", 1024))
    config.write_text(f'socket = "inet:1"\n[[keys]]\ndomain = "example.org"\nselector = "s"\npath = "{key}"\n')
    proved = []
    load_pem = PrivateKey.load_pem
    monkeypatch.setattr(
        PrivateKey, "load_pem", lambda octets, known=False: (proved.append(known), load_pem(octets, known))[1]
    )
    loader = Loader(["--config", str(config)], "dkconf-filter")
    loaded = loader.load(loader.parse())

    assert proved == [False]
    assert loaded.bundle.engine().keys
    assert proved == [False, True]


def test_an_open_key_of_a_key_list_is_told_by_its_own_name(tmp_path):
    """The list leaves off the suffix; what is open is the file."""
    key, listed = tmp_path / "s.private", tmp_path / "list"
    key.write_bytes(generate("rsa", 2048))
    key.chmod(0o644)
    listed.write_text(f"*@example.org:example.org:{tmp_path}/s\n")
    loader = Loader(["-p", "inet:1", "-k", "-s", str(listed), "-c", "nofws"], "dkconf-filter")

    assert loader.load(loader.parse()).engine.notes == (
        f"{key}: mode 0644 opens this private key to others; 0600 or 0640 is right",
    )


def test_a_key_is_named_as_the_administrator_wrote_it(tmp_path):
    """Who starts with dk-filter's options has no keys[0]."""
    config, key = tmp_path / "f.toml", tmp_path / "none.pem"
    config.write_text(f'socket = "inet:1"\n[[keys]]\ndomain = "example.org"\nselector = "s"\npath = "{key}"\n')
    for arguments, place in (
        (["--config", str(config)], "keys[0].path"),
        (["-p", "inet:1", "-d", "example.org", "-s", str(key)], "-s"),
    ):
        loader = Loader(arguments, "dkconf-filter")
        with pytest.raises(SettingsError) as caught:
            loader.load(loader.parse())
        assert str(caught.value) == f"{place}: {key}: No such file or directory"


# --- channel and service manager


def test_messages_between_parent_and_worker_arrive_whole():
    """Large ones too, and the end of the other side is told."""
    ours, theirs = channel.pair()
    assert not ours.post(channel.packed(("a", 1)))
    got, more = [], ours.post(channel.packed(("b", b"x" * 1_000_000)))
    while len(got) < 2:
        got += theirs.receive()
        more = more and ours.post()
    ours.close()

    assert [("a", 1), ("b", b"x" * 1_000_000)] == got
    assert not more
    with pytest.raises(EOFError):
        theirs.receive()
    theirs.close()


def test_a_worker_is_heard_in_words():
    """A few, as JSON, however they are cut up; a long text is cut."""
    ours, theirs = channel.pair()
    theirs.post(channel.words("ready", ""))
    octets = channel.words("failed", "ü\n😀" * 1000)
    assert len(octets) <= channel.LONGEST_WORDS_OCTETS
    got = []
    for octet in octets:
        theirs.sock.send(bytes([octet]))
        got += ours.receive()

    assert ("ready", "") == got[0]
    assert ("failed", ("ü\n😀" * 1000)[:1000]) == got[1]
    ours.close()
    theirs.close()


class Bomb:
    """What a worker that was taken over would have its parent unpickle."""

    def __reduce__(self):
        return pytest.fail, ("the parent ran a worker's code",)


@pytest.mark.parametrize(
    "octets",
    [
        channel.packed(Bomb()),
        channel.packed(("ready", "")),
        (1 << 40).to_bytes(8, "big"),
        (2).to_bytes(8, "big") + b"[]",
        (6).to_bytes(8, "big") + b"[1, 2]",
        (12000).to_bytes(8, "big") + b"[" * 12000,
    ],
)
def test_what_a_worker_says_runs_nothing_in_the_parent(octets):
    """It talks to the network: its octets are not unpickled, and a length is not believed."""
    ours, theirs = channel.pair()
    theirs.post(octets)
    with pytest.raises(channel.Garbled, match=r"^sent "):
        ours.receive()
    ours.close()
    theirs.close()


def test_whoever_does_not_read_holds_nobody_up():
    """The message that has begun goes on where it stopped; of those behind it only the last is kept."""
    ours, theirs = channel.pair()
    for number in range(50):
        assert ours.post(channel.packed((number, b"x" * 1_000_000)))
    got: list[tuple[int, bytes]] = []
    while ours.post() or len(got) < 2:
        got += theirs.receive()

    assert [0, 49] == [number for number, _ in got]
    assert {1_000_000} == {len(octets) for _, octets in got}
    assert not ours.post()
    ours.close()
    theirs.close()


def test_a_service_manager_that_does_not_read_stops_nobody(tmp_path):
    """Its socket is full: what we say is lost, and heard again once it reads."""
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    other.sendto(b"x", path)
        notifier = Notifier({"NOTIFY_SOCKET": path})
        sender = threading.Thread(target=lambda: notifier.send("LOST=1"), daemon=True)
        sender.start()
        sender.join(LAST_RESORT_SECONDS)
        assert not sender.is_alive()
        while server.recv(1000) == b"x" and select.select([server], [], [], 0)[0]:
            pass
        notifier.send("READY=1")
        assert b"READY=1" == server.recv(1000)


def test_the_service_manager_hears_of_us(tmp_path):
    """One datagram; without NOTIFY_SOCKET nothing at all."""
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(path)
        notifier = Notifier({"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "2000000"})
        notifier.send("READY=1", "STATUS=x")
        assert b"READY=1\nSTATUS=x" == server.recv(100)
        notifier.reloading()
        assert server.recv(100).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
    assert 2.0 == notifier.watchdog_seconds
    notifier.send("READY=1")
    Notifier({}).send("READY=1")


# --- answers kept

FOUND = TxtAnswer("found", (b"x",), "", 60)


def test_an_answer_lives_as_long_as_its_ttl():
    """Not a second longer; one of TTL 0 and a failed one are not kept at all."""
    cache = AnswerCache()
    cache.put(b"a", FOUND, 0.0)
    cache.put(b"b", TxtAnswer("found", (b"x",), "", 0), 0.0)
    cache.put(b"c", TxtAnswer("failed", (), "timeout", 60), 0.0)

    assert FOUND is cache.get(b"a", 59.9)
    assert cache.get(b"a", 60.0) is None
    assert 0 == len(cache)


def test_answers_are_bounded_in_number_and_octets():
    """The one unused for longest goes first."""
    cache = AnswerCache(most_entries=2)
    for name in (b"a", b"b"):
        cache.put(name, FOUND, 0.0)
    cache.get(b"a", 1.0)
    cache.put(b"c", FOUND, 1.0)
    assert [FOUND, None, FOUND] == [cache.get(name, 2.0) for name in (b"a", b"b", b"c")]

    large = AnswerCache(most_octets=100_000)
    for number in range(10):
        large.put(b"%d" % number, TxtAnswer("found", (b"x" * 60_000,), "", 60), 0.0)
    assert 1 == len(large)
