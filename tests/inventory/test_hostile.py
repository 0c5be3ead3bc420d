"""Files that no inventory is: each is answered with a clear message, quickly, and never with a traceback."""

from __future__ import annotations

import time

import pytest

from dkconf.inventory import Finding, InventoryInvalid, addresses, load_octets
from dkconf.inventory import load as load_inventory
from dkconf.inventory.kinds import Wrong
from dkconf.inventory.loader import NoInventory


def only(octets: bytes) -> Finding:
    with pytest.raises(InventoryInvalid) as caught:
        load_octets(octets, "i.yaml")
    return next(f for f in caught.value.findings if f.severity == "error")


@pytest.mark.parametrize(
    "octets, rule, words",
    [
        (b"", "YAML006", "empty"),
        (b" \n\n", "YAML006", "empty"),
        (b"\xef\xbb\xbf", "YAML006", "empty"),
        (b"version: 1\nx: \xe9t\xe9\n", "YAML007", "0xe9 is not UTF-8"),
        ("version: 1\n".encode("utf-16"), "YAML007", "not UTF-8"),
        (b"version: 1\x00\n", "YAML007", "U+0000"),
        (b"version: 1 # \x1b[31m\n", "YAML007", "U+001B"),
        ("version: 1 # a\u2028b\n".encode(), "YAML007", "U+2028"),
        (b"[" * 200_000, "YAML010", "nested"),
        (b"{a: " * 5_000, "YAML010", "nested"),
        (b"- " * 5_000 + b"x\n", "YAML010", "nested"),
        (b"\x7fELF\x02\x01\x01\x00" + bytes(200), "YAML007", "U+007F"),
        (b"just words\n", "INV002", "mapping"),
    ],
)
def test_what_is_no_inventory_is_answered(octets, rule, words):
    """The message says what was found, and the place is in the file."""
    finding = only(octets)

    assert rule == finding.rule
    assert words in finding.message
    assert finding.line >= 1


def test_place_of_a_wrong_octet_counts_characters():
    """Columns count what an editor shows, not octets."""
    finding = only("# é\nxé: ".encode() + b"\xff\n")

    assert (2, 5) == (finding.line, finding.column)


def test_billion_laughs_are_refused_at_the_first(tmp_path):
    """Anchors and aliases are refused where they stand; nothing is expanded."""
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    with pytest.raises(InventoryInvalid) as caught:
        load_octets("\n".join(lines).encode(), "i.yaml")

    assert "an anchor, &a0, stands here" in str(caught.value)


def test_a_file_of_50_mb_is_refused_without_being_read(tmp_path):
    """The limit is in the message, and the answer is quick."""
    path = tmp_path / "inventory.yaml"
    with path.open("wb") as file:
        file.truncate(50_000_000)
    start = time.process_time()
    with pytest.raises(InventoryInvalid) as caught:
        load_inventory(path)

    assert "50,000,000 octets; an inventory may have 20 MiB" in str(caught.value)
    assert time.process_time() - start < 1


def test_a_missing_file_says_what_to_do(tmp_path):
    """A file that is not there is an error of the run, not of the inventory."""
    with pytest.raises(NoInventory, match=r"no such file.*dkconf init"):
        load_inventory(tmp_path / "inventory.yaml")


def test_key_material_is_never_shown():
    """A pasted key is named, and no part of it is in any message or excerpt."""
    secret = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj"
    text = f"""\
version: 1
domains:
  example.com:
    selectors:
      s1:
        note: |
          -----BEGIN PRIVATE KEY-----
          {secret}
          -----END PRIVATE KEY-----
      s2: {{note: "{secret}; x"}}
filters: {{}}
hosts: {{}}
"""
    with pytest.raises(InventoryInvalid) as caught:
        load_octets(text.encode(), "i.yaml")

    told = "".join(str(f) + f.excerpt for f in caught.value.findings)
    assert "KEY003" in {f.rule for f in caught.value.findings}
    assert not any(secret[i : i + 12] in told for i in range(len(secret) - 12))


def test_c_parser_is_in_use(monkeypatch):
    """The tree comes from libyaml's events; without the C parser nothing is read slowly instead."""
    import sys

    monkeypatch.setitem(sys.modules, "_ruamel_yaml", None)
    with pytest.raises(ImportError, match=r"ruamel\.yaml\.clib"):
        load_octets(b"version: 1\n", "i.yaml")


def test_a_fault_at_the_end_is_in_the_last_line():
    """libyaml's mark of the end lies behind a last line without its line end; the finding does not."""
    finding = only(b'version: 1\nx: "y\nz')

    assert (3, 2) == (finding.line, finding.column)


@pytest.mark.parametrize("zone", ["'", "a'b", "a\n", "\x1b", "a b", "", "a" * 16, "\u202e"])
@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (addresses.NETWORK, "fe80::1%{}"),
        (addresses.SOCKET, "inet6:25@fe80::1%{}"),
        (addresses.SOCKET, "inet6:25@[fe80::1%{}]"),
        (addresses.NAMESERVER, "[fe80::1%{}]"),
    ],
)
def test_the_zone_of_an_address_is_an_interface(kind, text, zone):
    """Python's ipaddress takes any text behind the %: a quote there would end an m4 argument."""
    with pytest.raises(Wrong):
        kind.parse(text.format(zone))

    assert text.format("eth0.1") == kind.parse(text.format("eth0.1"))


def test_advice_shows_no_control_characters():
    """The A-label form of a name with a tab has a tab, so it is not shown."""
    with pytest.raises(Wrong) as caught:
        addresses.NETWORK.parse("h\t\xe9")

    assert caught.value.right == "write the A-label form, xn--\u2026"
