"""What a domain, and what a message, may cost."""

from __future__ import annotations

import pytest

from dkconf.mail.lookup import TxtAnswer
from dkconf.server import budget
from dkconf.server.budget import Budgets, Proven, budget_domain
from dkconf.server.questions import MESSAGE_LOOKUPS, MESSAGE_OCTETS, Questions


@pytest.mark.parametrize(
    ("name", "domain"),
    [
        (b"s._domainkey.example.org", b"example.org"),
        (b"s._domainkey.a.b.c.example.org", b"example.org"),
        (b"_domainkey.example.org", b"example.org"),
        (b"s._domainkey.example.co.uk", b"example.co.uk"),
        (b"s._domainkey.mail.example.com.au", b"example.com.au"),
        (b"s._domainkey.ab.de", b"ab.de"),
        (b"s._domainkey.x.ab.de", b"ab.de"),
        (b"example.org", b"example.org"),
        (b"org", b"org"),
        (b"", b""),
    ],
)
def test_the_domain_that_pays(name, domain):
    """The one that was registered: who has it has all names below it."""
    assert domain == budget_domain(name)


DOMAIN = b"example.org"


def test_a_budget_is_used_up_and_comes_back():
    """Lookups, octets and seconds are counted apart; after a while all begin anew."""
    for limit, spend, words in (
        (budget.DOMAIN_LOOKUPS, (0, 0.0), "2000 lookups for example.org within 10 s"),
        (1, (budget.DOMAIN_OCTETS, 0.0), "2097152 octets of answers for example.org within 10 s"),
        (1, (0, budget.DOMAIN_SECONDS), "400 seconds of waiting for example.org within 10 s"),
    ):
        budgets = Budgets()
        for _ in range(limit):
            assert "" == budgets.begin(DOMAIN, 100.0)
            budgets.end(DOMAIN, *spend)
        assert words == budgets.begin(DOMAIN, 109.9)
        assert "" == budgets.begin(b"example.net", 109.9)
        assert "" == budgets.begin(DOMAIN, 110.0)


def test_lookups_under_way_are_counted_whatever_time_passes():
    """A while that is over does not make room for a hundred more."""
    budgets = Budgets()
    for _ in range(budget.DOMAIN_FLIGHTS):
        assert "" == budgets.begin(DOMAIN, 0.0)
    assert "100 lookups for example.org are under way" == budgets.begin(DOMAIN, 60.0)
    budgets.end(DOMAIN, 100, 1.0)
    assert "" == budgets.begin(DOMAIN, 60.0)


def test_the_domains_in_mind_are_bounded():
    """The oldest that asks for nothing is forgotten first; the lookups of one that asks still count."""
    budgets = Budgets()
    budgets.begin(DOMAIN, 0.0)
    for number in range(3 * budget.MOST_DOMAINS):
        name = b"d%d.example" % number
        budgets.begin(name, 0.0)
        budgets.end(name, 1, 1.0)
    assert budget.MOST_DOMAINS == len(budgets)
    for _ in range(budget.DOMAIN_FLIGHTS - 1):
        assert "" == budgets.begin(DOMAIN, 0.0)
    assert "" != budgets.begin(DOMAIN, 0.0)


class _Resolver:
    """Knows every name, or none yet."""

    def __init__(self, answer: TxtAnswer | None) -> None:
        self.answer, self.asked = answer, []

    def lookup(self, name, done):
        self.asked.append(name)
        return self.answer

    def forget(self, name, done) -> None:
        pass


KEY = TxtAnswer("found", (b"p=A",), ttl=60)


@pytest.mark.parametrize("known", [True, False])
def test_a_message_may_ask_for_so_many_keys(known):
    """The message will have as many when it comes again: what is beyond is broken. But the policy is asked for."""
    resolver, questions = _Resolver(KEY if known else None), Questions()
    names = [b"s%d._domainkey.example.org" % number for number in range(MESSAGE_LOOKUPS + 5)]
    for name in [*names, b"_domainkey.example.org"]:
        questions.ask(name, resolver, lambda *answer: None)

    assert [*names[:MESSAGE_LOOKUPS], b"_domainkey.example.org"] == resolver.asked
    assert {"broken"} == {questions.answers[name].status for name in names[MESSAGE_LOOKUPS:]}
    assert f"more than {MESSAGE_LOOKUPS} key lookups for one message" == questions.answers[names[-1]].reason
    questions.clear(resolver, lambda *answer: None)
    questions.ask(names[-1], resolver, lambda *answer: None)
    assert resolver.asked[-1] == names[-1]


@pytest.mark.parametrize("known", [True, False])
def test_a_message_may_have_so_many_octets_of_records(known):
    """Also if the answers come later."""
    long = TxtAnswer("found", (b"x" * 5000,) * 3, ttl=60)
    resolver, questions = _Resolver(long if known else None), Questions()
    names = [b"s%d._domainkey.example.org" % number for number in range(4)]
    for name in names:
        questions.ask(name, resolver, lambda *answer: None)
        if not known:
            questions.hear(name, long)

    assert ["found", "found", "broken", "broken"] == [questions.answers[name].status for name in names]
    assert f"over {MESSAGE_OCTETS} octets of key records for one message" == questions.answers[names[3]].reason


def test_few_names_of_a_domain_are_remembered():
    """The latest; whoever has a wildcard drives out no other's names."""
    proven = Proven()
    assert not proven.holds(DOMAIN, b"s._domainkey.example.org")
    proven.add(DOMAIN, b"s._domainkey.example.org")
    for number in range(1000):
        proven.add(b"example.net", b"s%d._domainkey.example.net" % number)
    assert proven.holds(DOMAIN, b"s._domainkey.example.org")
    assert proven.holds(b"example.net", b"s999._domainkey.example.net")
    assert not proven.holds(b"example.net", b"s0._domainkey.example.net")
    assert 1 + budget.MOST_PROVEN == len(proven)
    for number in range(3 * budget.MOST_DOMAINS):
        proven.add(b"%d.example" % number, b"s._domainkey.%d.example" % number)
    assert budget.MOST_DOMAINS == len(proven)
