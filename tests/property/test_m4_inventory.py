"""For any host: its own .mc with our block, through the real m4, calls exactly the filters that were meant.

The .cf is read by the same parser that judges candidates before they go live.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from dkconf.desired import NotRenderable, build
from dkconf.inventory.model import Domain, Filter, Host, Inventory, Milter, Selector, Timeouts
from dkconf.sendmail import cf, mc

CF_M4 = Path("/usr/share/sendmail/cf/m4/cf.m4")

pytestmark = pytest.mark.skipif(
    os.environ.get("CI") != "true" and not (shutil.which("m4") and CF_M4.is_file()),
    reason="m4 and sendmail's cf.m4 (sendmail-cf) are not installed",
)

HOST_MC = f"""\
include(`{CF_M4}')dnl
VERSIONID(`test')dnl
OSTYPE(`linux')dnl
FEATURE(`no_default_msa')dnl
DAEMON_OPTIONS(`Family=inet, Name=MTA-v4, Port=smtp, Addr=127.0.0.1')dnl
INPUT_MAIL_FILTER(`theirs', `S=inet:7777@127.0.0.1, F=T')dnl
MAILER_DEFINITIONS
MAILER(`local')dnl
MAILER(`smtp')dnl
"""

names = st.from_regex(r"[a-z][a-z0-9]{0,5}(-[a-z0-9]{1,5})?", fullmatch=True).filter(lambda n: n != "theirs")
sockets = st.one_of(
    st.integers(1, 65535).map("inet:{}@127.0.0.1".format),
    st.integers(1, 65535).map("inet6:{}@::1".format),
    st.from_regex(r"local:/run/[a-z0-9]{1,6}/[a-z0-9.-]{1,8}", fullmatch=True),
)
seconds = st.integers(1, 100_000)
filters = st.builds(
    Filter,
    socket=sockets,
    program=st.sampled_from(["dkconf-filter", "external"]),
    on_failure=st.sampled_from(["accept", "tempfail", "reject", "shutdown"]),
    timeouts=st.builds(Timeouts, seconds, seconds, seconds, seconds),
    roles=st.sampled_from([("sign",), ("verify",), ("sign", "verify")]),
)


@st.composite
def inventories(draw: st.DrawFn) -> Inventory:
    """One host with up to five filters, some of them off."""
    chosen = draw(st.dictionaries(names, filters, max_size=5))
    order = draw(st.permutations(list(chosen)))
    off = tuple(name for name in order if draw(st.booleans()))
    host = Host(
        filters=tuple(order),
        disabled_filters=off,
        domains=("example.com",),
        milter=Milter(log_level=draw(st.one_of(st.none(), st.integers(0, 22)))),
    )
    return Inventory({"example.com": Domain({"s1": Selector()})}, chosen, {"mx.example.com": host})


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(inventory=inventories())
def test_sendmail_is_told_what_was_meant(inventory: Inventory, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Names, order, on and off, sockets, F= and T=; the host's own filter stays first."""
    try:
        state = build(inventory, "mx.example.com", {})
    except NotRenderable:
        reject()  # A name is an m4 macro, or two services would have one file.
    place = tmp_path_factory.mktemp("m4")
    (fragment,) = [f for f in state.files if f.role == "fragment"]
    (place / "dkconf.m4").write_bytes(fragment.content)
    (place / "host.mc").write_text(mc.insert_block(HOST_MC, f"{place}/dkconf.m4"))
    done = subprocess.run(["m4", "host.mc"], cwd=place, capture_output=True, text=True, check=False)
    model = cf.parse(done.stdout)

    assert (done.returncode, done.stderr, model.faults) == (0, "", ())
    assert model.input_filters == ("theirs", *(f.name for f in state.filters if f.enabled))
    assert set(model.filters) == {"theirs", *(f.name for f in state.filters)}
    for wanted in state.filters:
        found = model.filters[wanted.name]
        assert found.socket == wanted.socket
        assert found.on_failure == wanted.on_failure
        assert dict(found.timeouts) == {
            "C": wanted.timeouts.connect,
            "S": wanted.timeouts.send,
            "R": wanted.timeouts.read,
            "E": wanted.timeouts.end_of_message,
        }
