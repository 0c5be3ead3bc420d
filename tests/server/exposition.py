"""A strict reader of Prometheus' text format 0.0.4, for want of promtool."""

from __future__ import annotations

import re

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"'
_SAMPLE = re.compile(rf"({_NAME})(?:\{{({_LABEL}(?:,{_LABEL})*)\}})? (?P<value>-?[0-9]+(?:\.[0-9]+)?(?:e[+-][0-9]+)?)")
_KINDS = ("counter", "gauge", "histogram")


def read(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return the samples by name and sorted labels; AssertionError where a line is not as the format wants it.

    HELP and TYPE come once, before the samples of their family; families do not mix; no sample comes twice; the
    buckets of a histogram rise, end at +Inf, and that is the count.
    """
    assert text.endswith("\n")
    kinds: dict[str, str] = {}
    helped: set[str] = set()
    done: set[str] = set()
    family = ""
    samples: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    for line in text[:-1].split("\n"):
        if line.startswith("# "):
            _, word, name, rest = line.split(" ", 3)
            assert re.fullmatch(_NAME, name), line
            assert name not in done, line
            if name != family:
                done.add(family)
                family = name
            if word == "TYPE":
                assert rest in _KINDS, line
                assert name not in kinds, line
                kinds[name] = rest
            else:
                assert word == "HELP", line
                assert name not in helped, line
                helped.add(name)
            continue
        match = _SAMPLE.fullmatch(line)
        assert match, line
        name, labels = match[1], tuple(sorted(re.findall(_LABEL, match[2] or "")))
        assert len(dict(labels)) == len(labels), line
        suffixes = ("_bucket", "_sum", "_count") if kinds[family] == "histogram" else ("",)
        assert name in [family + suffix for suffix in suffixes], line
        assert (name, labels) not in samples, line
        samples[name, labels] = float(match["value"])
        assert kinds[family] == "gauge" or samples[name, labels] >= 0, line
        assert kinds[family] != "counter" or name.endswith("_total"), line
    assert helped == kinds.keys()
    for name, kind in kinds.items():
        if kind == "histogram":
            buckets = [(dict(labels)["le"], value) for (n, labels), value in samples.items() if n == f"{name}_bucket"]
            values = [value for _, value in buckets]
            assert values == sorted(values), name
            assert [float(le) for le, _ in buckets] == sorted(float(le) for le, _ in buckets), name
            assert buckets[-1] == ("+Inf", samples[f"{name}_count", ()]), name
            assert (f"{name}_sum", ()) in samples, name
    return samples
