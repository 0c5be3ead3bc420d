"""What differs between Debian, RHEL and FreeBSD: paths, users, services; with the overrides of the inventory.

One table per platform. Debian's is what sendmail 8.17 of Debian 12 shows; RHEL and FreeBSD are by
construction (their packages' documentation), not by observation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from dkconf.desired.state import HostPaths
from dkconf.inventory.model import Host, Paths, Platform


@dataclass(frozen=True, slots=True)
class PlatformFacts:
    """What is fixed per platform and cannot be overridden by a path."""

    paths: HostPaths
    run_dir: str
    """Where runtime directories and pid files live."""
    dkconf_user: str
    """The system user that runs dkconf-filter and owns its keys."""
    socket_group: str
    """Group of a Unix socket by default: the group that sendmail's MTA runs with; "" = the filter's own.

    sendmail connects as root on all three; the group serves a host with confRUN_AS_USER."""
    dk_filter_user: str
    """The user that the platform's dk-filter package creates."""
    dk_filter_service: str
    dk_filter_runtime: str
    """The directory of its socket and pid file."""
    nologin: str
    root_group: str
    init_dir: str
    """System V scripts, or FreeBSD's rc.d of the ports."""


# /etc/dkconf is left to the inventory, which may be a git repository: private keys below it would be one `git clean`
# from being lost and one `git add` from being published, and what dkconf writes would make the tree dirty.

_DEBIAN = HostPaths(
    sendmail_mc="/etc/mail/sendmail.mc",
    sendmail_cf="/etc/mail/sendmail.cf",
    fragment="/etc/mail/m4/dkconf.m4",
    cf_m4="",
    sendmail="/usr/sbin/sendmail",
    m4="/usr/bin/m4",
    pid_file="/var/run/sendmail/mta/sendmail.pid",
    key_dir="/etc/dkconf-filter/keys",
    state_dir="/var/lib/dkconf",
    filter_config="/etc/dkconf-filter",
    dk_filter="/usr/sbin/dk-filter",
    unit_dir="/etc/systemd/system",
    mail_group="smmsp",
    cf_dir="",
    dkconf_filter="/usr/local/bin/dkconf-filter",
)

_RHEL = HostPaths(
    sendmail_mc="/etc/mail/sendmail.mc",
    sendmail_cf="/etc/mail/sendmail.cf",
    # No drop-in directory here.
    fragment="/etc/mail/dkconf.m4",
    cf_m4="",
    sendmail="/usr/sbin/sendmail",
    m4="/usr/bin/m4",
    pid_file="/run/sendmail.pid",
    key_dir="/etc/dkconf-filter/keys",
    state_dir="/var/lib/dkconf",
    filter_config="/etc/dkconf-filter",
    dk_filter="/usr/sbin/dk-filter",
    unit_dir="/etc/systemd/system",
    mail_group="root",
    cf_dir="",
    dkconf_filter="/usr/local/bin/dkconf-filter",
)

_FREEBSD = HostPaths(
    # The Makefile there builds HOSTNAME.mc; {host} is filled in per host.
    sendmail_mc="/etc/mail/{host}.mc",
    sendmail_cf="/etc/mail/sendmail.cf",
    fragment="/etc/mail/dkconf.m4",
    cf_m4="/usr/share/sendmail/cf/m4/cf.m4",
    sendmail="/usr/sbin/sendmail",
    m4="/usr/bin/m4",
    pid_file="/var/run/sendmail.pid",
    key_dir="/usr/local/etc/dkconf-filter/keys",
    state_dir="/var/db/dkconf",
    filter_config="/usr/local/etc/dkconf-filter",
    dk_filter="/usr/local/libexec/dk-filter",
    unit_dir="/usr/local/etc/rc.d",
    mail_group="wheel",
    cf_dir="/usr/share/sendmail/cf/",
    dkconf_filter="/usr/local/bin/dkconf-filter",
)

PLATFORMS: Mapping[Platform, PlatformFacts] = {
    "debian": PlatformFacts(
        paths=_DEBIAN,
        run_dir="/run",
        dkconf_user="dkconf",
        socket_group="smmta",
        dk_filter_user="dk-filter",
        dk_filter_service="dk-filter",
        dk_filter_runtime="/var/run/dk-filter",
        nologin="/usr/sbin/nologin",
        root_group="root",
        init_dir="/etc/init.d",
    ),
    "rhel": PlatformFacts(
        paths=_RHEL,
        run_dir="/run",
        dkconf_user="dkconf",
        socket_group="",
        dk_filter_user="dk-filter",
        dk_filter_service="dk-filter",
        dk_filter_runtime="/run/dk-filter",
        nologin="/usr/sbin/nologin",
        root_group="root",
        init_dir="/etc/rc.d/init.d",
    ),
    "freebsd": PlatformFacts(
        paths=_FREEBSD,
        run_dir="/var/run",
        dkconf_user="dkconf",
        socket_group="",
        dk_filter_user="mailnull",
        dk_filter_service="milter-dk",
        dk_filter_runtime="/var/run/milterdk",
        nologin="/usr/sbin/nologin",
        root_group="wheel",
        init_dir="/usr/local/etc/rc.d",
    ),
}

_OVERRIDABLE = tuple(f.name for f in fields(Paths))


def host_paths(host_name: str, host: Host) -> HostPaths:
    """The platform's paths with the host's overrides, each one by one."""
    base = PLATFORMS[host.platform].paths
    chosen = {f.name: getattr(base, f.name) for f in fields(HostPaths)}
    chosen["sendmail_mc"] = chosen["sendmail_mc"].replace("{host}", host_name)
    chosen.update({name: value for name in _OVERRIDABLE if (value := getattr(host.paths, name))})
    return HostPaths(**chosen)
