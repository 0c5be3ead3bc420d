"""What is written about an outcome: Authentication-Results, DomainKey-Status, and the words for the log."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from dkconf.domainkeys.causes import Cause
from dkconf.filter.incoming import Outcome
from dkconf.mail.authres import ResInfo, format_authres, result_text, signature_prefixes
from dkconf.mail.verdict import Verdict

SHOWN = 15
"""Signatures per scheme that are written out one by one; a message may have a thousand."""
KEPT_RESULTS = 512
"""Results whose text is kept: of signatures that pass, and of senders that do not sign."""
MAX_KEPT_OCTETS = 256
"""Characters of i= or the sender's address; domains, selectors, algorithms are no longer: all stay below a megabyte."""


def authentication_results(authserv_id: str, outcome: Outcome) -> bytes:
    """The value of the field, leading blank included, folds as LF + TAB."""
    dkim, domainkeys = outcome.dkim[:SHOWN], outcome.domainkeys[:SHOWN]
    texts: list[str] = []
    if len(dkim) > 1:
        # RFC 6008: header.b tells several signatures apart.
        prefixes = signature_prefixes([verdict.signature for verdict in dkim])
        texts += map(_dkim_text, dkim, prefixes)
        texts += _more("dkim", outcome.dkim)
    elif dkim:
        texts.append(_dkim_text(dkim[0], ""))
    elif "dkim" in outcome.schemes:
        texts.append(_UNSIGNED)
    if domainkeys:
        texts += map(_domainkeys_text, domainkeys)
        texts += _more("domainkeys", outcome.domainkeys)
    if "domainkeys" in outcome.schemes and not domainkeys:
        texts.append(_unsigned_text(outcome))
    return format_authres(authserv_id, texts)


_UNSIGNED = result_text(ResInfo("dkim", "none"))


def _more(method: str, verdicts: Sequence[Verdict]) -> list[str]:
    more = len(verdicts) - SHOWN
    return [result_text(ResInfo(method, "policy", f"{more} more signatures"))] if more > 0 else []


def _reason(verdict: Verdict) -> str:
    if verdict.testing and verdict.condition:
        return f"{verdict.reason}, test mode"
    return verdict.reason


def _text(method: str, result: str, reason: str, *properties: tuple[str, str]) -> str:
    return result_text(ResInfo(method, result, reason, properties=properties))


_kept_text = lru_cache(maxsize=KEPT_RESULTS)(_text)
"""What one signer's signatures come to is the same in each message, so its text is made once."""


def _dkim_text(verdict: Verdict, prefix: str) -> str:
    """One signature, with the properties of RFC 8601 section 2.7.1."""
    domain, identity = verdict.domain, verdict.identity
    told = verdict.condition or verdict.reason
    write = _text if told or prefix or len(identity) > MAX_KEPT_OCTETS else _kept_text
    return write(
        "dkim",
        verdict.result,
        _reason(verdict),
        ("header.d", domain),
        ("header.i", "" if identity == "@" + domain else identity),
        ("header.s", verdict.selector),
        ("header.a", verdict.algorithm),
        ("header.b", prefix),
    )


def _domainkeys_text(verdict: Verdict) -> str:
    properties = (("header.d", verdict.domain), (verdict.identity_property, verdict.identity))
    return _text("domainkeys", verdict.result, _reason(verdict), *properties)


def _unsigned_text(outcome: Outcome) -> str:
    """dk-filter reports an unsigned message as neutral where the policy says that all mail is signed."""
    sender = outcome.sender
    address = sender.address if sender else ""
    properties = (("header." + sender.header, address),) if sender else ()
    if outcome.policy is not None and outcome.policy.signs_all:
        reason = "no signature, though policy says o=-"
        if outcome.policy.testing:
            reason += ", test mode"
        return _text("domainkeys", "neutral", reason, *properties)
    write = _kept_text if len(address) <= MAX_KEPT_OCTETS else _text
    return write("domainkeys", "none", "", *properties)


# RFC 4870 section 3.8. The reasons are those of the verifier; what is not here follows the result.
_STATUS_BY_REASON = {Cause.NO_KEY.reason: "no key", Cause.KEY_REVOKED.reason: "revoked"}
_STATUS_BY_RESULT = {
    "pass": "good",
    "fail": "bad",
    "policy": "bad",
    "neutral": "bad format",
    "permerror": "bad format",
}


def domainkey_status(outcome: Outcome) -> bytes:
    """The value of DomainKey-Status, or b"" where there is no word for it (a lookup failed)."""
    decisive = outcome.decisive
    if decisive is None:
        signs_all = outcome.policy is not None and outcome.policy.signs_all
        word = "no signature" if signs_all else "non-participant"
    else:
        word = _STATUS_BY_REASON.get(decisive.reason) or _STATUS_BY_RESULT.get(decisive.result, "")
    return b" " + word.encode("ascii") if word else b""


def printable(text: str) -> str:
    """`text` with everything but printable ASCII escaped, so that a log line stays one line."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if " " <= c <= "~" else ascii(c)[1:-1] for c in text)


def log_words(outcome: Outcome) -> str:
    """Every signature's result: `dkim=fail d=example.com s=jan (body hash did not verify); domainkeys=none`."""
    dkim, domainkeys, schemes = outcome.dkim, outcome.domainkeys, outcome.schemes
    words = [*map(_verdict_words, dkim[:SHOWN]), *map(_verdict_words, domainkeys[:SHOWN])]
    hidden = max(0, len(dkim) - SHOWN) + max(0, len(domainkeys) - SHOWN)
    if hidden:
        words.append(f"{hidden} more signatures")
    if not dkim and "dkim" in schemes:
        words.append("dkim=none")
    if not domainkeys and "domainkeys" in schemes:
        words.append("domainkeys=none")
    if outcome.sender is None:
        words.append(outcome.sender_fault)
    if outcome.policy_fault:
        words.append(printable(outcome.policy_fault))
    return "; ".join(words)


def _verdict_words(verdict: Verdict) -> str:
    text = f"{verdict.scheme}={verdict.result}"
    if verdict.domain:
        text += f" d={verdict.domain}"
    if verdict.selector:
        text += f" s={verdict.selector}"
    if verdict.reason:
        text += f" ({_reason(verdict)})"
    return printable(text)
