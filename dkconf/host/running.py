"""The running sendmail, as a change must know it: whether it can be told, and how it would be started again."""

from __future__ import annotations

from dkconf.desired.state import HostPaths
from dkconf.errors import Refusal
from dkconf.files.looking import known
from dkconf.host.machine import Sendmail, StartedBy
from dkconf.probe import live, master, starting
from dkconf.probe.facts import Site

STALE_SECONDS = 2.0
"""Clocks are rounded: a .cf that is younger than its reader by less than this was read."""
SET_ARGV = "set hosts.HOST.services.sendmail.argv in the inventory"
START_BY_HAND = f"{SET_ARGV}, or restart it by hand with its full path"


def look(site: Site, paths: HostPaths, by: StartedBy) -> Sendmail:
    """Return the running sendmail: whether it runs, and the safe command that starts it again."""
    found = master.find(site)
    here = found.master
    if here is None:
        return Sendmail(ran=bool(master.answering(site.daemons)), start=_known(site, paths, by))
    record = starting.recorded(here, site)
    start = starting.how_to_start(here, site, paths.sendmail, by.argv or starting.script(by.manager))
    if not start:
        start = starting.checked(by.remembered, site, paths.sendmail)
    full_path = not starting.relative(record or starting.claimed(site))
    return Sendmail(True, start, full_path, _stale(here.read_at, paths.sendmail_cf))


def _known(site: Site, paths: HostPaths, by: StartedBy) -> tuple[str, ...]:
    given = tuple(by.argv) or starting.script(by.manager)
    return given or starting.checked(by.remembered, site, paths.sendmail)


def _stale(read_at: float, cf_path: str) -> bool:
    found = known(cf_path)
    if found is None:
        return False
    # A time that was set may lie in the future; a chmod or a backup moves the other one.
    written = min(found.st_mtime, found.st_ctime)
    return bool(read_at) and read_at + STALE_SECONDS < written


def surely(sendmail: Sendmail, site: Site, paths: HostPaths) -> tuple[str, ...]:
    """Return the command that starts it, () unless root alone has written it or its words do no harm."""
    if sendmail.sure:
        return sendmail.start
    return starting.checked(sendmail.start, site, paths.sendmail)


def refusals(site: Site, paths: HostPaths, by: StartedBy) -> tuple[Refusal, ...]:
    """Return why sendmail could not be told of a change; () = it can, or it does not run."""
    found = master.find(site)
    words = live.answers_untold(found) or live.strangers(found)
    if words:
        way_on = (
            f"{live.to_do(found)}; where sendmail itself is elsewhere set hosts.HOST.paths.sendmail; "
            "`disable-filter NAME --emergency` writes sendmail.cf all the same"
        )
        return (Refusal("", f"sendmail could not be told of the change: {words}", way_on),)
    here = found.master
    sendmail = look(site, paths, by) if here is not None else Sendmail()
    if not sendmail.full_path and not sendmail.start:
        sentence = f"{here} was started without a full path: a HUP ends it, and no command is known to start it with"
        return (Refusal("", sentence, START_BY_HAND),)
    return ()


def words(site: Site, paths: HostPaths, by: StartedBy) -> tuple[str, str]:
    """Return (style, sentence) about the running sendmail."""
    found = master.find(site)
    if found.blind:
        return "plain", "sendmail: which process it is can be seen by root alone"
    untold = live.answers_untold(found) or live.strangers(found)
    if untold:
        return "error", f"sendmail: {untold}; {live.to_do(found)}"
    here = found.master
    if here is None:
        return "warn", "sendmail: does not run"
    sendmail = look(site, paths, by)
    replaced = ", of a program that was replaced since" if here.replaced else ""
    said = f"sendmail: process {here.pid} is its master ({here.title}){replaced}"
    if sendmail.stale:
        return "warn", f"{said}; it began before {paths.sendmail_cf} was last written: `kill -HUP {here.pid}` tells it"
    if not sendmail.start:
        return "warn", f"{said}; no safe command is known to start it again, should it end: {SET_ARGV}"
    return "plain", said
