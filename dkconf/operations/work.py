"""A plan, once judged, as the work of one activation: files, services, and the generation that comes of
it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from dkconf import __version__
from dkconf.apply.activate import Target, Work
from dkconf.apply.generations import Manifest
from dkconf.apply.journal import Outstanding, ServiceStep
from dkconf.desired.state import DesiredState
from dkconf.host.clock import utc
from dkconf.host.machine import Judged
from dkconf.host.system import now_ns
from dkconf.operations.hold import actor
from dkconf.operations.session import Session
from dkconf.operations.settle import merged
from dkconf.operations.telling import started_by
from dkconf.plan.actual import ActualState, FileDigest, FileState
from dkconf.plan.files import SENDMAIL_ROLES, file_digest
from dkconf.plan.model import FileChange, Plan
from dkconf.plan.source import block_text
from dkconf.sendmail import mc

SCRIPT_ROLE = "init-script"
UNIT_ROLES = frozenset({"unit", SCRIPT_ROLE, "rc-variables"})


@dataclass(frozen=True)
class Order:
    """What is to be carried out, and how."""

    command: str
    desired: DesiredState
    plan: Plan
    actual: ActualState
    overrides: Mapping[str, bool] = field(default_factory=dict)
    inventory: str = ""
    inventory_digest: str = ""
    git_commit: str = ""
    git_dirty: bool = False
    mtimes: Mapping[str, int] = field(default_factory=dict)
    """Rollback: modification times of the files that come back."""
    stored_cf: bytes | None = None
    gates: bool = True
    canary: bool = True
    drain: bool = True
    take_over: frozenset[str] = frozenset()
    inventory_edit: tuple[str, ...] = ()
    confirm_seconds: int | None = None
    drain_seconds: int = 600
    emergency: bool = False
    settle: bool = True
    """Drain and stop in this run; False leaves it to a later one."""


def work_for(session: Session, order: Order, judged: Judged) -> Work:
    """Return the work that carries `order` out; the octets that were judged are the octets that are
    installed."""
    desired, plan, actual = order.desired, order.plan, order.actual
    stamp = now_ns()
    targets = [_target(change, order, stamp) for change in plan.files if change.role != "sendmail.cf"]
    targets = [t for t in targets if t is not None]
    cf_state = actual.cf
    if plan.touches_sendmail:
        cf_state = _cf_state(order, judged, stamp, targets)
        expected = actual.cf.digest if actual.cf else None
        targets.append(Target(desired.paths.sendmail_cf, cf_state, sendmail=True, expected=expected, planned=True))
    sockets = {f.name: f.socket for f in desired.filters}
    by_name = {s.filter: s for s in desired.services}
    services = tuple(
        ServiceStep(by_name[c.filter], c.action != "start", sockets.get(c.filter, ""), c.action == "restart")
        for c in plan.services
        if c.action != "stop"
    )
    systemd = desired.service_manager == "systemd"
    return Work(
        command=order.command,
        actor=actor(),
        platform=desired.platform,
        paths=desired.paths,
        targets=tuple(t for t in targets if t is not None),
        users=tuple(u for u in desired.users if u.name in plan.users),
        directories=desired.directories,
        root_group="wheel" if desired.platform == "freebsd" else "root",
        services=services,
        units=any(f.role in UNIT_ROLES for f in plan.files if f.action != "remove"),
        tells_sendmail=plan.touches_sendmail,
        after=_after(session, order),
        manifest=_manifest(session, order, cf_state, judged),
        contents=_contents(order, cf_state),
        judged=judged,
        confirm_seconds=order.confirm_seconds,
        systemd=systemd,
        overrides=order.overrides,
        inventory_edit=order.inventory_edit,
        scripts={f.path: by_name[f.filter] for f in desired.files if f.role == SCRIPT_ROLE and f.filter in by_name},
        started_by=started_by(session, desired),
        untold_stays=order.emergency,
    )


def _target(change: FileChange, order: Order, stamp: int) -> Target | None:
    post = change.post
    if post is None:
        return None  # it goes, when its filter has stopped
    if change.role == "key":
        state = FileState(b"", post.mode, post.owner, post.group)
        return Target(change.path, state, attributes_only=True)
    mtime = order.mtimes.get(change.path, stamp)
    state = FileState(change.after, post.mode, post.owner, post.group, mtime)
    sendmail = change.role in SENDMAIL_ROLES
    return Target(change.path, state, sendmail, expected=change.pre, planned=True)


def _cf_state(order: Order, judged: Judged, stamp: int, targets: list[Target | None]) -> FileState:
    """Return the .cf to install, no older than its sources, so that the next make finds nothing to do."""
    paths, actual = order.desired.paths, order.actual
    times = [stamp, *(t.state.mtime_ns for t in targets if t is not None and t.sendmail and t.state)]
    written = {t.path for t in targets if t is not None}
    if actual.mc is not None and paths.sendmail_mc not in written:
        times.append(actual.mc.mtime_ns)
    fragment = actual.files.get(paths.fragment)
    if fragment is not None and paths.fragment not in written:
        times.append(fragment.mtime_ns)
    live = actual.cf or FileState(b"", 0o644, "root", paths.mail_group)
    return replace(live, content=judged.cf, mtime_ns=max(times) + 1_000_000)


def _contents(order: Order, cf: FileState | None) -> dict[str, bytes]:
    contents = {f.path: f.content for f in order.desired.files}
    if cf is not None:
        contents[order.desired.paths.sendmail_cf] = cf.content
    return contents


def _manifest(session: Session, order: Order, cf: FileState | None, judged: Judged) -> Manifest:
    desired, plan, actual, engine = order.desired, order.plan, order.actual, session.engine
    files: dict[str, FileDigest] = {f.path: file_digest(f) for f in desired.files}
    mtimes = {p: s.mtime_ns for p, s in actual.files.items() if s is not None and p in files}
    source = next((f.after for f in plan.files if f.role == "sendmail.mc"), None)
    if actual.mc is not None:
        present = actual.mc if source is None else replace(actual.mc, content=source)
        source = present.content
        files[desired.paths.sendmail_mc] = present.digest
    if cf is not None:
        files[desired.paths.sendmail_cf] = cf.digest
        mtimes[desired.paths.sendmail_cf] = cf.mtime_ns
    # No private key is in here: a key is its path and fingerprint.
    return Manifest(
        number=engine.generations.next_number(),
        created=utc(engine.clock.wall()),
        actor=actor(),
        command=order.command,
        desired=desired,
        files=files,
        mtimes=mtimes,
        previous=engine.generations.current(),
        block=block_text(mc.decode(source)) if source else "",
        overrides=dict(order.overrides),
        inventory=order.inventory,
        inventory_digest=order.inventory_digest,
        git_commit=order.git_commit,
        git_dirty=order.git_dirty,
        plan_digest=plan.digest,
        sendmail_argv=session.machine.sendmail(desired.paths, started_by(session, desired)).start,
        running={n: bool(r) for n, r in actual.running.items() if r is not None},
        dkconf_version=__version__,
    )


def _after(session: Session, order: Order) -> Outstanding:
    desired, plan, last = order.desired, order.plan, session.last
    known = {s.filter: s for s in (last.desired.services if last else ())}
    known |= {s.filter: s for s in desired.services}
    sockets = {f.name: f.socket for f in (last.desired.filters if last else ())}
    sockets |= {f.name: f.socket for f in desired.filters if f.name not in sockets}
    stop = [c.filter for c in plan.services if c.action == "stop"]
    gone = tuple(f.path for f in plan.files if f.action == "remove")
    new = Outstanding(
        paths=desired.paths,
        stop=tuple(ServiceStep(known[n], True, sockets.get(n, "")) for n in stop),
        remove=gone,
        written={p: d for p, d in last.files.items() if p in gone} if last else {},
        scripts={
            f.path: known[f.filter]
            for f in plan.files
            if f.action == "remove" and f.role == SCRIPT_ROLE and f.filter in known
        },
        drain_timeout_seconds=order.drain_seconds,
        drain=order.drain,
        units=next((known[f.filter] for f in plan.files if f.action == "remove" and f.role in UNIT_ROLES), None),
    )
    running = frozenset(s.filter for s in desired.services if s.running)
    files = frozenset(f.path for f in desired.files)
    return merged(new, session.engine.journal.outstanding(), running, files)
