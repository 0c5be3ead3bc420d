"""What is made once from the settings and serves every message: keys, tables and lists.

An `Engine` never changes; a reload makes a new one, and a message keeps the one it began with. It opens no file
itself: `load` is handed a function that reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from dkconf.crypto.keys import KeyProblem, PrivateKey
from dkconf.dkim.choice import DEFAULT_SIGN_HEADERS
from dkconf.dkim.signer import Signer as DkimSigner
from dkconf.dkim.verifier import Limits as DkimLimits
from dkconf.domainkeys.signer import Signer as DomainKeysSigner
from dkconf.domainkeys.verifier import Limits as DomainKeysLimits
from dkconf.errors import DkconfError
from dkconf.filter.config import KeyEntry, Settings, SettingsError
from dkconf.filter.glob import Glob
from dkconf.filter.hosts import HostList
from dkconf.filter.policy import ActionTables
from dkconf.mail.domain import MAX_DOMAIN_OCTETS

MIN_DKIM_BITS = 1024
"""RFC 8301 section 3.2: signers MUST use RSA keys of at least 1024 bits."""
GOOD_BITS = 2048
"""RFC 8301: signers SHOULD use at least this."""
MAX_U_DOMAIN_OCTETS = 4 * MAX_DOMAIN_OCTETS
"""Of a domain in UTF-8, whose characters have four octets at most."""
SHOWN_NOTES = 10
"""Of each kind, in the log at start and reload."""
REMEMBERED_SENDERS = 4096
"""Sender domains whose signers are remembered; more, and the memory starts anew."""


@dataclass(frozen=True, slots=True)
class Signers:
    """All that signs one message."""

    dkim: tuple[DkimSigner, ...] = ()
    domainkeys: tuple[DomainKeysSigner, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.dkim or self.domainkeys)


NONE = Signers()


@dataclass(slots=True)
class _Pattern:
    """Entries whose senders or domain hold a "*", in their order."""

    address: tuple[Glob, ...]
    domain: Glob | None
    entries: list[tuple[KeyEntry, PrivateKey]]

    def matches(self, local: bytes, domain: bytes) -> bool:
        if self.domain is not None:
            return self.domain.matches(domain)
        address = local + b"@" + domain
        return any(pattern.matches(address) for pattern in self.address)


class KeyTable:
    """Finds the keys for a sender: of its domain, else of the nearest parent with `subdomains`, else patterns."""

    __slots__ = ("_below", "_exact", "_patterns", "_remembered", "_settings")

    def __init__(self, settings: Settings, keys: Mapping[str, PrivateKey]) -> None:
        self._settings = settings
        exact: dict[bytes, list[tuple[KeyEntry, PrivateKey]]] = {}
        below: dict[bytes, list[tuple[KeyEntry, PrivateKey]]] = {}
        patterns: dict[object, _Pattern] = {}
        for entry in settings.keys:
            pair = (entry, keys[entry.path])
            domain = entry.domain.lower().rstrip(".").encode("ascii")
            if entry.senders or b"*" in domain:
                pattern = patterns.get(entry.senders or domain)
                if pattern is None:
                    whose = None if entry.senders else Glob(entry.domain.rstrip("."))
                    pattern = _Pattern(tuple(map(Glob, entry.senders)), whose, [])
                    patterns[entry.senders or domain] = pattern
                pattern.entries.append(pair)
                continue
            exact.setdefault(domain, []).append(pair)
            if entry.subdomains:
                below.setdefault(domain, []).append(pair)
        self._exact = {domain: self._signers(pairs) for domain, pairs in exact.items()}
        self._below = {domain: self._signers(pairs) for domain, pairs in below.items()}
        self._patterns = tuple(patterns.values())
        self._remembered: dict[tuple[int, bytes], Signers] = {}

    def __bool__(self) -> bool:
        return bool(self._exact or self._patterns)

    def find(self, local: bytes, domain: bytes) -> Signers:
        """The signers for a sender (domain in lower case); none if no key is for it."""
        if not domain.isascii():
            if len(domain) > MAX_U_DOMAIN_OCTETS:
                return NONE
            try:
                # EAI mail has U-labels in From; keys are named by A-labels (RFC 8616 section 4).
                domain = domain.decode("utf-8").encode("idna")
            except UnicodeError:
                return NONE
        if len(domain) > MAX_DOMAIN_OCTETS:
            return NONE
        found = self._exact.get(domain)
        if found is not None:
            return found
        parent = domain
        while self._below:
            _, dot, parent = parent.partition(b".")
            if not dot:
                break
            found = self._below.get(parent)
            if found is not None:
                return found
        for number, pattern in enumerate(self._patterns):
            if pattern.matches(local, domain):
                return self._for_sender(number, pattern, domain)
        return NONE

    def _for_sender(self, number: int, pattern: _Pattern, domain: bytes) -> Signers:
        """The signers of a pattern; where the entry's domain is one too, d= is the sender's own."""
        found = self._remembered.get((number, domain))
        if found is None:
            if len(self._remembered) >= REMEMBERED_SENDERS:
                self._remembered.clear()
            name = domain.decode("ascii")
            try:
                found = self._signers(pattern.entries, name)
            except DkconfError:
                found = NONE  # the sender's domain is not one that DNS could have a key for
            self._remembered[number, domain] = found
        return found

    def _signers(self, pairs: list[tuple[KeyEntry, PrivateKey]], sender_domain: str = "") -> Signers:
        settings = self._settings
        omit = {name.lower() for name in settings.omit_headers}
        wanted = settings.sign_headers or DEFAULT_SIGN_HEADERS
        headers = tuple(name for name in wanted if name.lower() not in omit)
        header_canon, _, body_canon = settings.canonicalization.dkim.partition("/")
        dkim, domainkeys = [], []
        for entry, key in pairs:
            domain = sender_domain if "*" in entry.domain else entry.domain.lower().rstrip(".")
            if "dkim" in entry.schemes:
                dkim.append(
                    DkimSigner(
                        domain,
                        entry.selector,
                        key,
                        header_canon=header_canon,
                        body_canon=body_canon,
                        sign_headers=headers,
                        oversign=settings.oversign_headers,
                        ttl_seconds=settings.signature_ttl_seconds,
                    )
                )
            if "domainkeys" in entry.schemes:
                domainkeys.append(
                    DomainKeysSigner(
                        domain,
                        entry.selector,
                        key,
                        canon=settings.canonicalization.domainkeys,
                        omit=settings.omit_headers,
                    )
                )
        return Signers(tuple(dkim), tuple(domainkeys))


class Engine:
    """The settings made ready; made by `load`."""

    __slots__ = (
        "actions",
        "daemons",
        "dkim_limits",
        "domainkeys_limits",
        "external_ignore",
        "internal_hosts",
        "keys",
        "macros",
        "notes",
        "peers",
        "settings",
        "signs",
        "verifies",
    )

    def __init__(self, settings: Settings, keys: Mapping[str, PrivateKey]) -> None:
        """Take the private keys by the path that the settings name."""
        self.settings = settings
        self.keys = KeyTable(settings, keys)
        self.actions = ActionTables(settings)
        self.peers = HostList(settings.peers)
        self.internal_hosts = HostList(settings.internal_hosts)
        self.external_ignore = HostList(settings.external_ignore)
        self.daemons = frozenset(name.lower().encode() for name in settings.daemons)
        self.macros = tuple((name.encode(), value.lower().encode()) for name, value in settings.macros.items())
        self.dkim_limits = DkimLimits(
            min_rsa_bits=settings.min_key_bits,
            max_signatures=settings.max_signatures,
            clock_skew_seconds=settings.clock_skew_seconds,
            allow_unsigned_content=settings.unsigned_content == "accept",
        )
        self.domainkeys_limits = DomainKeysLimits(max_signatures=settings.max_signatures)
        self.signs = "sign" in settings.roles
        self.verifies = "verify" in settings.roles
        self.notes = tuple(_notes(settings, keys))
        """What an administrator should know, one line each, for the log at start and reload."""

    @classmethod
    def load(
        cls, settings: Settings, read_file: Callable[[str], bytes], proved: bool = False, place: str = "keys[{}].path"
    ) -> Engine:
        """The engine for `settings`.

        Args:
            read_file: Returns a file's octets; OSError means that it cannot be read.
            proved: The same octets were loaded before; each RSA key takes a millisecond less.
            place: Where the administrator wrote a key's path; "{}" stands for its number.

        Raises:
            SettingsError: With every key that cannot be used, and why.
        """
        keys: dict[str, PrivateKey] = {}
        problems: list[str] = []
        failed: set[str] = set()
        for number, entry in enumerate(settings.keys):
            if entry.path in failed:
                continue  # once is enough for a key of many domains
            where = f"{place.format(number)}: {entry.path}"
            try:
                if entry.path not in keys:
                    keys[entry.path] = PrivateKey.load_pem(_read_key(entry, read_file), proved)
                problems += [f"{where}: {problem}" for problem in _unfit(entry, keys[entry.path])]
            except OSError as error:
                problems.append(f"{where}: {error.strerror or error}")
                failed.add(entry.path)
            except KeyProblem as error:
                problems.append(f"{where}: {error}")
                failed.add(entry.path)
        if problems:
            raise SettingsError(problems)
        try:
            return cls(settings, keys)
        except DkconfError as error:
            raise SettingsError([f"keys: {error}"]) from None


def _read_key(entry: KeyEntry, read_file: Callable[[str], bytes]) -> bytes:
    """The key's octets; dk-filter's key lists may leave off `.pem` or `.private`."""
    try:
        return read_file(entry.path)
    except FileNotFoundError:
        if entry.senders:
            for suffix in (".pem", ".private"):
                try:
                    return read_file(entry.path + suffix)
                except FileNotFoundError:
                    continue
        raise


def _unfit(entry: KeyEntry, key: PrivateKey) -> Iterator[str]:
    """Why this key cannot sign what the entry wants."""
    if "domainkeys" in entry.schemes and key.algorithm != "rsa":
        yield f"a key for DomainKeys must be RSA, this one is {key.algorithm}"
    if "dkim" in entry.schemes and key.algorithm == "rsa" and key.bits < MIN_DKIM_BITS:
        yield f"a key for DKIM must have {MIN_DKIM_BITS} bits at least, this one has {key.bits}"


def few(notes: Iterable[str]) -> Iterator[str]:
    """The first notes of one kind, and how many more there are: a host may have ten thousand keys."""
    more = 0
    for number, note in enumerate(notes):
        if number < SHOWN_NOTES:
            yield note
        else:
            more += 1
    if more:
        yield f"and {more} more like that"


def _notes(settings: Settings, keys: Mapping[str, PrivateKey]) -> Iterator[str]:
    yield from few(
        f"{path}: an RSA key of {key.bits} bits; {GOOD_BITS} are recommended"
        for path, key in keys.items()
        if key.algorithm == "rsa" and key.bits < GOOD_BITS
    )
    dkim: dict[str, set[str]] = {}
    for entry in settings.keys:
        if "dkim" in entry.schemes:
            dkim.setdefault(entry.domain.lower(), set()).add(keys[entry.path].algorithm)
    yield from few(
        f"{domain}: signed by Ed25519 alone, which many verifiers do not know; add an RSA key"
        for domain, algorithms in dkim.items()
        if algorithms == {"ed25519"}
    )
    if settings.keys and "sign" not in settings.roles:
        yield "keys are configured, but roles do not name sign: nothing is signed"
    domainkeys = any("domainkeys" in entry.schemes for entry in settings.keys)
    if domainkeys and settings.canonicalization.domainkeys == "simple":
        yield "DomainKeys simple breaks where the MTA refolds a header field; nofws is recommended"
