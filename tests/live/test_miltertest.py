"""miltertest (of OpenDKIM) plays the MTA: a second opinion on the protocol, from an author who wrote both sides."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from dkconf.crypto.keys import PrivateKey, generate
from dkconf.dkim.keyrecord import format_record
from tests.patience import LAST_RESORT_SECONDS
from tests.server.mta import Daemon

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(shutil.which("miltertest") is None, reason="miltertest is not installed"),
]

PRELUDE = """
function must(error_text, what)
  if error_text ~= nil then error(what .. ": " .. error_text) end
end
function check(condition, what)
  if not condition then error(what) end
end
function begin(ip)
  local conn = mt.connect(socket)
  check(conn ~= nil, "connect")
  must(mt.conninfo(conn, "client.example.net", ip), "conninfo")
  return conn
end
function envelope(conn)
  must(mt.macro(conn, SMFIC_MAIL, "i", "q1"), "macro")
  must(mt.mailfrom(conn, "<a@example.org>"), "mailfrom")
  if not mt.test_option(conn, SMFIP_NORCPT) then
    must(mt.rcptto(conn, "<b@example.net>"), "rcptto")
  end
end
function message(conn, from)
  envelope(conn)
  must(mt.header(conn, "From", from), "header")
  must(mt.header(conn, "Subject", "a  test"), "header")
  must(mt.eoh(conn), "eoh")
  must(mt.bodystring(conn, "hello  world \\r\\n"), "body")
  must(mt.eom(conn), "eom")
end
"""

SCRIPTS = {
    "a message of ours is signed, and another one after it": """
        conn = begin("127.0.0.1")
        for _ = 1, 2 do
          message(conn, "a@example.org")
          check(mt.getreply(conn) == SMFIR_CONTINUE or mt.getreply(conn) == SMFIR_ACCEPT, "reply")
          check(mt.eom_check(conn, MT_HDRINSERT, "DKIM-Signature"), "no signature")
          check(mt.eom_check(conn, MT_HDRINSERT, "DomainKey-Signature"), "no DomainKeys signature")
        end
        mt.disconnect(conn)
    """,
    "a message from outside is verified": """
        conn = begin("192.0.2.1")
        message(conn, "a@example.com")
        check(mt.eom_check(conn, MT_HDRINSERT, "Authentication-Results"), "no result")
        check(not mt.eom_check(conn, MT_HDRINSERT, "DKIM-Signature"), "signed")
        mt.disconnect(conn)
    """,
    "a forged result is removed": """
        conn = begin("192.0.2.1")
        must(mt.macro(conn, SMFIC_CONNECT, "j", "mx.example.net"), "macro")
        envelope(conn)
        must(mt.header(conn, "Authentication-Results", "other.example; dkim=pass"), "header")
        must(mt.header(conn, "Authentication-Results", "mx.example.net; dkim=pass"), "header")
        must(mt.header(conn, "From", "a@example.com"), "header")
        must(mt.eoh(conn), "eoh")
        must(mt.eom(conn), "eom")
        check(mt.eom_check(conn, MT_HDRDELETE, "Authentication-Results"), "not removed")
        mt.disconnect(conn)
    """,
    "abort, twice, and a new message": """
        conn = begin("127.0.0.1")
        envelope(conn)
        must(mt.header(conn, "From", "a@example.org"), "header")
        must(mt.abort(conn), "abort")
        must(mt.abort(conn), "abort")
        message(conn, "a@example.org")
        check(mt.eom_check(conn, MT_HDRINSERT, "DKIM-Signature"), "no signature")
        mt.disconnect(conn)
    """,
    "a large random body": """
        conn = begin("127.0.0.1")
        envelope(conn)
        must(mt.header(conn, "From", "a@example.org"), "header")
        must(mt.eoh(conn), "eoh")
        must(mt.bodyrandom(conn, 3000000), "body")
        must(mt.eom(conn), "eom")
        check(mt.eom_check(conn, MT_HDRINSERT, "DKIM-Signature"), "no signature")
        mt.disconnect(conn)
    """,
    "no body at all": """
        conn = begin("127.0.0.1")
        envelope(conn)
        must(mt.header(conn, "From", "a@example.org"), "header")
        must(mt.eoh(conn), "eoh")
        must(mt.eom(conn), "eom")
        check(mt.eom_check(conn, MT_HDRINSERT, "DKIM-Signature"), "no signature")
        mt.disconnect(conn)
    """,
    "an MTA of version 2 gets its replies one by one": """
        conn = mt.connect(socket)
        must(mt.negotiate(conn, 2, 63, 127), "negotiate")
        must(mt.conninfo(conn, "client.example.net", "127.0.0.1"), "conninfo")
        check(mt.getreply(conn) == SMFIR_CONTINUE, "conninfo")
        must(mt.mailfrom(conn, "<a@example.org>"), "mailfrom")
        check(mt.getreply(conn) == SMFIR_CONTINUE, "mailfrom")
        must(mt.header(conn, "From", "a@example.org"), "header")
        check(mt.getreply(conn) == SMFIR_CONTINUE, "header")
        must(mt.eoh(conn), "eoh")
        check(mt.getreply(conn) == SMFIR_CONTINUE, "eoh")
        must(mt.bodystring(conn, "x\\r\\n"), "body")
        check(mt.getreply(conn) == SMFIR_CONTINUE, "body")
        must(mt.eom(conn), "eom")
        check(mt.eom_check(conn, MT_HDRINSERT, "DKIM-Signature"), "no signature")
        mt.disconnect(conn)
    """,
    "what is asked for in negotiation": """
        conn = begin("127.0.0.1")
        check(mt.test_action(conn, SMFIF_ADDHDRS), "ADDHDRS")
        check(mt.test_action(conn, SMFIF_CHGHDRS), "CHGHDRS")
        check(not mt.test_action(conn, SMFIF_CHGBODY), "CHGBODY")
        check(mt.test_option(conn, SMFIP_NR_HDR), "NR_HDR")
        check(mt.test_option(conn, SMFIP_NR_BODY), "NR_BODY")
        mt.disconnect(conn)
    """,
    "an abrupt end in the middle": """
        for _ = 1, 20 do
          conn = begin("127.0.0.1")
          envelope(conn)
          must(mt.header(conn, "From", "a@example.org"), "header")
          mt.disconnect(conn, false)
        end
        conn = begin("127.0.0.1")
        message(conn, "a@example.org")
        check(mt.eom_check(conn, MT_HDRINSERT, "DKIM-Signature"), "no signature")
        mt.disconnect(conn)
    """,
    "an unknown client and one of IPv6": """
        for _, ip in ipairs({"unspec", "2001:db8::1", "::1"}) do
          conn = begin(ip)
          message(conn, "a@example.com")
          mt.disconnect(conn)
        end
    """,
    "a key that cannot be looked up is a tempfail that says why": """
        conn = begin("192.0.2.1")
        envelope(conn)
        must(mt.header(conn, "From", "a@slow.example"), "header")
        must(mt.header(conn, "DKIM-Signature", "v=1; a=rsa-sha256; d=slow.example; s=s; h=from; " ..
          "bh=g3zLYH4xKxcPrHOD18z9YfpQcnk/GaJedfustWU5uGs=; b=" .. string.rep("A", 340) .. "==="), "header")
        must(mt.eoh(conn), "eoh")
        must(mt.eom(conn), "eom")
        check(mt.getreply(conn) == SMFIR_REPLYCODE, "no reply of its own")
        mt.disconnect(conn)
    """,
}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    """A daemon that signs for example.org with both schemes, and answers from a file."""
    path = tmp_path_factory.mktemp("daemon")
    key = path / "key.pem"
    key.write_bytes(generate("rsa", 2048))
    record = format_record("rsa", PrivateKey.load_pem(key.read_bytes()).public_der).decode()
    quoted = " ".join(f'"{record[i : i + 250]}"' for i in range(0, len(record), 250))
    (path / "records").write_text(f"s._domainkey.example.org TXT {quoted}\ns._domainkey.slow.example TIMEOUT\n")
    running = Daemon(path, None, extra=f'[dns]\nrecords_file = "{path}/records"\n')
    running.config.write_text(
        running.config.read_text()
        + f'[[keys]]\ndomain = "example.org"\nselector = "s"\npath = "{key}"\nschemes = ["dkim", "domainkeys"]\n'
    )
    with running:
        yield running


@pytest.mark.parametrize("title", SCRIPTS)
def test_miltertest(daemon: Daemon, tmp_path: Path, title: str):
    """miltertest finds what the title says, and reports no error of protocol."""
    script = tmp_path / "script.lua"
    script.write_text(f'socket = "unix:{daemon.socket}"\n{PRELUDE}\n{SCRIPTS[title]}')
    done = subprocess.run(
        ["miltertest", "-s", str(script)], capture_output=True, text=True, timeout=LAST_RESORT_SECONDS, check=False
    )

    assert 0 == done.returncode, done.stdout + done.stderr + daemon.log[-2000:]
    assert "Traceback" not in daemon.log
