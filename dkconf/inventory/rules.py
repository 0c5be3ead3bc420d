"""Every rule that a finding can name: its ID, severity, title, and the long form that `explain-rule` prints.

IDs are stable: people write them into `# dkconf: ignore=ID reason`, and pipelines compare them. A rule that
goes is never replaced by another under the same ID. `scope` says what the rule needs: the inventory file alone,
the folder it lies in, git's history, or a host.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .findings import Severity

Scope = Literal["inventory", "repository", "history", "host"]


@dataclass(frozen=True, slots=True)
class Rule:
    id: str
    severity: Severity
    title: str
    text: str
    """What it means for the mail, and what to do."""
    scope: Scope = "inventory"


def _rules(scope: Scope, severity: Severity, *rows: tuple[str, str, str]) -> list[Rule]:
    return [Rule(id, severity, title, " ".join(text.split()), scope) for id, title, text in rows]


_FILE = _rules(
    "inventory",
    "error",
    ("YAML001", "the file is not YAML",
     """libyaml cannot read on from the place shown. Mostly it is the line above that lacks a colon, a
     quote or a bracket, or is indented wrongly. Nothing after this place was looked at."""),
    ("YAML002", "a key is given twice",
     """YAML forbids it, and most readers silently take the last one: a domain or filter would vanish.
     Keep one."""),
    ("YAML003", "an anchor, alias or merge key",
     """They make one line mean something at another place, which a reviewer of a diff cannot see, and a
     small file can grow to gigabytes through them. Write the value out, or put what many entries share
     under `defaults:`."""),
    ("YAML004", "a tag",
     """`!name` would ask the reader to build some object. The inventory needs none: each key knows what
     kind of value it takes."""),
    ("YAML005", "a tab in the indentation",
     "YAML indents with blanks only; editors show a tab as any width."),
    ("YAML006", "the file is empty",
     "An empty file is more often an accident than a wish to take everything away."),
    ("YAML007", "not UTF-8, or a control character",
     """The inventory is UTF-8 text. Control characters are invisible in a review and would reach files of
     a mail host."""),
    ("YAML008", "several documents, or a directive",
     """One inventory is one YAML document; what stands after a second `---` would be ignored by many
     tools."""),
    ("YAML009", "the file is too large",
     "The limit is 20 MiB; 10,000 domains take 3 MB. A file above it is mostly not an inventory at all."),
    ("YAML010", "nested too deep",
     "The deepest key of an inventory has six names before it."),
    ("YAML011", "a key that is not a name",
     "Keys are plain names, never null, lists or mappings."),
    ("INV001", "an unknown key",
     """dkconf does not know this key here. An unknown key is never ignored, since a misspelt setting that
     is silently left out is a hole."""),
    ("INV002", "the wrong kind of value",
     """A mapping where a list belongs, a number where text belongs, and so on. YAML 1.2 is spoken: `yes`,
     `no`, `on`, `off` are text, true and false are written out."""),
    ("INV003", "a value that cannot be",
     "The message says what would be right. `dkconf schema` holds all of it."),
    ("INV004", "a key is missing",
     "This key has no default, because any guess could send mail the wrong way."),
    ("INV005", "a value that would break out of its file",
     """The inventory's values reach m4, unit files, option lists and zone files. Characters that end a
     quote or begin something new there are refused: ` ' $ , newline and the like, and for names that
     m4 reads, the names of m4's own macros."""),
    ("INV006", "a version dkconf does not know",
     "This dkconf reads inventories of version 1."),
    ("INV007", "the same item twice in a list",
     """In a filter list it would make sendmail call the filter twice and answer 451 to all mail;
     elsewhere one of the two was meant to be something else."""),
    ("REF001", "a filter that is not defined",
     "A host names a filter that `filters:` does not hold."),
    ("REF002", "a domain that is not defined",
     "A host names a domain that `domains:` does not hold."),
    ("REF003", "disabled, but not in the host's filters",
     """`disabled_filters` names filters of the same host's `filters` list: defined for sendmail
     (MAIL_FILTER), but not called."""),
    ("REF004", "a service for a filter that the host has not",
     "`services` says how a filter of the host is started; under `direct` also `sendmail` itself."),
    ("REF006", "a service manager that the platform has not",
     """systemd and System V scripts are Debian's and RHEL's, rc.d (`rcd`) is FreeBSD's; `direct`, where dkconf starts
     and stops filters itself, is possible everywhere. The default is systemd, so a FreeBSD host has to say `rcd`."""),
    ("KEY005", "a selector is used by two keys",
     """DNS does not tell `Jan` from `jan`: both keys would be published at one name, and verifiers would
     fetch whichever comes first. Give the second key a selector of its own."""),
    ("DKF001", "dk-filter would refuse to start",
     """dk-filter reads its -C string strictly: tokens between commas, each split at its first =, no
     blanks, an action a, d, r or t and a key it knows. One bad token and it ends before it opens its
     socket; with F=T sendmail then answers 451 to all mail. -A does not help: the restart loop is not
     reached."""),
    ("DKF003", "an action dk-filter cannot take",
     """-C knows accept, discard, reject and tempfail. Quarantine is not among them (-q quarantines
     whatever fails). Use another action, or dkconf-filter."""),
    ("DKF004", "dk-filter makes DomainKeys signatures only",
     "It knows nothing of DKIM. Let dkconf-filter or OpenDKIM sign with DKIM beside it."),
    ("DKF005", "more keys than dk-filter can use for one domain",
     """It signs a message once. Keep one selector of the domain active; the other may stay published or
     percolating."""),
    ("CND001", "DKIM has no `miss`",
     """`miss` means unsigned although the DomainKeys policy record says all mail is signed (o=-). DKIM
     has no such record."""),
    ("MC003", "a filter twice in the list",
     """sendmail would call it twice and answer `451 4.3.2` to all mail (seen with 8.17), and no check of
     sendmail's own finds it."""),
    ("MC011", "more filters than sendmail takes",
     "sendmail is built with MAXFILTERS 25: at most 24 filters."),
    ("MC012", "two filters on one socket",
     """Both X lines would reach the same daemon: it would see each mail twice, or the second daemon could
     not open its socket."""),
    ("SEL003", "an Ed25519 key cannot make this signature",
     """DomainKeys (RFC 4870) knows rsa-sha1 only. A domain that signs with DomainKeys needs an active RSA
     selector."""),
    ("IGN003", "an ignore comment that cannot work",
     """`# dkconf: ignore=ID reason` takes the ID of a warning and a reason for those who come later. An
     error cannot be silenced."""),
)  # fmt: skip

_WARNINGS = _rules(
    "inventory",
    "warning",
    ("FLT001", "a filter that nobody calls",
     "No host lists it. Either a host's `filters` lacks it, or it can go."),
    ("FLT002", "a filter that is off on every host",
     """Each host that has it names it under `disabled_filters`. If that is meant to stay, take it out of
     the hosts; its X line is checked at every start of sendmail, and a dead host name in it keeps
     sendmail from starting."""),
    ("FLT003", "a setting that this program does not have",
     "The program behind this filter has no such option, so the setting does nothing here."),
    ("FLT004", "a filter without a host name that stays valid",
     """sendmail looks up the host of S= at every start and does not start if it is gone, even for a
     filter that is off. Prefer an address."""),
    ("FLT005", "a filter that listens to the whole network",
     """A milter believes whatever connects to it: who reaches the port can have mail signed as a local
     user. Bind it to 127.0.0.1 or a Unix socket."""),
    ("FLT006", "two filters sign the same domains with the same scheme",
     """The host calls two signers of one scheme: each mail gets two signatures of it, and the second
     covers the first."""),
    ("FLT007", "a socket that every local user may use",
     """Whoever can connect to the socket can have mail signed as a local user. Let sendmail's group in,
     0660."""),
    ("MC006", "F=R: a filter that is down refuses all mail",
     """sendmail answers `554` at the banner and `550 5.0.0 Command rejected` to MAIL while the filter is
     down, slow or restarting. Most senders bounce the mail at once. `on_failure: tempfail` (F=T) makes
     them try again."""),
    ("MC007", "no F=: mail leaves unsigned while the filter is down",
     """Without F= sendmail goes on as if there were no filter. For a signing filter that is mail without
     a signature, which receivers may treat by the published policy; `on_failure: tempfail` holds it
     until the filter is back."""),
    ("MC008", "F=4: a filter that is down ends every connection",
     """sendmail answers `421 4.7.0 host closing connection` to every client. They try again, but so does
     every connection; F=T keeps the dialogue."""),
    ("MC010", "a DMARC filter before the verifier",
     """OpenDMARC reads the Authentication-Results field that the verifier writes. Called first it sees
     none, and may reject good mail. Put it after the verifier."""),
    ("TMO001", "sendmail gives up before DNS does",
     """sendmail waits R: (`timeouts.read`) for every reply, also for the one at the end of a message,
     while the filter may wait `dns_timeout` for a key. If that is not smaller, a slow name server
     makes sendmail give up and act by F=. Raise the one or lower the other."""),
    ("TMO002", "the whole end-of-message time is too short",
     """E: (`timeouts.end_of_message`) bounds the whole phase after the last octet of a message; it must
     leave room for the reply timeout R:."""),
    ("TMO003", "a signature expires before its mail has arrived",
     """Mail servers try again for five days. A message that waits for longer than `signature_ttl` arrives
     with an expired signature (x= in the past), which counts as none."""),
    ("NET001", "everybody counts as internal",
     """Mail from the whole internet would be signed as your own: an open signing service. List your own
     networks."""),
    ("NET002", "this machine does not count as internal",
     """A list of internal hosts replaces the default. Without 127.0.0.1 and ::1 mail that is made on the
     host itself (cron, web forms, `sendmail -bs`) leaves unsigned, and dkconf's canary is not signed
     either."""),
    ("NET003", "a very large internal network",
     """Everybody in it can have mail signed. A /8 of IPv4 outside 10/8, or an IPv6 network wider than
     /32, is mostly a slip."""),
    ("KEY002", "an RSA key of fewer than 2048 bits",
     """RFC 8301 section 3.2: signers must use at least 1024 bits and should use 2048. Verifiers refuse
     less than 1024."""),
    ("SEL001", "a domain that signs has no active selector",
     """`sign` names a scheme, but no selector is `active`, and none is on its way (`planned`,
     `published`): mail of this domain leaves unsigned from every host."""),
    ("SEL002", "two active selectors of one algorithm",
     """Each mail gets a signature per active selector. During a rotation the old one belongs into
     `percolating` once the new one is active."""),
    ("SEL004", "only an Ed25519 key signs",
     """Many verifiers do not know ed25519-sha256 (RFC 8463) and see no valid signature. Sign with RSA
     too."""),
    ("SEL005", "a domain has keys but signs with nothing",
     """`sign` is empty and a selector is active. Set the selector to `published`, or let the domain sign."""),
    ("SEL006", "a testing flag on a key that signs",
     """t=y in the key record tells verifiers to treat a bad signature as none. Take it out once you have
     seen good signatures."""),
    ("DOM001", "a domain that no host serves",
     "No host lists it, so no mail of it is signed; its records would be published all the same."),
    ("DOM002", "a domain on a host without a signer for it",
     """The host has no filter that is on and signs with one of the domain's schemes: its mail leaves this
     host unsigned."""),
    ("DOM003", "a record that stays long in caches",
     "A TTL above a day makes every change, the undo included, as slow as that."),
    ("DNS005", "o=- while a host sends unsigned",
     """The DomainKeys policy says that all mail of the domain is signed, and a host of the domain has no
     DomainKeys signer that is on. Verifiers may refuse what it sends. Publish o=~ (`signs: some`),
     wait until the old record has left the caches, then switch the signer off; or switch it on."""),
    ("DNS008", "a policy record for a domain that does not sign with DomainKeys",
     """The record at _domainkey.DOMAIN speaks of DomainKeys signatures (RFC 4870); this domain makes
     none."""),
    ("DKF002", "the -C string leaves `miss` open",
     """dk-filter's own default for `miss` is not known. Write it: `miss=a` accepts unsigned mail of
     domains that say all their mail is signed."""),
    ("DKF006", "-A without a limit",
     """dk-filter's -A forks again at once, without a rate limit: a fault at start becomes a tight loop.
     Let the service manager restart it."""),
    ("DKF007", "h= is left out",
     """Without -H a verifier hashes every header field, those that relays add too; signatures break more
     often."""),
    ("CND002", "mail is refused for a passing fault",
     """`reject` on `dns`, `int` or `sec` bounces good mail for good because a name server or this host
     had a bad moment. `tempfail` makes the sender try again."""),
    ("CND003", "unsigned mail is refused",
     """`no: reject` or `no: discard` acts on every mail without a signature: most mailing lists and many
     small senders."""),
    ("CND004", "mail vanishes",
     "`discard` drops the mail and tells nobody, neither sender nor recipient."),
    ("SVC001", "a service name under `direct`",
     "`service_manager: direct` starts programs by their argv; a service name does nothing."),
    ("SVC002", "all hosts of a service group are alike in failure",
     "All signers of a service group are off: the service sends unsigned mail only."),
    ("IGN001", "an ignore comment that silences nothing",
     """The finding it was written for is gone, or it stands at another line. Take it out, so that it
     cannot hide the next one."""),
    ("IGN002", "an ignore comment without a reason",
     """Say why, for those who read it in two years: `# dkconf: ignore=MC006 the relay behind it has no
     queue`."""),
)  # fmt: skip

_REPOSITORY = [
    *_rules(
        "repository",
        "error",
        ("KEY003", "a private key in the repository",
         """Whoever can read the repository can sign as the domain, for ever, since git keeps the history.
         Take the selector out of use, make a new key with a new selector, and only then clean the
         history. The key itself is never shown by dkconf."""),
        ("KEY006", "a public key that cannot be read",
         "keys/DOMAIN/SELECTOR.pub.pem must be a PEM public key of the kind that the inventory says."),
        ("KEY007", "one key under two selectors",
         """A key that is in use under two selectors cannot be retired under one of them, and a leak of
         one is a leak of both. Generate a key per selector."""),
        ("DNS002", "a selector in use has no public key here",
         """Its record cannot be rendered and the signer cannot be judged: keys/DOMAIN/SELECTOR.pub.pem is
         missing. `dkconf keys generate` writes it beside the inventory."""),
    ),
    *_rules(
        "repository",
        "warning",
        ("KEY008", "a public key that nobody uses",
         "The inventory has no such selector. Remove the file, or add the selector."),
        ("KEY009", "the key files are not kept out of git",
         ".gitignore does not hold `*.private`: one `git add .` would publish a key."),
    ),
]  # fmt: skip

_HISTORY = _rules(
    "history",
    "warning",
    ("CHG001", "the last signer of a domain goes",
     """After this change no host signs mail of the domain. If its policy says that all mail is signed,
     receivers may refuse it. Relax the policy first, wait for the old record's TTL, then take the
     signer away."""),
    ("CHG002", "a policy is tightened before its hosts sign",
     """o=- is to be published while a host of the domain does not sign with DomainKeys. Let all hosts
     sign first, wait until the queues hold no unsigned mail, then tighten."""),
    ("CHG003", "a key record in use is removed",
     """Mail that was signed with it is still in queues and on its way; it cannot be verified without the
     record. Go through `percolating` and `revoked` first, at least 8 days."""),
    ("CHG004", "several hosts of one service group change at once",
     "A fault in the change takes the whole service down. Change one host, watch it, then the others."),
    ("CHG005", "a key changes under the same selector",
     "Mail signed with the old key no longer verifies. Use a new selector."),
    ("CHG006", "a selector name is used again",
     """A selector that was removed or revoked comes back: caches and old mail still speak of the old key."""),
    ("CHG007", "a filter begins to refuse mail",
     """on_failure becomes `reject`, or a condition's action becomes `reject` or `discard`: try it with
     `observe: true` or on one host first."""),
    ("CHG008", "a selector jumps over a state",
     """planned, published, active, percolating, revoked, removed: each state waits for something (a
     cache, a queue). A jump takes the wait away."""),
    ("DNS007", "t=y for more than 30 days",
     "A key in test says to verifiers: do not act on my signatures."),
    ("ROT002", "a removal before the end of percolation",
     """A record stays at least 8 days after the last mail signed with it left: the queue's 5 days and 3
     for late checks."""),
)  # fmt: skip

_HOST = _rules(
    "host",
    "error",
    ("MC001", "a macro after # is still active",
     "cf.m4 runs changecom: # is no comment in a sendmail.mc; only dnl is."),
    ("MC002", "the list names an undefined filter",
     "sendmail dies with exit 78 at the next start or HUP."),
    ("MC004", "confINPUT_MAIL_FILTERS is defined by hand",
     "It wipes or doubles the list that INPUT_MAIL_FILTER builds."),
    ("MC005", "a per-daemon filter list",
     "A daemon with its own InputMailFilters does not follow the global list."),
    ("MC009", "the include of the fragment is missing",
     "sendmail.mc no longer includes what dkconf writes."),
    ("KEY001", "an unsafe parent directory of a key",
     "Somebody else may replace the key by renaming its directory."),
    ("KEY004", "the key directory is tracked by etckeeper",
     "Private keys would be committed to /etc's repository."),
    ("DNS001", "a record does not match the key",
     "Every signature made with this key fails."),
    ("DNS003", "a TXT string over 255 octets",
     "It was not split, or quoted twice; verifiers cannot read the key."),
    ("DNS004", "the authoritative servers differ",
     "Some verifiers see the old record."),
)  # fmt: skip

RULES: dict[str, Rule] = {rule.id: rule for rule in (*_FILE, *_WARNINGS, *_REPOSITORY, *_HISTORY, *_HOST)}
