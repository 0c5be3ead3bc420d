"""Zone text: what a name server reads from it is the record, octet by octet."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import dns.name
import dns.rdatatype
import dns.zone
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dkconf.desired.state import TxtRecord
from dkconf.desired.zonetext import character_strings
from dkconf.dns.zone import FORMS, text, zone_lines
from dkconf.errors import UsageProblem


def record(value: bytes, name: str = "s1._domainkey.example.com", ttl: int = 3600) -> TxtRecord:
    """A key record with these octets."""
    return TxtRecord(name, value, ttl, "key", "example.com", "s1")


def read_back(lines: str, name: str = "s1._domainkey.example.com") -> tuple[int, list[bytes]]:
    """(TTL, character strings) of the TXT record as dnspython reads it."""
    head = "$ORIGIN .\n$TTL 60\nexample.com. IN SOA a. b. 1 2 3 4 5\nexample.com. IN NS a.\n"
    zone = dns.zone.from_text(head + lines, origin="example.com.", relativize=False)
    rdataset = zone.find_rdataset(dns.name.from_text(name), dns.rdatatype.TXT)
    (rdata,) = rdataset
    return rdataset.ttl, list(rdata.strings)


@given(st.binary(max_size=1200))
def test_any_octets_come_back(value: bytes) -> None:
    """Split at 255 octets, quoted and escaped."""
    ttl, strings = read_back(zone_lines([record(value)]))

    assert ttl == 3600
    assert b"".join(strings) == value
    assert all(len(s) <= 255 for s in strings)


@pytest.mark.parametrize(("octets", "pieces"), [(0, 1), (255, 1), (256, 2), (510, 2), (511, 3)])
def test_pieces_of_255_octets(octets: int, pieces: int) -> None:
    """As few as can be; an empty value is one empty string."""
    assert len(character_strings(b"x" * octets)) == pieces


def test_a_short_record_is_one_line() -> None:
    """Name, TTL, class, type, string."""
    assert zone_lines([record(b"v=DKIM1; p=", ttl=300)]) == (
        's1._domainkey.example.com.\t300\tIN\tTXT\t"v=DKIM1; p="\n'
    )


def test_names_cannot_end_a_line_or_begin_a_directive() -> None:
    """Hostile names are escaped as octets."""
    lines = zone_lines([record(b"x", name='a\n$INCLUDE /etc/passwd" ;.example.com')])

    assert lines.count("\n") == 1
    assert "$" not in lines
    assert ";" not in lines


def test_order_does_not_depend_on_the_callers() -> None:
    """Sorted from the root down."""
    records = [record(b"x", name=n) for n in ("b.example.net", "a.example.net", "z.example.com")]
    for form in FORMS:
        assert text(records, form) == text(records[::-1], form)
    assert [line.split("\t")[0] for line in zone_lines(records).splitlines()] == [
        "z.example.com.",
        "a.example.net.",
        "b.example.net.",
    ]


def test_the_other_forms() -> None:
    """For web forms, and for nsupdate."""
    long = record(b"a" * 300)

    assert text([long], "raw") == f"s1._domainkey.example.com\t{'a' * 300}\n"
    assert text([long], "quoted") == f's1._domainkey.example.com\t"{"a" * 255}" "{"a" * 45}"\n'
    assert text([record(b"x")], "nsupdate") == (
        'update delete s1._domainkey.example.com. TXT\nupdate add s1._domainkey.example.com. 3600 TXT "x"\nsend\n'
    )
    with pytest.raises(UsageProblem, match="raw"):
        text([long], "route66")


@pytest.mark.skipif(not shutil.which("named-checkzone"), reason="named-checkzone (bind9-utils) is not installed")
def test_bind_takes_it(tmp_path: Path) -> None:
    """All octets there are, in one record."""
    head = "$TTL 60\n@ IN SOA a. b. 1 2 3 4 5\n@ IN NS a.example.org.\n"
    (tmp_path / "zone").write_text(head + zone_lines([record(bytes(range(256)) * 3)]), encoding="ascii")
    done = subprocess.run(
        ["named-checkzone", "-q", "example.com", str(tmp_path / "zone")], capture_output=True, check=False
    )

    assert done.returncode == 0
