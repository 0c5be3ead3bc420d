"""Try a staged configuration with a canary message, and say what is wrong before anything is live.

The same canary runs with the live configuration first: only what is worse than before is held against the
candidate. A filter that is off now, or whose settings change, is tried in a throwaway instance. An external
filter that is to be called and does not answer cannot be judged, which is a refusal too.
"""

from __future__ import annotations

import ipaddress
import time
import tomllib
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from dkconf.desired.state import DesiredState, MilterFilter, Signature
from dkconf.errors import Refusal
from dkconf.files.removing import remove_tree
from dkconf.host.places import RUN_DIRECTORY
from dkconf.probe import canary, milterping, signatures
from dkconf.probe.canary import Canary
from dkconf.probe.hostname import host_name, qualified_name
from dkconf.sendmail import cf
from dkconf.trial import throwaway
from dkconf.trial.stage import Staged, private_directory
from dkconf.trial.throwaway import Throwaway, ThrowawayFailed

CANARY = "canary"
"""The risk's ID."""
MAX_DOMAINS = 5
"""Signing domains that are tried per apply: each takes a second where greet_pause is on."""


@dataclass(slots=True)
class Judgement:
    refusals: list[Refusal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    before: list[Canary] = field(default_factory=list)
    """With the live configuration."""
    after: list[Canary] = field(default_factory=list)
    """With the candidate."""
    culprits: tuple[str, ...] = ()
    """Filters that refuse the canary when they are called alone; () where one cannot tell."""

    def refuse(self, sentence: str) -> None:
        """Add a refusal of the risk `canary`."""
        self.refusals.append(Refusal(CANARY, sentence, f"cure it, or --accept-risk {CANARY}"))


def judge(
    staged: Staged,
    live_cf: bytes,
    desired: DesiredState,
    *,
    changed: Collection[str],
    domains: Sequence[str] = (),
    run_dir: str = RUN_DIRECTORY,
) -> Judgement:
    """Run the canaries; nothing live is touched, and nothing is left behind.

    Args:
        live_cf: The .cf in force.
        changed: Filters that are off now, or whose settings or keys differ from what runs.
        domains: Signing domains to try first; others of `desired` follow, up to MAX_DOMAINS.
    """
    found = Judgement()
    directory = private_directory("canary", run_dir)
    running: list[Throwaway] = []
    try:
        live = cf.parse(live_cf.decode("latin-1"))
        # What is not called yet has no "as before" to be excused by, an external filter included.
        changed = {*changed, *(f.name for f in desired.filters if f.enabled and f.name not in live.input_filters)}
        for one in desired.filters:
            if one.enabled:
                _ready(one, desired, one.name in changed, live, directory, running, found)
        if found.refusals:
            return found
        host = qualified_name() or host_name()
        senders = _domains(desired, domains, host)
        sockets = {t.name: t.socket for t in running}
        program = desired.paths.sendmail
        # Side by side: each waits for greet_pause, and neither knows of the other.
        with ThreadPoolExecutor(2) as pool:
            before = pool.submit(_canaries, program, live_cf, live, directory, "live", {}, senders[:1], host)
            after = pool.submit(
                _canaries, program, staged.cf, staged.model, directory, "candidate", sockets, senders, host
            )
            found.before, found.after = before.result(), after.result()
        failed = next((one for one in found.after if not one.accepted), None)
        if failed is not None:
            found.culprits = _culprits(desired.paths.sendmail, staged, directory, sockets, failed, host)
    finally:
        for instance in running:
            instance.stop()
        remove_tree(str(directory))
    _compare(found, desired, changed)
    return found


def _ready(
    one: MilterFilter,
    desired: DesiredState,
    changed: bool,
    live: cf.CfModel,
    directory: Path,
    running: list[Throwaway],
    found: Judgement,
) -> None:
    """See that a filter that is to be called can be: by a throwaway instance, or by its own."""
    if changed and one.program != "external":
        try:
            running.append(throwaway.start(one, desired, directory))
        except ThrowawayFailed as error:
            found.refuse(str(error))
        return
    why = milterping.answers(one.socket)
    if not why:
        return
    if one.name in live.input_filters and not changed:
        found.notes.append(f"filter {one.name} is called already and does not answer ({why})")
    else:
        found.refuse(f"filter {one.name} is not judged: it does not answer ({why}); start it first")


def _canaries(
    sendmail: str,
    cf_octets: bytes,
    model: cf.CfModel,
    directory: Path,
    name: str,
    sockets: dict[str, str],
    senders: Sequence[str],
    host: str,
) -> list[Canary]:
    path, queue = canary.prepare(cf_octets.decode("latin-1"), model, directory, sockets, name)
    # The live one's failure is known to its host already: only the candidate's is looked up in the log.
    explain = name == "candidate"
    found = [canary.run(sendmail, path, queue, model, domain=d, host=host, explain=explain) for d in senders]
    for own in model.filter_lists()[1:]:
        found.append(canary.run(sendmail, path, queue, model, domain=senders[0], host=host, filters=own))
    return found


def _culprits(
    sendmail: str, staged: Staged, directory: Path, sockets: dict[str, str], failed: Canary, host: str
) -> tuple[str, ...]:
    """Return which filters, called alone, refuse the message: sendmail's reply does not name them."""
    path, queue = canary.prepare(staged.cf.decode("latin-1"), staged.model, directory, sockets, "single")

    def accepted(*filters: str) -> bool:
        return canary.run(
            sendmail, path, queue, staged.model, domain=failed.domain, host=host, filters=filters
        ).accepted

    if not accepted():
        return ()  # sendmail itself refuses it
    if len(failed.filters) == 1:
        return failed.filters
    return tuple(name for name in dict.fromkeys(failed.filters) if not accepted(name))


def _domains(desired: DesiredState, first: Sequence[str], host: str) -> list[str]:
    """Return the signing domains to try: those asked for, then of each filter one, then others."""
    signing = [[s.domain for s in one.signs] for one in desired.filters if one.signs]
    known = {domain for domains in signing for domain in domains}
    order = [d for d in first if d in known]
    order += [domains[0] for domains in signing]
    order += [domain for domains in signing for domain in domains]
    return list(dict.fromkeys(order))[:MAX_DOMAINS] or [host.partition(".")[2] or host]


def _compare(found: Judgement, desired: DesiredState, changed: Collection[str]) -> None:
    """Fill in what the candidate's canaries show against the live one's."""
    before = found.before[0]
    records = {r.name: r.value for r in desired.records if r.kind == "key"}
    for after in found.after:
        if not after.accepted:
            by = f" (by filter {', '.join(found.culprits)})" if found.culprits else ""
            words = f"the canary from {after.domain} is not accepted{by}: {after}"
            if after.logged:
                words += f" (logged: {'; '.join(after.logged)})"
            if before.accepted or after.verdict.rank < before.verdict.rank:
                found.refuse(f"{words} (before: {before})")
            elif any(one.enabled and one.name in changed for one in desired.filters):
                found.refuse(f"{words}; it was not before either, so the filters are not judged")
            else:
                found.notes.append(f"{words}; as before ({before})")
            continue
        _signatures(found, after, before, desired, changed, records)


def _signatures(
    found: Judgement,
    after: Canary,
    before: Canary,
    desired: DesiredState,
    changed: Collection[str],
    records: dict[str, bytes],
) -> None:
    """Compare the signatures of an accepted canary with those that are meant."""
    verdicts = signatures.verify(after.fields, after.body, records, int(time.time()))
    there = {(v.scheme, v.domain, v.selector): v for v in verdicts}
    had = {
        (v.scheme, v.domain, v.selector) for v in signatures.verify(before.fields, before.body, {}, int(time.time()))
    }
    meant: set[tuple[str, str, str]] = set()
    for one in desired.filters:
        if not one.enabled or one.name not in after.filters:
            continue
        reason = why_unsigned(one, desired)
        for signature in _of(one.signs, after.domain):
            key = (signature.scheme, signature.domain, signature.selector)
            meant.add(key)
            what = f"the {signature.scheme} signature of {one.name} with {signature.selector} for {signature.domain}"
            verdict = there.get(key)
            if verdict is None and reason:
                found.notes.append(f"{what} is not judged: {reason}")
            elif verdict is None and one.name not in changed and before.accepted and key not in had:
                found.notes.append(f"{what} is missing, as before")
            elif verdict is None:
                found.refuse(f"{what} is missing from the canary")
            elif f"{signature.selector}._domainkey.{signature.domain}" not in records:
                found.notes.append(f"{what} is there; its public half is not known here, so it is not verified")
            elif verdict.result != "pass":
                found.refuse(f"{what} does not verify: {verdict.result} ({verdict.reason})")
    # What a program of somebody else's signs is known by hearsay: it may hold the same key.
    others = [o.name for o in desired.filters if o.enabled and o.program == "external" and "sign" in o.roles]
    for one in desired.filters:
        for signature in _of(one.signs, after.domain):
            key = (signature.scheme, signature.domain, signature.selector)
            if not one.enabled and key in there and key not in meant:
                words = (
                    f"the canary carries a {signature.scheme} signature with {signature.selector} for "
                    f"{signature.domain}, although filter {one.name} is not called"
                )
                if others:
                    found.notes.append(f"{words}; it may be by {' or '.join(others)}")
                else:
                    found.refuse(words)


def _of(signs: Iterable[Signature], domain: str) -> list[Signature]:
    return [s for s in signs if s.domain == domain]


def why_unsigned(one: MilterFilter, desired: DesiredState) -> str:
    """Return why a filter does not sign a canary, though it signs mail; "" = it does.

    The canary comes from 127.0.0.1, without {daemon_name} and without {auth_type}.
    """
    if one.internal_hosts and not _holds_loopback(one.internal_hosts):
        return "its internal hosts do not hold 127.0.0.1"
    origin: dict[str, object] = {}
    for file in desired.files:
        if file.filter == one.name and file.role == "filter-settings":
            try:
                origin = tomllib.loads(file.content.decode("utf-8")).get("origin", {})
            except (tomllib.TOMLDecodeError, UnicodeDecodeError):
                origin = {}
    argv: tuple[str, ...] = next((s.argv for s in desired.services if s.filter == one.name), ())
    is_dk_filter = one.program == "dk-filter"
    if origin.get("daemons") or (is_dk_filter and throwaway.option(argv, "-m")):
        return "it signs mail of named daemons only"
    if origin.get("macros") or (is_dk_filter and throwaway.option(argv, "-M")):
        return "it signs by macro only"
    peers = origin.get("peers")
    if isinstance(peers, list) and peers and _holds_loopback([str(p) for p in peers]):
        return "127.0.0.1 is one of its peers, which it leaves alone"
    return ""


def _holds_loopback(hosts: Iterable[str]) -> bool:
    loopback = ipaddress.ip_address("127.0.0.1")
    for host in hosts:
        if host.lower() in ("localhost", "localhost.localdomain"):
            return True
        try:
            network = ipaddress.ip_network(host.strip("[]"), strict=False)
        except ValueError:
            continue
        if network.version == 4 and loopback in network:
            return True
    return False
