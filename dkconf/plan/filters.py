"""Filters in words, and what happens to the services behind them."""

from __future__ import annotations

from dkconf.desired.state import DesiredState, MilterFilter
from dkconf.errors import Refusal
from dkconf.plan.actual import ActualState, LastApplied
from dkconf.plan.model import FilterChange, ServiceChange
from dkconf.sendmail import cf, mc

CALLED, DEFINED, ABSENT = "called by sendmail", "defined, not called", "absent"
LATER = ", once its last mail is through"
FAIL_REJECT = "fail-reject"
"""The risk of F=R."""
FAILURE_WORDS = {
    "accept": "mail passes unfiltered when it fails",
    "tempfail": "mail is put off when it fails (F=T)",
    "reject": "mail is refused when it fails (F=R)",
    "shutdown": "connections are closed when it fails (F=4)",
}


def filter_changes(desired: DesiredState, actual: ActualState, last: LastApplied | None) -> tuple[FilterChange, ...]:
    before = {f.name: f for f in last.desired.filters} if last else {}
    if actual.cf is not None and actual.builds:
        model = cf.parse(mc.decode(actual.cf.content))
        was = {n: CALLED if n in model.input_filters else DEFINED for n in model.filters}
    else:
        was = {n: CALLED if f.enabled else DEFINED for n, f in before.items()}
    changes = []
    for filter_ in desired.filters:
        now, then = was.get(filter_.name, ABSENT), CALLED if filter_.enabled else DEFINED
        words = _settings_words(before[filter_.name], filter_) if filter_.name in before else ()
        if now != then or words:
            changes.append(FilterChange(filter_.name, now, then, words))
    names = {f.name for f in desired.filters}
    changes += [FilterChange(n, was[n], ABSENT) for n in before if n not in names and n in was]
    order = [f.name for f in desired.filters if f.enabled]
    order_before = [n for n, f in before.items() if f.enabled and n in order]
    if [n for n in order if n in order_before] != order_before and not changes:
        changes.append(FilterChange(", ".join(order), "called in another order", "called in this order"))
    return tuple(changes)


def _settings_words(before: MilterFilter, after: MilterFilter) -> tuple[str, ...]:
    words = []
    if before.socket != after.socket:
        words.append(f"socket {before.socket} -> {after.socket}")
    if before.on_failure != after.on_failure:
        words.append(FAILURE_WORDS[after.on_failure])
    if before.timeouts != after.timeouts:
        words.append("timeouts change")
    gone = [s for s in before.signs if s not in after.signs]
    new = [s for s in after.signs if s not in before.signs]
    words += [f"signs no more: {s.scheme} {s.selector}._domainkey.{s.domain}" for s in gone]
    words += [f"signs: {s.scheme} {s.selector}._domainkey.{s.domain}" for s in new]
    if before.settings_digest != after.settings_digest and not words:
        words.append("settings change")
    return tuple(words)


def refusing_filters(desired: DesiredState, actual: ActualState, last: LastApplied | None) -> tuple[Refusal, ...]:
    """Return a refusal per filter that begins to have mail refused (F=R) while it is down.

    One that sendmail calls that way already is no new danger, and must not be in the way of other changes.
    """
    before = {f.name for f in last.desired.filters if f.enabled and f.on_failure == "reject"} if last else set()
    if actual.cf is not None:
        model = cf.parse(mc.decode(actual.cf.content))
        before |= {n for n, x in model.filters.items() if n in model.input_filters and x.on_failure == "reject"}
    return tuple(
        Refusal(
            FAIL_REJECT,
            f"filter {f.name}: on_failure: reject (F=R): while it is down, all mail is refused for good and bounces",
            f"write on_failure: tempfail, so that senders try again, or --accept-risk {FAIL_REJECT}",
        )
        for f in desired.filters
        if f.enabled and f.on_failure == "reject" and f.name not in before
    )


def changed_settings(desired: DesiredState, last: LastApplied | None) -> list[str]:
    before = {f.name: f.settings_digest for f in last.desired.filters} if last else {}
    return [f.name for f in desired.filters if f.name in before and before[f.name] != f.settings_digest]


def service_changes(
    desired: DesiredState, actual: ActualState, last: LastApplied | None, changed: set[str]
) -> tuple[ServiceChange, ...]:
    found = []
    began = {f.name: f.start_digest for f in last.desired.filters} if last else {}
    begins = {f.name: f.start_digest for f in desired.filters}
    for service in desired.services:
        running = actual.running.get(service.filter)
        if not service.managed or running is None:
            continue
        if service.running and not running:
            found.append(ServiceChange(service.filter, "start", "it does not run yet"))
        elif service.running and service.filter in changed:
            if began.get(service.filter, "") in ("", begins[service.filter]):
                found.append(ServiceChange(service.filter, "reload", "new settings"))
            else:
                found.append(ServiceChange(service.filter, "restart", "new settings that hold from a start on"))
        elif not service.running and running:
            found.append(ServiceChange(service.filter, "stop", f"no longer called{LATER}"))
    names = {s.filter for s in desired.services}
    for service in last.desired.services if last else ():
        if service.filter not in names and service.managed and actual.running.get(service.filter):
            found.append(ServiceChange(service.filter, "stop", f"no longer wanted{LATER}"))
    return tuple(found)
