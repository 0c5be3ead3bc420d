"""S= as sendmail reads it."""

from __future__ import annotations

import pytest

from dkconf.sendmail.endpoint import Endpoint, EndpointError, parse

CASES = [
    ("inet:8891@127.0.0.1", Endpoint("inet", "127.0.0.1", "8891", ""), "inet:8891@127.0.0.1"),
    ("inet:milter@[127.0.0.1]", Endpoint("inet", "127.0.0.1", "milter", ""), "inet:milter@127.0.0.1"),
    ("inet6:1@[::1]", Endpoint("inet6", "::1", "1", ""), "inet6:1@::1"),
    ("unix:/run/x", Endpoint("unix", "", "", "/run/x"), "local:/run/x"),
    ("local:/run/x", Endpoint("unix", "", "", "/run/x"), "local:/run/x"),
    ("/run/x", Endpoint("unix", "", "", "/run/x"), "local:/run/x"),
    (":/run/x", Endpoint("unix", "", "", "/run/x"), "local:/run/x"),
]


@pytest.mark.parametrize("value,place,spelled", CASES)
def test_forms(value: str, place: Endpoint, spelled: str) -> None:
    """Every form that sendmail takes, and its one spelling."""
    assert place == parse(value)
    assert spelled == str(place)


@pytest.mark.parametrize("value", ["", "inet:8891", "inet:@h", "inet:8891@", "foo:1", "local:x", "8891@h"])
def test_what_sendmail_refuses(value: str) -> None:
    """No host, no port, no scheme that is known, no absolute path."""
    with pytest.raises(EndpointError):
        parse(value)
