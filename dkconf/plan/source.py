"""The host's own sendmail.mc as it should read: dkconf's block in it, hand-made lines taken over where
asked."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from dkconf.desired.state import DesiredState
from dkconf.errors import Refusal
from dkconf.sendmail import mc
from dkconf.sendmail.problems import problems


@dataclass(frozen=True, slots=True)
class Source:
    """The wanted sendmail.mc, and what forbids writing it."""

    text: str
    refusals: tuple[Refusal, ...] = ()
    notes: tuple[str, ...] = ()
    taken: tuple[str, ...] = ()
    """Names taken over by this very change."""


def wanted_source(text: str, desired: DesiredState, take_over: Collection[str]) -> Source:
    """Return `text` with the block and with each hand-made call named in `take_over` behind its mark."""
    fragment = desired.paths.fragment
    refusals: list[Refusal] = []
    notes: list[str] = []
    for problem in problems(text, fragment_path=fragment):
        if problem.blocking:
            refusals.append(Refusal("", f"sendmail.mc:{problem.line}: {problem.what}", problem.fix))
        elif problem.code not in ("unmanaged",):
            notes.append(str(problem))
    by_hand = {call.name: call for call in mc.find_filters(text)}
    wanted = {f.name: f for f in desired.filters}
    taken = []
    for name in sorted(take_over):
        if not name.startswith("/") and name not in by_hand and name not in mc.taken_over(text):
            there = ", ".join(sorted(by_hand)) or "none"
            sentence = f"sendmail.mc has no line of filter {name} that was written by hand (there is: {there})"
            refusals.append(Refusal("", sentence, f"leave --take-over {name} out"))
    for name in sorted(set(wanted) & set(by_hand)):
        call = by_hand[name]
        if name not in take_over:
            refusals.append(
                Refusal(
                    "",
                    f"sendmail.mc:{call.line}: filter {name} is already there, by hand: "
                    f"{call.kind}(`{name}', `{call.equates}')",
                    f"--take-over {name}",
                )
            )
            continue
        try:
            if name in mc.disabled_lines(text):
                text = mc.enable_line(text, name)
            text, equates = mc.take_over(text, name)
        except mc.McError as exc:
            refusals.append(Refusal("", str(exc), f"put it on one line, then --take-over {name}"))
            continue
        taken.append(name)
        if not call.called and wanted[name].enabled:
            notes.append(f"filter {name} is defined by hand, not called; the inventory has it called")
        notes.append(f"filter {name}: the line by hand had {equates}")
    try:
        text = mc.insert_block(text, fragment)
    except mc.McError as exc:
        if not any("block" in r.sentence for r in refusals):
            refusals.append(Refusal("", str(exc), "edit sendmail.mc"))
    return Source(text, tuple(refusals), tuple(notes), tuple(taken))


def block_text(text: str) -> str:
    """Return dkconf's block of a sendmail.mc, "" if there is none or it is damaged."""
    try:
        found = mc.block(text)
    except mc.McError:
        return ""
    return text[found.start : found.end] if found else ""
