"""dkconf-filter's settings for one host, written by the module that the daemon reads them with."""

from __future__ import annotations

from collections.abc import Sequence

from dkconf.desired.errors import NotRenderable
from dkconf.desired.signing import SigningKey
from dkconf.dkim.choice import DEFAULT_OVERSIGN
from dkconf.filter import config
from dkconf.inventory.model import Conditions, Filter


def _conditions(table: Conditions, scheme: str) -> config.Conditions:
    return config.Conditions(
        bad=table.bad,
        dns=table.dns,
        int=table.int,
        no=table.no,
        miss=(table.miss or "accept") if scheme == "domainkeys" else None,
        sec=table.sec,
    )


def settings(
    spec: Filter, keys: Sequence[SigningKey], *, user: str, socket_group: str, pid_file: str
) -> config.Settings:
    """The value that is written to NAME.toml.

    Raises:
        NotRenderable: A socket mode that is no octal number.
    """
    try:
        mode = int(spec.socket_mode, 8)
    except ValueError:
        raise NotRenderable(f"socket_mode: {spec.socket_mode!a} is no octal mode; write 0660") from None
    local = spec.socket.partition(":")[0] not in ("inet", "inet6")
    return config.Settings(
        socket=spec.socket,
        socket_mode=mode,
        socket_group=socket_group if local else "",
        user=user,
        pid_file=pid_file,
        workers=spec.workers,
        log="syslog" if spec.log else "off",
        log_format=spec.log_format,
        metrics=spec.metrics,
        roles=spec.roles,
        observe=spec.observe,
        keys=tuple(
            config.KeyEntry(
                domain=key.domain,
                selector=key.selector,
                path=key.path,
                schemes=key.schemes,
                subdomains=key.subdomains,
            )
            for key in keys
        ),
        canonicalization=config.Canonicalization(
            domainkeys=spec.canonicalization.domainkeys, dkim=spec.canonicalization.dkim
        ),
        sign_headers=spec.headers.sign,
        omit_headers=spec.headers.omit,
        oversign_headers=spec.headers.oversign or DEFAULT_OVERSIGN,
        signature_ttl_seconds=spec.signature_ttl,
        identify=spec.headers.identify,
        internal_hosts=spec.internal_hosts,
        external_ignore=spec.external_ignore,
        peers=spec.peers,
        daemons=spec.daemons,
        macros=dict(spec.macros),
        verify_schemes=spec.schemes,
        authserv_id=spec.authserv_id,
        authentication_results=spec.headers.authentication_results,
        domainkey_status=spec.headers.domainkey_status,
        quarantine=spec.quarantine,
        min_key_bits=spec.min_key_bits,
        clock_skew_seconds=spec.clock_skew,
        unsigned_content=spec.verifying.unsigned_content,
        domainkeys_conditions=_conditions(spec.conditions.domainkeys, "domainkeys"),
        dkim_conditions=_conditions(spec.conditions.dkim, "dkim"),
        dns_timeout_seconds=spec.dns_timeout,
        # All lookups of a message together; above one lookup's own limit, below sendmail's T=E.
        dns_deadline_seconds=min(max(8, spec.dns_timeout), 280),
        nameservers=spec.nameservers,
        header_octets=spec.limits.header_octets,
        header_fields=spec.limits.header_fields,
        max_signatures=spec.limits.signatures,
    )
