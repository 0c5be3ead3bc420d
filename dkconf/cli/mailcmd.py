"""`dkconf mail sign|verify`: what the filter does with a message, for a file and by the same code."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from dkconf.cli.common import say
from dkconf.errors import DkconfError, Status, UsageProblem
from dkconf.files.problems import said
from dkconf.files.reading import read_given

if TYPE_CHECKING:
    from dkconf.filter.incoming import Outcome
    from dkconf.mail.lookup import TxtAnswer
    from dkconf.mail.verdict import Verdict

STYLES = {"pass": "good", "fail": "bad", "permerror": "bad", "temperror": "warn", "policy": "warn"}
CANONICALIZATIONS = {
    "domainkeys": {"simple": "simple", "nofws": "nofws"},
    # RFC 6376 section 3.5, c=: a body form that is left out is simple.
    "dkim": {
        "simple": "simple/simple",
        "relaxed": "relaxed/simple",
        **{form: form for form in ("simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed")},
    },
}
EPOCH = click.IntRange(0, 10**12 - 1)
"""RFC 6376 section 3.5: more than twelve digits in t= need not be understood."""
DEFAULT_CANONICALIZATION = {"domainkeys": "nofws", "dkim": "relaxed/simple"}


@click.group()
def mail() -> None:
    """Sign or verify a message in a file, as the filter would."""


MAX_KEY_OCTETS = 65536
"""RSA-16384 takes 12 KiB in PEM."""
MAX_OCTETS = 256 * 1024 * 1024
"""Of a message or a list of records. sendmail's MaxMessageSize has no default; more than a tenth of this is rare."""


def _octets(path: str, limit: int = MAX_OCTETS) -> bytes:
    """Return the octets of a file, of standard input for "-", or of a pipe that the user gives."""
    try:
        return read_given(path, limit=limit)
    except FileNotFoundError as error:
        raise DkconfError(f"{path}: {said(error)}") from None


# --- verify


@mail.command(short_help="Verify every signature of messages.")
@click.argument("messages", nargs=-1, required=True, metavar="MESSAGE...")
@click.option("--records", metavar="FILE", help='Answer from FILE (NAME TXT "...") instead of the DNS.')
@click.option("--now", type=EPOCH, metavar="EPOCH", help="Seconds since 1970 for t= and x=; default: the clock.")
@click.option("--min-bits", type=click.IntRange(512, 16384), metavar="N", help="Shorter RSA keys do not pass.")
@click.option(
    "--unsigned-content",
    type=click.Choice(("accept", "policy")),
    default="accept",
    show_default=True,
    help="What a DKIM signature is worth whose l= leaves the end of the body unsigned: it passes, or is policy.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per message, a line each.")
def verify(
    messages: tuple[str, ...],
    records: str | None,
    now: int | None,
    min_bits: int | None,
    unsigned_content: str,
    as_json: bool,
) -> int:
    """Verify every DomainKeys and DKIM signature of each MESSAGE ("-" is standard input).

    A signature that fails is a result, not an error: the status is 0 unless a file cannot be read.
    """
    lookup = _lookup(records)
    status = Status.OK
    for path in messages:
        try:
            octets = _octets(path)
        except DkconfError as error:
            # The other messages are verified all the same.
            print(f"dkconf: {error}", file=sys.stderr)
            status = Status.ERROR
            continue
        outcome = _verify(octets, lookup, int(time.time()) if now is None else now, min_bits, unsigned_content)
        if as_json:
            click.echo(json.dumps(_as_json(path, outcome)))
        else:
            say(_as_lines(path, outcome))
    return int(status)


def _lookup(records: str | None) -> Callable[[bytes], TxtAnswer]:
    """A function that answers a TXT question, from a file or from the DNS."""
    if records is None:
        from dkconf.dns.resolve import lookup

        ask = lookup()
        return lambda name: ask(name.decode("ascii", "backslashreplace"))
    from dkconf.mail.lookup import RecordsError, parse_records

    try:
        return parse_records(_octets(records).decode("utf-8")).answer
    except (RecordsError, UnicodeDecodeError) as error:
        raise DkconfError(f"{records}: {error}") from None


def _verify(
    octets: bytes, lookup: Callable[[bytes], TxtAnswer], now: int, min_bits: int | None, unsigned_content: str
) -> Outcome:
    from dkconf.dkim.canonical import BodyHashes
    from dkconf.dkim.verifier import DEFAULT_LIMITS as DKIM_LIMITS
    from dkconf.domainkeys.verifier import DEFAULT_LIMITS as DOMAINKEYS_LIMITS
    from dkconf.filter.config import Settings
    from dkconf.filter.incoming import Outcome, Verification
    from dkconf.filter.policy import ActionTables
    from dkconf.mail.header import parse_message

    dkim_limits = replace(DKIM_LIMITS, allow_unsigned_content=unsigned_content == "accept")
    domainkeys_limits = DOMAINKEYS_LIMITS
    if min_bits is not None:
        dkim_limits = replace(dkim_limits, min_rsa_bits=min_bits)
        domainkeys_limits = replace(domainkeys_limits, min_rsa_bits=min_bits)
    fields, body = parse_message(octets)
    job = Verification(
        fields,
        ActionTables(Settings(socket="")),
        now=now,
        dkim_limits=dkim_limits,
        domainkeys_limits=domainkeys_limits,
    )
    hashes = BodyHashes(job.hash_keys)
    for update in (*job.updates, hashes.update):
        update(body)
    answers: dict[bytes, TxtAnswer] = {}
    wanted = job.queries
    while True:
        answers.update({name: lookup(name) for name in wanted})
        found = job.finish(answers, hashes)
        if isinstance(found, Outcome):
            return found
        wanted = found


def _verdicts(outcome: Outcome) -> list[Verdict]:
    """All verdicts, in the order of their fields in the message."""
    return sorted((*outcome.dkim, *outcome.domainkeys), key=lambda verdict: verdict.header_field)


def _as_json(path: str, outcome: Outcome) -> dict[str, Any]:
    return {
        "file": path,
        "signatures": [
            {
                "scheme": verdict.scheme,
                "domain": verdict.domain,
                "selector": verdict.selector,
                "algorithm": verdict.algorithm,
                "result": verdict.result,
                "reason": verdict.reason,
            }
            for verdict in _verdicts(outcome)
        ],
        "policy": _policy(outcome),
    }


def _policy(outcome: Outcome) -> dict[str, Any] | None:
    """The sender domain's DomainKeys policy; None where it was not asked for or there is none."""
    domain = outcome.sender.domain.decode("ascii", "backslashreplace") if outcome.sender else ""
    if outcome.policy_fault:
        return {"domain": domain, "error": outcome.policy_fault}
    if outcome.policy is None:
        return None
    policy = outcome.policy
    signs = "all" if policy.signs_all else "some"
    return {
        "domain": domain, "signs": signs, "testing": policy.testing, "report": policy.report, "note": policy.note
    }  # fmt: skip


def _as_lines(path: str, outcome: Outcome) -> list[tuple[str, str]]:
    from dkconf.filter.results import printable

    lines = []
    for verdict in _verdicts(outcome):
        words = [f"{verdict.scheme}={verdict.result}"]
        words += [f"{tag}={value}" for tag, value in (
            ("d", verdict.domain), ("s", verdict.selector), ("a", verdict.algorithm)
        ) if value]  # fmt: skip
        if verdict.reason:
            words.append(f"({verdict.reason}{', test mode' if verdict.testing else ''})")
        lines.append((STYLES.get(verdict.result, ""), printable(f"{path}: {' '.join(words)}")))
    if not lines:
        why = f" ({outcome.sender_fault})" if outcome.sender_fault else ""
        lines.append(("warn", printable(f"{path}: not signed{why}")))
    policy = _policy(outcome)
    if policy is not None:
        text = policy.get("error") or f"signs {policy['signs']}{', test mode' if policy['testing'] else ''}"
        lines.append(("dim", printable(f"{path}: DomainKeys policy of {policy['domain']}: {text}")))
    return lines


# --- sign


@mail.command(short_help="Write the message with a signature on top.")
@click.argument("file", metavar="FILE")
@click.option("--domain", required=True, metavar="D", help="d= of the signature.")
@click.option("--selector", required=True, metavar="S", help="s= of the signature.")
@click.option("--key", required=True, metavar="PEM", help="The private key.")
@click.option("--scheme", type=click.Choice(("domainkeys", "dkim")), default="dkim", show_default=True)
@click.option(
    "--canonicalization",
    metavar="C",
    help="domainkeys: simple or nofws (default); dkim: HEADER/BODY, each simple or relaxed (relaxed/simple).",
)
@click.option("--now", type=EPOCH, metavar="EPOCH", help="t= of the signature; default: the clock.")
def sign(
    file: str, domain: str, selector: str, key: str, scheme: str, canonicalization: str | None, now: int | None
) -> int:
    """Write the message in FILE ("-" is standard input) to standard output, with its signature on top.

    All other octets stay as they are, whether its lines end in LF or CRLF.
    """
    forms = CANONICALIZATIONS[scheme]
    form = forms.get(canonicalization or DEFAULT_CANONICALIZATION[scheme])
    if form is None:
        raise UsageProblem(f'--canonicalization "{canonicalization}" is unknown; write one of {", ".join(forms)}')
    octets = _octets(file)
    signature = _sign(octets, domain, selector, key, scheme, form, int(time.time()) if now is None else now)
    first_line, newline, _ = octets.partition(b"\n")
    if not (newline and first_line.endswith(b"\r")):
        signature = signature.replace(b"\r\n", b"\n")
    # An mbox file's first line is no part of the message.
    start = len(first_line) + 1 if first_line.startswith((b"From ", b">From ")) and newline else 0
    sys.stdout.buffer.write(octets[:start] + signature + octets[start:])
    return int(Status.OK)


def _sign(octets: bytes, domain: str, selector: str, key: str, scheme: str, form: str, now: int) -> bytes:
    """The signature field with its final CRLF, folded with CRLF."""
    from dkconf.dkim.canonical import BodyHashes
    from dkconf.filter.config import Canonicalization, KeyEntry, Settings, SettingsError
    from dkconf.filter.engine import Engine
    from dkconf.filter.outgoing import Signing
    from dkconf.filter.values import domain as check_domain
    from dkconf.filter.values import selector as check_selector
    from dkconf.mail.header import parse_message

    checks: tuple[tuple[str, str, Callable[[str], str]], ...] = (
        ("--domain", domain, check_domain),
        ("--selector", selector, check_selector),
    )
    for option, value, check in checks:
        try:
            check(value)
        except ValueError as error:
            raise UsageProblem(f"{option} {error}") from None
    chosen: Any = (scheme,)
    settings = Settings(
        socket="",
        keys=(KeyEntry(domain, selector, key, schemes=chosen),),
        canonicalization=replace(Canonicalization(), **{scheme: form}),
    )
    try:
        engine = Engine.load(settings, lambda path: _octets(path, MAX_KEY_OCTETS))
    except SettingsError as error:
        raise DkconfError(error.problems[0].removeprefix("keys[0].path: ")) from None
    fields, body = parse_message(octets)
    job = Signing(engine.keys.find(b"", domain.lower().rstrip(".").encode("ascii")), fields)
    if job.problems:
        raise DkconfError("; ".join(job.problems))
    hashes = BodyHashes(job.hash_keys)
    for update in (*job.updates, hashes.update):
        update(body)
    return b"".join(field.octets() for field in job.finish(hashes, now))
