"""dkconf-filter under real sendmail, started by `dkconf apply`; its signatures verified by others, and theirs by it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import require
from tests.lab import Lab, Received, build_message, inventory
from tests.lab.filters import OpenDkim
from tests.lab.nameserver import NameServer
from tests.patience import LAST_RESORT_SECONDS

pytestmark = pytest.mark.live
ALICE = "alice@example.org"
OUTSIDE = "198.51.100.1"

# Prints "SCHEME RESULT" for each signature of the message on standard input.
VERIFY = r"""
use strict; use Mail::DKIM::Verifier;
my $v = Mail::DKIM::Verifier->new(); binmode STDIN;
while (<STDIN>) { s/\r?\n$//; $v->PRINT("$_\015\012"); }
$v->CLOSE;
for my $s ($v->signatures) {
    my $scheme = $s->isa("Mail::DKIM::DkSignature") ? "domainkeys" : "dkim";
    print "$scheme ", $s->result, "\n";
}
"""
# Signs the message on standard input: KEYFILE SCHEME CANONICALIZATION; prints the signature field.
SIGN = r"""
use strict; use Mail::DKIM::Signer; use Mail::DKIM::DkSignature; use Mail::DKIM::Signature; binmode STDIN;
my ($key, $scheme, $method, $domain, $selector) = @ARGV;
my $signer = Mail::DKIM::Signer->new(KeyFile => $key, Domain => $domain, Selector => $selector, Policy => sub {
    my $signer = shift;
    my $class = $scheme eq "dkim" ? "Mail::DKIM::Signature" : "Mail::DKIM::DkSignature";
    my $algorithm = $scheme eq "dkim" ? "rsa-sha256" : "rsa-sha1";
    $signer->add_signature($class->new(Algorithm => $algorithm, Method => $method, Domain => $domain,
        Selector => $selector, Headers => $signer->headers));
    return 1;
});
while (<STDIN>) { s/\r?\n$//; $signer->PRINT("$_\015\012"); }
$signer->CLOSE;
print $_->as_string, "\015\012" for $signer->signatures;
"""


def perl(lab: Lab, script: str, message: bytes, *args: str) -> str:
    """Run a Perl script in the lab with the message as standard input; return what it prints."""
    (lab.dir / "script.pl").write_text(script)
    (lab.dir / "message.eml").write_bytes(message)
    ran = lab.run("sh", "-c", 'exec perl script.pl "$@" < message.eml', "perl", *args)
    assert ran.status == 0, ran
    return ran.out


@contextlib.contextmanager
def applied_lab(directory: Path) -> Iterator[Lab]:
    """A lab whose dkconf-filter signs with DomainKeys and DKIM and verifies, applied by dkconf."""
    require("named", "perl", "opendkim")
    if subprocess.run(["perl", "-MMail::DKIM", "-e", "1"], check=False, capture_output=True).returncode:
        require("Mail::DKIM (libmail-dkim-perl)")
    with Lab(directory) as lab:
        lab.start_sendmail()
        _apply(lab)
        yield lab


def _apply(lab: Lab) -> None:
    inventory.write(
        lab,
        inventory.own_filter(),
        [inventory.OWN],
        services=inventory.OWN_SERVICE,
        domain="sign: [domainkeys, dkim]",
    )
    NameServer(lab).publish({}, inventory.own_key(lab))
    applied = lab.dkconf("apply", "--yes")
    assert applied.status == 0, applied


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Lab]:
    """A lab of the test's own."""
    with applied_lab(tmp_path / "lab") as lab:
        yield lab


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab that several tests send through."""
    with applied_lab(tmp_path_factory.mktemp("own") / "lab") as lab:
        yield lab


def signatures(received: Received) -> tuple[int, int]:
    """Return how many DomainKey-Signature and DKIM-Signature fields a message has."""
    return len(received.fields("DomainKey-Signature")), len(received.fields("DKIM-Signature"))


def from_outside(lab: Lab, message: bytes) -> Received:
    """Send a message in from a host that is not ours; return it as it left for its recipient."""
    recipient = f"{uuid.uuid4().hex}@example.test"
    outcome = lab.send(message, source=OUTSIDE, recipient=recipient)
    assert outcome.accepted, outcome
    received = lab.sink.received.wait(lambda item: item.recipients == (recipient,), LAST_RESORT_SECONDS)
    assert received is not None
    return received


def results(received: Received) -> bytes:
    """Return its Authentication-Results on one line."""
    return b" ".join(b" ".join(received.fields("Authentication-Results")).split())


def alice(subject: str, body: str = "Hello.\r\n", extra: bytes = b"") -> bytes:
    return extra + build_message(subject, body, sender=ALICE)


def test_the_story_with_our_own_filter(fresh: Lab) -> None:
    """apply starts the filter, disable-filter stops it after sendmail has forgotten it, rollback starts it again."""
    assert (1, 1) == signatures(fresh.deliver("applied", alice("applied")))

    disabled = fresh.dkconf("disable-filter", inventory.OWN, "--yes")
    assert 0 == disabled.status, disabled
    assert (0, 0) == signatures(fresh.deliver("disabled", alice("disabled")))
    fresh.wait_for_port_closed(inventory.OWN_PORT)

    back = fresh.dkconf("rollback", "--yes")
    assert 0 == back.status, back
    assert (1, 1) == signatures(fresh.deliver("back", alice("back")))

    released = fresh.dkconf("release", "--yes")
    assert 0 == released.status, released
    assert (0, 0) == signatures(fresh.deliver("released", alice("released")))
    fresh.wait_for_port_closed(inventory.OWN_PORT)


def test_a_rewritten_pid_file_has_nobody_ended(fresh: Lab) -> None:
    """The filter's user names another python of root's: dkconf stops the filter that it started, and only that."""
    python = fresh.spawn(sys.executable, "-c", "import signal; signal.pause()")
    inside = status(Path(f"/proc/{python.pid}"))["NSpid"].split()[-1]
    pid_file = fresh.path("/run/dkconf-filter.pid")

    for _ in range(2):
        own = fresh.path(f"/proc/{pid_file.read_text().strip()}")
        user = int(status(own)["Uid"].split()[0])
        assert user != 0
        pid_file.unlink()
        pid_file.write_text(inside)
        os.chown(pid_file, user, user)
        disabled = fresh.dkconf("disable-filter", inventory.OWN, "--yes")
        assert 0 == disabled.status, disabled
        fresh.wait_for_port_closed(inventory.OWN_PORT)
        assert not own.exists()
        enabled = fresh.dkconf("enable-filter", inventory.OWN, "--yes")
        assert 0 == enabled.status, enabled
    assert (1, 1) == signatures(fresh.deliver("still", alice("still")))
    assert python.process.poll() is None


def status(process: Path) -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines() if ":\t" in line)


BODIES = {
    "plain": "Hello.\r\n",
    "empty": "",
    "trailing blanks": "Hello  \t\r\n  two  blanks \r\n\r\n\r\n",
    "dots": ".leading\r\n..two\r\n.\r\nend\r\n",
    "8-bit": "Gr\u00fc\u00dfe\r\n",
    "long": "x" * 900 + "\r\n" + "line of text \r\n" * 9000,
}


@pytest.mark.parametrize("name", BODIES)
def test_mail_dkim_verifies_what_left(own: Lab, name: str) -> None:
    """Mail::DKIM finds both signatures good, as they left sendmail; one octet changed and neither is."""
    extra = b"X-Folded: one\r\n\ttwo  \r\n three\r\nX-Eight: Gr\xc3\xbc\xc3\x9fe\r\n"
    received = own.deliver(name, alice(name, BODIES[name], extra))

    assert ["dkim pass", "domainkeys pass"] == sorted(perl(own, VERIFY, received.octets).split("\n")[:2])

    changed = received.octets.replace(b"Subject: ", b"Subject: x")
    assert "pass" not in perl(own, VERIFY, changed)


@pytest.mark.parametrize(
    "scheme, method",
    [
        ("dkim", "simple/simple"),
        ("dkim", "relaxed/relaxed"),
        ("dkim", "relaxed/simple"),
        ("domainkeys", "simple"),
        ("domainkeys", "nofws"),
    ],
)
@pytest.mark.parametrize("good", [True, False])
def test_we_verify_what_mail_dkim_signed(own: Lab, scheme: str, method: str, good: bool) -> None:
    """Signed by Mail::DKIM, sent through sendmail from outside: our verdict is pass; with an octet changed, fail."""
    message = alice(f"by perl {good}", BODIES["trailing blanks"])
    key = str(own.dir / "key.pem")
    inventory.copy_for_outside(own, Path(key))
    field = perl(own, SIGN, message, key, scheme, method, inventory.DOMAIN, inventory.SELECTOR)
    signed = field.replace("\r\n", "\n").replace("\n", "\r\n").encode() + message
    if not good:
        signed = signed.replace(b"two", b"twp")

    assert f"{scheme}={'pass' if good else 'fail'}".encode() in results(from_outside(own, signed))


def test_we_verify_what_opendkim_signed(own: Lab) -> None:
    """OpenDKIM signs in the same lab, with the same key; its signature is taken out of what left and sent in again."""
    signer = OpenDkim(own, domain=inventory.DOMAIN, selector=inventory.SELECTOR)
    inventory.copy_for_outside(own, signer.key)
    signer.start()
    # A daemon of its own calls OpenDKIM alone, over the same sink.
    cf = own.path("/etc/mail/sendmail.cf").read_text()
    lines = [
        f"Xopendkim, {signer.equates}, F=T" if line.startswith(f"X{inventory.OWN}") else line for line in cf.split("\n")
    ]
    text = "\n".join(lines).replace(f"InputMailFilters={inventory.OWN}", "InputMailFilters=opendkim")
    own.path("/etc/mail/other.cf").write_text(text)
    own.run("mkdir", "-p", "/var/spool/other")
    other = [
        "/usr/sbin/sendmail", "-C", "/etc/mail/other.cf", "-bd", "-L", "other",
        "-OQueueDirectory=/var/spool/other", "-OPidFile=/run/other.pid",
        "-ODaemonPortOptions=Name=other,Port=2526,Addr=127.0.0.1",
        "-OControlSocketName=/run/other.sock",
    ]  # fmt: skip
    started = own.run(*other)
    assert 0 == started.status, started
    own.wait_for_port(2526)
    message = alice("by opendkim", BODIES["trailing blanks"])
    assert own.send(message, port=2526).accepted
    left = own.sink.received.wait(lambda item: item.subject == "by opendkim", LAST_RESORT_SECONDS)
    assert left is not None
    assert (0, 1) == signatures(left)
    start = left.octets.index(b"DKIM-Signature:")

    assert b"dkim=pass" in results(from_outside(own, left.octets[start:]))


def test_a_forged_authentication_results_is_removed(own: Lab) -> None:
    """A field from outside that claims our name does not survive."""
    forged = alice("forged", extra=b"Authentication-Results: mx1.example.test; dkim=pass header.d=bank.example\r\n")

    assert b"bank.example" not in results(from_outside(own, forged))


def test_mail_is_tempfailed_while_the_name_server_is_silent(fresh: Lab) -> None:
    """No answer of DNS is condition dns: tempfail by default, explained in one log line by queue ID."""
    key = str(fresh.dir / "key.pem")
    inventory.copy_for_outside(fresh, Path(key))
    message = alice("no dns")
    field = perl(fresh, SIGN, message, key, "dkim", "relaxed/relaxed", "silent.test", "s9")
    fresh.run("pkill", "named")

    outcome = fresh.send(field.replace("\r\n", "\n").replace("\n", "\r\n").encode() + message, source=OUTSIDE)

    assert outcome.final.startswith("451"), outcome
    line = fresh.wait_for_log("silent.test")
    assert "s9" in line
    assert "dns" in line
