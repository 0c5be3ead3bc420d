"""The log explains a refused canary: by the process that logged, from the mark on."""

from __future__ import annotations

import os
from pathlib import Path

from dkconf.probe import logs

OLD = "Nov 24 06:15:09 mx1 sendmail[70]: 6AO6FBih010821: Milter (old): timeout before data read, where=eom\n"
OTHER = "Nov 24 06:15:09 mx1 sm-mta[71]: 6AO6FBih010822: Milter (other): timeout before data read, where=eom\n"
OURS = (
    "Nov 24 06:15:10 mx1 sendmail[70]: 6AO6FB9P010815: Milter (dk-filter): error connecting to filter: refused\n"
    "Nov 24 06:15:10 mx1 sendmail[70]: 6AO6FB9P010815: Milter (dk-filter): to error state\n"
    "Nov 24 06:15:10 mx1 sendmail[70]: 6AO6FB9P010815: Milter: initialization failed, temp failing commands\n"
)


def test_only_what_came_since_and_from_that_process(tmp_path: Path) -> None:
    """Older lines of a process with the same number, and lines of others, are left out."""
    log = tmp_path / "mail.log"
    log.write_text(OLD)
    place = logs.mark([str(tmp_path / "none"), str(log)])
    with log.open("a") as file:
        file.write(OTHER + OURS)

    assert [("down", "dk-filter")] == [(f.kind, f.filter) for f in logs.failures(place, 70, 0)]


def test_rotated_log_is_read_from_its_beginning(tmp_path: Path) -> None:
    """A new file under the old name, or the old one cut short."""
    log = tmp_path / "mail.log"
    log.write_text(OLD * 20)
    place = logs.mark([str(log)])
    (tmp_path / "new").write_text(OURS)
    os.replace(tmp_path / "new", log)

    assert 1 == len(logs.failures(place, 70, 0))
    log.write_text("")
    assert [] == logs.failures(place, 70, 0)


def test_what_several_processes_have_logged(tmp_path: Path) -> None:
    """Of those alone, from the mark on, without time and queue id; a pipe in the place of the log holds nobody up."""
    log = tmp_path / "mail.log"
    log.write_text(OLD)
    place = logs.mark([str(log)])
    lines = (
        "Nov 24 06:15:10 mx1 sm-mta[70]: NOQUEUE: SYSERR(root): opendaemonsocket: daemon A: cannot bind: x\n"
        "Nov 24 06:15:10 mx1 sm-mta[71]: daemon A: problem creating SMTP socket\n"
        "Nov 24 06:15:10 mx1 sm-mta[72]: daemon B: problem creating SMTP socket\n"
    )
    with log.open("a") as file:
        file.write(lines)

    expected = ["SYSERR(root): opendaemonsocket: daemon A: cannot bind: x", "daemon A: problem creating SMTP socket"]
    assert expected == logs.texts(place, [70, 71])
    assert [] == logs.texts(place, [])
    log.unlink()
    os.mkfifo(log)
    assert [] == logs.texts(place, [70, 71])


def test_no_log_is_no_error(tmp_path: Path) -> None:
    """A log that has gone explains nothing."""
    log = tmp_path / "mail.log"
    log.write_text("")
    place = logs.mark([str(log)])
    log.unlink()

    assert [] == logs.failures(place, 70, 0)
