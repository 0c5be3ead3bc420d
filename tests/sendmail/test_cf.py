"""The model of a sendmail.cf, and what differs between two of them, in words."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from dkconf.sendmail import cf

CF = """\
##### built by root@somewhere on Tue Nov 24 08:00:00 UTC 2026
V10/Berkeley
DS
Cwlocalhost
O LogLevel=9
O QueueDirectory=/var/spool/mqueue
O DaemonPortOptions=Family=inet,  Name=MTA-v4, Port=smtp, Addr=127.0.0.1
O DaemonPortOptions=Name=MSP, Port=submission, M=Ea
O InputMailFilters=dk-filter, opendkim
O Milter.macros.connect=j, _, {daemon_name}
Xdk-filter, S=inet:8891@127.0.0.1, F=T, T=C:1m;S:30s;R:30s;E:5m
Xopendkim, S=local:/run/opendkim/opendkim.sock, F=,
Xspare, S=inet:9999@127.0.0.1, F=R
Qgroup, Path=/var/spool/mqueue/g*, F=f, R=2
Msmtp,\tP=[IPC], F=mDFMuX, S=EnvFromSMTP/HdrFromSMTP,
\tT=DNS/RFC822/SMTP
"""


def test_filters_with_their_defaults_filled_in() -> None:
    """What an X line leaves out is sendmail's default."""
    model = cf.parse(CF)

    assert ("dk-filter", "opendkim") == model.input_filters
    assert ["dk-filter", "opendkim", "spare"] == list(model.filters)
    assert (
        cf.XLine("dk-filter", "inet:8891@127.0.0.1", "tempfail", {"C": 60, "S": 30, "R": 30, "E": 300})
        == (model.filters["dk-filter"])
    )
    assert ("accept", {"C": 300, "S": 10, "R": 10, "E": 300}) == (
        model.filters["opendkim"].on_failure,
        model.filters["opendkim"].timeouts,
    )
    assert "reject" == model.filters["spare"].on_failure
    assert () == model.faults


@pytest.mark.parametrize(
    "flags,word",
    [("T", "tempfail"), ("R", "reject"), ("4", "shutdown"), ("R4T", "tempfail"), ("R4", "shutdown"), ("", "accept")],
)
def test_of_several_failure_flags_one_wins(flags: str, word: str) -> None:
    """T wins over 4, and 4 over R."""
    assert word == cf.parse_x(f"Xa, S=local:/x, F={flags}").on_failure


@pytest.mark.parametrize(
    "span,seconds",
    [
        ("5m", 300),
        ("30", 30),
        ("0", 0),
        ("2h", 7200),
        ("1d", 86400),
        ("m", None),
        ("5 m", None),
        ("-1s", None),
        ("٣s", None),
    ],
)
def test_time_spans(span: str, seconds: int | None) -> None:
    """No unit means seconds; what is no span is None."""
    assert seconds == cf.seconds(span)


def test_daemons() -> None:
    """Port names, defaults, and the first letter of an equate."""
    first, second = cf.parse(CF).daemons

    assert ("MTA-v4", 25, "127.0.0.1", "inet", None) == (
        first.name, first.port, first.target, first.family, first.filters)  # fmt: skip
    assert ("MSP", 587, "127.0.0.1", "Ea") == (second.name, second.port, second.target, second.modifiers)
    own = cf.parse_daemon("Family=inet6, Port=2525, InputMailFilters=a;b")
    assert (("a", "b"), 2525, "::1") == (own.filters, own.port, own.target)
    assert () == cf.parse_daemon("I=").filters


def test_without_daemon_options_there_is_one_daemon_on_25() -> None:
    """sendmail's own default."""
    assert [25] == [d.port for d in cf.parse("O LogLevel=9\n").daemons]


def test_filter_lists_are_distinct() -> None:
    """One canary per distinct list: the global one, and each other one that a daemon has."""
    text = CF + "O DaemonPortOptions=Name=a, Port=2525, I=opendkim\nO DaemonPortOptions=Name=b, Port=2526, I=opendkim\n"

    assert [("dk-filter", "opendkim"), ("opendkim",)] == cf.parse(text).filter_lists()


@pytest.mark.parametrize(
    "line,fault",
    [
        ("O InputMailFilters=dk-filter, nope", "O InputMailFilters names filter nope, which is not defined"),
        ("O InputMailFilters=spare, spare", "O InputMailFilters names filter spare twice"),
        ("Xspare, S=local:/x", "filter spare is defined twice"),
        ("Xnew, F=T", "filter new has no S="),
        ("Xnew, S=local:/x, Q=1", "filter new: unknown equate Q=1"),
        ("Xnew, S=local:/x, T=c:1m", "filter new: unknown equate T=c:1m"),
        ("O DaemonPortOptions=Name=z, I=gone", "daemon z names filter gone, which is not defined"),
    ],
)
def test_faults(line: str, fault: str) -> None:
    """What would end sendmail at its next start, or refuse all mail."""
    assert fault in cf.parse(CF + line + "\n").faults


def test_comments_dates_and_blank_lines_make_no_difference() -> None:
    """Two builds of one .mc are the same model, also with Debian's appended .mc."""
    other = CF.replace("08:00:00", "09:00:00").replace("DS\n", "\n\nDS\n") + "### /etc/mail/sendmail.mc ###\n# dnl\n"

    assert [] == cf.difference(cf.parse(CF), cf.parse(other))


def test_spelling_of_equates_makes_no_difference() -> None:
    """Blanks and units are free."""
    other = CF.replace("S=inet:8891@127.0.0.1, F=T, T=C:1m;S:30s", "Socket=inet:8891@127.0.0.1,F=T,T=C:60;S:30")

    assert [] == cf.difference(cf.parse(CF), cf.parse(other))


@pytest.mark.parametrize(
    "old,new,words",
    [
        ("Filters=dk-filter, opendkim", "Filters=opendkim",
         "filter dk-filter: called by sendmail -> defined, not called"),
        ("Filters=dk-filter, opendkim", "Filters=opendkim, dk-filter",
         "filters are called as dk-filter, opendkim -> opendkim, dk-filter"),
        ("8891", "8892", "filter dk-filter: S= inet:8891@127.0.0.1 -> inet:8892@127.0.0.1"),
        ("F=R", "F=T", "filter spare: on failure reject -> tempfail"),
        ("R:30s", "R:40s", "filter dk-filter: T= C:60s;S:30s;R:30s;E:300s -> C:60s;S:30s;R:40s;E:300s"),
        ("O LogLevel=9", "O LogLevel=14", "option loglevel: 9 -> 14"),
        ("DS\n", "DSsmart.example\n", "line gone: DS"),
        ("M=Ea", "M=E", "daemon new: Name=MSP, Port=submission, M=E"),
        ("Xspare, S=inet:9999@127.0.0.1, F=R\n", "", "filter spare: defined, not called -> not there"),
    ],
)  # fmt: skip
def test_differences_in_words(old: str, new: str, words: str) -> None:
    """One planted change, one sentence."""
    assert words in cf.difference(cf.parse(CF), cf.parse(CF.replace(old, new)))


def test_milter_options_can_be_left_out() -> None:
    """m4 writes O Milter.* only when a filter is defined: no difference of its own."""
    without = CF.replace("O Milter.macros.connect=j, _, {daemon_name}\n", "")

    assert [] == cf.difference(cf.parse(CF), cf.parse(without), milter_options=False)
    assert 1 == len(cf.difference(cf.parse(CF), cf.parse(without)))


def test_throwaway_canary_changes_sockets_and_queues_only() -> None:
    """Only S= of the named filter and the queue paths are others."""
    text = cf.replace_queues(cf.replace_socket(CF, "dk-filter", "local:/run/x/socket"), "/run/q")
    before, after = cf.parse(CF), cf.parse(text)

    assert "local:/run/x/socket" == after.filters["dk-filter"].socket
    assert "/run/q" == after.queue_directory
    assert {"P": "/run/q/group", "F": "f", "R": "2"} == after.queues["group"]
    kept = [line for line in before.others if not line.startswith("Q")]
    assert kept == [line for line in after.others if not line.startswith("Q")]
    assert dataclasses.replace(before.filters["dk-filter"], socket="") == dataclasses.replace(
        after.filters["dk-filter"], socket=""
    )


def test_queue_directory_is_added_where_there_is_none() -> None:
    """A .cf without the option must not queue into sendmail's default."""
    assert "/run/q" == cf.parse(cf.replace_queues("O LogLevel=9\n", "/run/q")).queue_directory


def test_debians_own_file() -> None:
    """The .cf that Debian 12 installs: two daemons, no filter, no fault."""
    path = Path("/etc/mail/sendmail.cf")
    if not path.exists():
        pytest.skip("sendmail's configuration is not installed here")
    model = cf.parse(path.read_text("latin-1"))

    assert [25, 587] == [d.port for d in model.daemons]
    assert ((), ()) == (model.faults, model.input_filters)
    assert "/var/spool/mqueue" == model.queue_directory
