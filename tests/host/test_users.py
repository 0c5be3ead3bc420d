"""System users: the commands that make and remove them, and whose users are left alone."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Sequence
from pathlib import Path

import pytest

from dkconf.desired.state import SystemUser
from dkconf.host import users
from dkconf.host.services import Done, ServiceFailed
from dkconf.host.users import create_user, remove_user, user_command

UID = 4_000_000_001
"""Nobody's: no process runs as it and no file belongs to it."""
RUN = "0123456789abcdef"
USER = SystemUser("dkconf", "/nonexistent", groups=("smmta", "mail"))


class Accounts:
    """Users and groups, and the commands that change them."""

    def __init__(self, *there: pwd.struct_passwd, groups: dict[str, int] | None = None) -> None:
        self.users = {user.pw_name: user for user in there}
        self.groups = dict(groups or {})
        self.ran: list[str] = []
        self.says = Done(0, "")
        self.keeps_group = False

    def user(self, name: str) -> pwd.struct_passwd:
        return self.users[name]

    def group(self, name: str) -> grp.struct_group:
        return grp.struct_group((name, "x", self.groups[name], []))

    def run(self, argv: Sequence[str]) -> Done:
        self.ran.append(" ".join(argv))
        if not self.says.status and "userdel" in argv:
            del self.users[argv[-1]]
            if not self.keeps_group:
                self.groups.pop(argv[-1], None)
        return self.says


def entry(gecos: str, uid: int = UID, home: str = "/nonexistent") -> pwd.struct_passwd:
    return pwd.struct_passwd(("dkconf", "x", uid, UID, gecos, home, "/usr/sbin/nologin"))


@pytest.fixture
def accounts(monkeypatch: pytest.MonkeyPatch) -> Accounts:
    """A system that has the user of this run."""
    made = Accounts(entry(users.comment(RUN)), groups={"dkconf": UID})
    monkeypatch.setattr(users.pwd, "getpwnam", made.user)
    monkeypatch.setattr(users.grp, "getgrnam", made.group)
    return made


@pytest.mark.parametrize(
    "platform,argv",
    [
        ("debian", ["useradd", "--system", "--user-group", "--comment", f"mail filter (dkconf run {RUN})", "--home-dir",
                    "/nonexistent", "--no-create-home", "--shell", "/usr/sbin/nologin", "--groups", "smmta,mail",
                    "dkconf"]),
        ("rhel", ["useradd", "--system", "--user-group", "--comment", f"mail filter (dkconf run {RUN})", "--home-dir",
                  "/nonexistent", "--no-create-home", "--shell", "/usr/sbin/nologin", "--groups", "smmta,mail",
                  "dkconf"]),
        ("freebsd", ["pw", "useradd", "dkconf", "-c", f"mail filter (dkconf run {RUN})", "-d", "/nonexistent", "-s",
                     "/usr/sbin/nologin", "-w", "no", "-G", "smmta,mail"]),
    ],
)  # fmt: skip
def test_user_commands(platform: str, argv: list[str]) -> None:
    """A system user without a password, with a group of its own name, that says which run made it."""
    assert argv == list(user_command(USER, platform, RUN))


def test_a_user_that_is_there_is_not_made(accounts: Accounts) -> None:
    """Nor changed."""
    create_user(USER, "debian", "another run", accounts.run)

    assert [] == accounts.ran


def test_a_command_that_says_no_is_quoted(accounts: Accounts) -> None:
    """With what it said."""
    accounts.users.clear()
    accounts.says = Done(9, "useradd: group dkconf exists")

    with pytest.raises(ServiceFailed, match=r"user dkconf: useradd .* status 9: useradd: group dkconf exists"):
        create_user(USER, "debian", RUN, accounts.run)


@pytest.mark.parametrize("platform,argv", [("debian", "userdel dkconf"), ("rhel", "userdel dkconf")])
def test_the_run_that_made_a_user_removes_it(accounts: Accounts, platform: str, argv: str) -> None:
    """And again: nothing."""
    assert "" == remove_user("dkconf", platform, RUN, (), accounts.run)
    assert "" == remove_user("dkconf", platform, RUN, (), accounts.run)

    assert [argv] == accounts.ran


def test_freebsd_is_asked_for_processes(accounts: Accounts) -> None:
    """There is no /proc."""
    accounts.says = Done(1, "")
    accounts_said = remove_user("dkconf", "freebsd", RUN, (), accounts.run)

    assert [f"pgrep -U {UID}", "pw userdel dkconf"] == accounts.ran
    assert "pw userdel dkconf ended with status 1" in accounts_said
    accounts.says = Done(0, "4711\n")
    assert "process 4711 runs as this user" == remove_user("dkconf", "freebsd", RUN, (), accounts.run)


def test_a_group_that_userdel_leaves_goes_too(accounts: Accounts) -> None:
    """As where USERGROUPS_ENAB is off; another group of that name stays."""
    accounts.keeps_group = True
    assert "" == remove_user("dkconf", "debian", RUN, (), accounts.run)
    assert ["userdel dkconf", "groupdel dkconf"] == accounts.ran

    accounts.users["dkconf"], accounts.groups["dkconf"] = entry(users.comment(RUN)), 1
    assert "" == remove_user("dkconf", "debian", RUN, (), accounts.run)
    assert ["userdel dkconf"] == accounts.ran[2:]


@pytest.mark.parametrize("gecos", ["", "mail filter", users.comment("another run"), users.comment(RUN) + ","])
def test_another_user_of_that_name_stays(accounts: Accounts, gecos: str) -> None:
    """One that somebody else made, or another run, is not this run's to remove."""
    accounts.users["dkconf"] = entry(gecos)

    assert "" == remove_user("dkconf", "debian", RUN, (), accounts.run)
    assert [] == accounts.ran


def test_a_user_with_a_process_stays(accounts: Accounts) -> None:
    """The process is named."""
    accounts.users["dkconf"] = entry(users.comment(RUN), uid=os.getuid())

    why = remove_user("dkconf", "debian", RUN, (), accounts.run)

    assert why.startswith("process ")
    assert [] == accounts.ran


@pytest.mark.parametrize("where", ["made", "made/below/it", "home/x"])
def test_a_user_who_owns_something_stays(accounts: Accounts, tmp_path: Path, where: str) -> None:
    """What is left of the run's paths, or lies in its home, is looked at; and the path is named."""
    place = tmp_path / where
    place.mkdir(parents=True)
    about = place.stat()
    # A user whose group is that of the file.
    home = str(tmp_path / "home")
    accounts.users["dkconf"] = pwd.struct_passwd(
        ("dkconf", "x", UID, about.st_gid, users.comment(RUN), home, "/usr/sbin/nologin")
    )

    why = remove_user("dkconf", "debian", RUN, (str(tmp_path / "made"), str(tmp_path / "missing")), accounts.run)

    assert why.endswith(" belongs to it")
    assert [] == accounts.ran


def test_a_link_is_not_followed(accounts: Accounts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link to / costs one look, however large the tree behind it is."""
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "all").symlink_to("/")
    monkeypatch.setattr(users, "SHARED_DIRECTORIES", ())
    monkeypatch.setattr(users, "MOST_PATHS", 100)

    assert "" == remove_user("dkconf", "debian", RUN, (str(tmp_path / "made"),), accounts.run)


def test_too_many_files_to_look_at(accounts: Accounts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the user stays: nobody can tell."""
    for number in range(20):
        (tmp_path / str(number)).touch()
    monkeypatch.setattr(users, "MOST_PATHS", 10)

    assert "too many files" in remove_user("dkconf", "debian", RUN, (str(tmp_path),), accounts.run)
    assert [] == accounts.ran
