"""The running machine, as an operation sees it: the judge, sendmail, services, users, and the revert
timer."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection

from dkconf.desired.state import HostPaths, Service, SystemUser
from dkconf.errors import DkconfError, Refusal
from dkconf.files.reading import read_file
from dkconf.files.writing import write_file
from dkconf.host import running, timer, users
from dkconf.host.drain import drain
from dkconf.host.machine import Case, Judged, Sendmail, StartedBy
from dkconf.host.services import Services, wait_until_answers
from dkconf.probe import live, logs, master, ports
from dkconf.probe.facts import Site
from dkconf.sendmail import cf, mc
from dkconf.trial import gates, preflight, stage


class RealMachine:
    """Every method acts on this machine; see `Machine`."""

    def __init__(self, say: Callable[[str, str], None]) -> None:
        self._say = say
        self._services = Services()
        self._mark = logs.mark()

    def preflight(
        self, paths: HostPaths, services: tuple[Service, ...] = (), *, emergency: bool = False
    ) -> tuple[str, ...]:
        return tuple(preflight.preflight(paths, services, emergency=emergency))

    # judging

    def judge(self, case: Case) -> Judged:
        paths, desired = case.desired.paths, case.desired
        notes: list[str] = []
        staged, used_stored = self._stage(case, notes)
        try:
            live_model = cf.parse(mc.decode(case.live_cf))
            refusals = [] if case.emergency and used_stored else self._meant(case, staged.model, live_model)
            if case.gates:
                refusals += self._gates(case)
            if case.canary and not refusals:
                from dkconf.trial.judge import judge

                found = judge(staged, case.live_cf, desired, changed=case.changed, domains=_new_domains(case))
                refusals += found.refusals
                notes += found.notes
            before = None
            if case.canary and master.find(master.site_of(paths, live_model)).master is not None:
                before = ports.probe_all(live_model, recipient=desired.probe_recipient)
            recipient = {"recipient": desired.probe_recipient}
            return Judged(staged.cf, tuple(refusals), tuple(notes), before, recipient)
        finally:
            staged.discard()

    def _stage(self, case: Case, notes: list[str]) -> tuple[stage.Staged, bool]:
        """Build the candidate; where that cannot be, take the .cf that was kept, or in need mend the live
        one."""
        paths = case.desired.paths
        live_mc, live_fragment = mc.decode(case.live_mc), _text(case.live_fragment)
        try:
            stage.baseline(paths, live_mc, live_fragment, case.live_cf).discard()
            return stage.stage(paths, mc.decode(case.mc), _text(case.fragment)), False
        except (stage.StageFailed, stage.BaselineDiffers) as exc:
            if case.emergency:
                off = {f.name for f in case.desired.filters if not f.enabled}
                octets = without_filters(case.live_cf, off)
                notes.append(f"sendmail.cf is the live one without {', '.join(sorted(off))}, since: {exc}")
            elif case.stored_cf is not None and isinstance(exc, stage.StageFailed):
                octets = case.stored_cf
                notes.append(f"sendmail.cf is the stored one, since: {exc}")
            else:
                raise
        directory = stage.private_directory("stored")
        path = directory / "sendmail.cf"
        write_file(str(path), octets, mode=0o644)
        model = cf.parse(mc.decode(octets))
        staged = stage.Staged(directory, mc.decode(case.mc), _text(case.fragment), octets, str(path), model)
        try:
            stage.check_start(paths, staged.cf_path, "stored")
        except BaseException:
            staged.discard()
            raise
        return staged, True

    def _meant(self, case: Case, candidate: cf.CfModel, live_model: cf.CfModel) -> list[Refusal]:
        managed = {c.name for c in mc.find_filters(_text(case.live_fragment) or "", fragment=True)}
        found = stage.meant(candidate, live_model, case.desired.filters, managed, case.taken_over)
        way_on = "look at the rest of sendmail.mc and the files that it includes"
        return [Refusal("", f"the built sendmail.cf is not what was meant: {words}", way_on) for words in found]

    def _gates(self, case: Case) -> list[Refusal]:
        from dkconf.dns.resolve import lookup

        before = gates.signatures(case.before) if case.before else set()
        after = gates.signatures(case.desired)
        ask = lookup()
        found: list[Refusal] = []
        new = after - before
        if new and gates.UNPUBLISHED_KEY not in case.accepted:
            self._say("plain", "looking up the key records")
            found += gates.unpublished_keys(case.desired, new, ask)
        losing = gates.losing_last_signer(before, after)
        if losing and gates.POLICY not in case.accepted:
            self._say("plain", "looking up the policy records")
            found += gates.policy_strict(losing, ask)
        return found

    # sendmail

    def sendmail(self, paths: HostPaths, by: StartedBy) -> Sendmail:
        site = self._site(paths)
        return running.look(site, paths, by)

    def untold(self, paths: HostPaths, by: StartedBy) -> tuple[Refusal, ...]:
        if os.geteuid() != 0:
            return ()  # without root only a plan is made, and it cannot see which process is the master
        return running.refusals(self._site(paths), paths, by)

    def sendmail_words(self, paths: HostPaths, by: StartedBy) -> tuple[str, str]:
        return running.words(self._site(paths), paths, by)

    def tell_sendmail(self, paths: HostPaths, sendmail: Sendmail) -> None:
        site = self._site(paths)
        self._mark = logs.mark()
        how = live.How(running.surely(sendmail, site, paths), sendmail.ran, sendmail.full_path)
        if live.tell(site, how, told=lambda line: self._say("dim", line)) is None:
            self._say("warn", "sendmail does not run; it reads the new configuration when it starts")

    def check(self, paths: HostPaths, judged: Judged | None) -> tuple[str, ...]:
        if judged is None or not isinstance(judged.before, ports.PortReport):
            return ()
        recipient = str(judged.details.get("recipient", ""))
        now = ports.probe_all(self._live_model(paths), recipient=recipient)
        site = self._site(paths)
        here = master.find(site).master
        closed = live.closed_by_load(here, site, logs.texts(self._mark, [here.pid])) if here else {}
        for name, words in closed.items():
            self._say("warn", f"daemon {name}: not tried, since its port is closed because of load: {words}")
        return tuple(ports.worse(judged.before, now, closed))

    def _site(self, paths: HostPaths) -> Site:
        return master.site_of(paths, self._live_model(paths))

    def _live_model(self, paths: HostPaths) -> cf.CfModel:
        try:
            octets = read_file(paths.sendmail_cf, limit=stage.M4_MAX_OUTPUT_OCTETS)
        except FileNotFoundError as error:
            raise DkconfError(f"{paths.sendmail_cf}: not found; set paths.sendmail_cf") from error
        return cf.parse(mc.decode(octets))

    # filters

    def running(self, service: Service) -> bool | None:
        try:
            return {"running": True, "stopped": False}.get(self._services.status(service))
        except DkconfError:
            return None

    def start(self, service: Service) -> None:
        self._services.start(service)

    def reload(self, service: Service) -> None:
        self._services.reload(service)

    def restart(self, service: Service) -> None:
        self._services.restart(service)

    def stop(self, service: Service) -> None:
        self._services.stop(service)

    def wait_answers(self, socket: str, seconds: float) -> str:
        return wait_until_answers(socket, seconds)

    def read_units(self, service: Service) -> None:
        self._services.read_units(service)

    def forget(self, service: Service) -> None:
        self._services.forget(service)

    def create_user(self, user: SystemUser, platform: str, run: str) -> None:
        users.create_user(user, platform, run)

    def remove_user(self, name: str, platform: str, run: str, places: tuple[str, ...]) -> str:
        return users.remove_user(name, platform, run, places)

    def drain(self, paths: HostPaths, sockets: tuple[str, ...], since: float, seconds: int) -> tuple[str, ...]:
        found = drain(self._site(paths), sockets, since, seconds)
        return () if found.done else tuple(found.remaining)

    # the timer

    def arm(self, state_dir: str, seconds: int, run: str, systemd: bool) -> None:
        timer.arm(state_dir, seconds, run, systemd)

    def disarm(self, state_dir: str) -> None:
        timer.disarm(state_dir)


def without_filters(octets: bytes, names: Collection[str]) -> bytes:
    """Return a .cf in which sendmail calls none of `names`; all else stays, octet for octet."""
    out = []
    for line in mc.decode(octets).splitlines(keepends=True):
        key, equals, value = line.partition("=")
        if key.replace(" ", "") == "OInputMailFilters" and equals:
            end = value[len(value.rstrip()) :]
            stay = [n for n in (w.strip() for w in value.strip().split(",")) if n and n not in names]
            line = f"{key}={', '.join(stay)}{end}" if stay else f"#{key}{end}"
        out.append(line)
    return mc.encode("".join(out))


def _text(octets: bytes | None) -> str | None:
    return None if octets is None else mc.decode(octets)


def _new_domains(case: Case) -> tuple[str, ...]:
    """Return the domains whose signatures are new: they are tried first."""
    before = gates.signatures(case.before) if case.before else set()
    return tuple(sorted({s.domain for s in gates.signatures(case.desired) - before}))
