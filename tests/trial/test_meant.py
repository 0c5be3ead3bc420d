"""The built .cf is compared with what was meant, filter by filter."""

from __future__ import annotations

import pytest

from dkconf.desired.state import MilterFilter
from dkconf.inventory.model import Timeouts
from dkconf.sendmail import cf
from dkconf.trial.stage import meant

BASE = "O LogLevel=9\nO DaemonPortOptions=Name=MTA, Port=smtp\nCwlocalhost\n"
OURS = "Xours, S=inet:8891@127.0.0.1, F=T, T=C:5m;S:10s;R:10s;E:5m\n"
HAND = "Xhand, S=local:/run/hand, F=R\n"


def milter(enabled: bool = True, **changes: object) -> MilterFilter:
    values: dict[str, object] = {
        "name": "ours", "socket": "inet:8891@127.0.0.1", "on_failure": "tempfail", "timeouts": Timeouts(),
        "enabled": enabled, "program": "external", "roles": (), "signs": (), "internal_hosts": (),
        "settings_digest": "",
    }  # fmt: skip
    return MilterFilter(**{**values, **changes})  # type: ignore[arg-type]


def model(text: str) -> cf.CfModel:
    return cf.parse(BASE + text)


CASES = [
    ("enabled", OURS + "O InputMailFilters=ours\n", "", milter(), ""),
    ("milter options come with the first filter", OURS + "O InputMailFilters=ours\nO Milter.macros.eom={msg_id}\n", "",
     milter(), ""),
    ("disabled", OURS, OURS + "O InputMailFilters=ours\n", milter(False), ""),
    ("beside another, before it", OURS + HAND + "O InputMailFilters=ours, hand\n", HAND + "O InputMailFilters=hand\n",
     milter(), ""),
    ("beside another, behind it", HAND + OURS + "O InputMailFilters=hand, ours\n", HAND + "O InputMailFilters=hand\n",
     milter(), ""),
    ("missing", "", "", milter(), "filter ours is missing"),
    ("not called", OURS, "", milter(), "managed filters are called as none, meant was ours"),
    ("still called", OURS + "O InputMailFilters=ours\n", "", milter(False), "called as ours, meant was none"),
    ("the other one lost", OURS + "O InputMailFilters=ours\n", HAND + "O InputMailFilters=hand\n", milter(),
     "filter hand has changed"),
    ("the other one not called", OURS + HAND + "O InputMailFilters=ours\n", HAND + "O InputMailFilters=hand\n",
     milter(), "other filters are called as none, meant was hand"),
    ("one too many", OURS + HAND + "O InputMailFilters=ours\n", "", milter(), "hand is there, and was not meant"),
    ("another socket", OURS.replace("8891", "8892") + "O InputMailFilters=ours\n", "", milter(),
     "filter ours: S= is inet:8892@127.0.0.1, meant was inet:8891@127.0.0.1"),
    ("another F=", OURS.replace("F=T", "F=R") + "O InputMailFilters=ours\n", "", milter(), "on failure is reject"),
    ("another T=", OURS.replace("R:10s", "R:1s") + "O InputMailFilters=ours\n", "", milter(), "filter ours: T= is"),
    ("another option", OURS + "O InputMailFilters=ours\nO LogLevel=12\n", "", milter(), "option loglevel: 9 -> 9 | 12"),
    ("another daemon", OURS + "O InputMailFilters=ours\nO DaemonPortOptions=Name=b, Port=2525\n", "", milter(),
     "daemon new: Name=b, Port=2525"),
    ("another line", OURS + "O InputMailFilters=ours\nDSsmart\n", "", milter(), "line new: DSsmart"),
    ("listed twice", OURS + "O InputMailFilters=ours, ours\n", "", milter(), "names filter ours twice"),
]  # fmt: skip


@pytest.mark.parametrize("_,candidate,live,wanted,words", CASES, ids=[case[0] for case in CASES])
def test_meant(_: str, candidate: str, live: str, wanted: MilterFilter, words: str) -> None:
    """Nothing to say where it is what was meant; else a sentence that names the difference."""
    managed = {"ours"} if "Xours" in live else set()
    found = meant(model(candidate), model(live), [wanted], managed)

    assert any(words in one for one in found) if words else found == []


def test_spelling_of_the_socket_is_free() -> None:
    """unix: is local:, and brackets around an address say nothing."""
    candidate = model("Xours, S=unix:/run/x, F=T\nO InputMailFilters=ours\n")

    assert [] == meant(candidate, model(""), [milter(socket="local:/run/x")], ())


def test_take_over_needs_its_flag() -> None:
    """A filter that is defined by hand too is named, with the flag that moves it."""
    text = OURS + "O InputMailFilters=ours\n"

    assert ["filter ours is defined elsewhere in sendmail.mc too; --take-over ours"] == [
        words for words in meant(model(text), model(text), [milter()], ()) if "take-over" in words
    ]
    assert [] == meant(model(text), model(text), [milter()], (), {"ours"})


@pytest.mark.parametrize("enabled,own,words", [(False, "ours", "is still called"), (True, "", "is not called")])
def test_a_daemons_own_list_is_seen(enabled: bool, own: str, words: str) -> None:
    """A filter taken off the global list stays on in a daemon with a list of its own, and the other way
    round."""
    daemon = f"O DaemonPortOptions=Name=b, Port=2525, I={own}\n"
    candidate = model(OURS + daemon + ("O InputMailFilters=ours\n" if enabled else ""))

    found = meant(candidate, model(daemon), [milter(enabled)], ())

    assert [f"daemon b has a filter list of its own, by which ours {words}"] == found
