"""Look up TXT records for the gates of an apply, by dnspython."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dkconf.mail.lookup import TxtAnswer

__all__ = ["Lookup", "TxtAnswer", "lookup"]

Lookup = Callable[[str], TxtAnswer]
TIMEOUT_SECONDS = 10.0
"""For one name over all servers."""


def lookup(nameservers: Sequence[str] = (), port: int = 53) -> Lookup:
    """Return a function that answers a TXT query by name, without an exception.

    Args:
        nameservers: Addresses to ask; () = those of the system.
    """
    import dns.exception
    import dns.message
    import dns.resolver

    unreadable = (dns.message.ChainTooLong, dns.exception.FormError, dns.message.Truncated)

    resolver: dns.resolver.Resolver | None
    reason = ""
    try:
        resolver = dns.resolver.Resolver(configure=not nameservers)
    except dns.exception.DNSException as error:
        resolver, reason = None, str(error)
    if resolver is not None:
        if nameservers:
            resolver.nameservers = list(nameservers)
            resolver.port = port
        resolver.lifetime = TIMEOUT_SECONDS
        resolver.cache = None

    def answer(name: str) -> TxtAnswer:
        if resolver is None:
            return TxtAnswer("failed", reason=reason)
        try:
            found = resolver.resolve(name.rstrip(".") + ".", "TXT", search=False)
        except dns.resolver.NXDOMAIN:
            return TxtAnswer("absent", reason="NXDOMAIN")
        except dns.resolver.NoAnswer:
            return TxtAnswer("absent", reason="no TXT")
        except dns.resolver.NoNameservers as error:
            # Each is (server, by TCP, port, exception, response).
            causes = [cause[3] for cause in error.kwargs.get("errors", ())]
            certain = bool(causes) and all(isinstance(cause, unreadable) for cause in causes)
            return TxtAnswer("broken", reason=str(causes[-1])) if certain else TxtAnswer("failed", reason=str(error))
        except dns.exception.DNSException as error:
            return TxtAnswer("failed", reason=str(error) or type(error).__name__)
        except OSError as error:
            return TxtAnswer("failed", reason=error.strerror or str(error))
        rrset = found.rrset
        ttl = 0 if rrset is None else int(rrset.ttl)
        strings = () if rrset is None else tuple(b"".join(one.strings) for one in rrset)
        return TxtAnswer("found", strings, ttl=ttl)

    return answer
