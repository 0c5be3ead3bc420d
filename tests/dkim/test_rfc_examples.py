"""The examples that the RFCs print, with their keys."""

from __future__ import annotations

import pytest

from dkconf.dkim import verifier
from dkconf.mail.lookup import TxtAnswer
from tests.dkim.helpers import found, verify

RFC6376_KEY = (
    b"v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYtIxN2SnFCjxOCKG9v3"
    b"b4jYfcTNh5ijSsq631uBItLa7od+v/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhitdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckc"
    b"Q2QIDAQAB"
)
# Erratum 4926: one blank in "game. Are", where the RFC prints two. The folds are six blanks deep.
RFC6376_MESSAGE = b"""\
DKIM-Signature: v=1; a=rsa-sha256; s=brisbane; d=example.com;
      c=simple/simple; q=dns/txt; i=joe@football.example.com;
      h=Received : From : To : Subject : Date : Message-ID;
      bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
      b=AuUoFEfDxTDkHlLXSZEpZj79LICEps6eda7W3deTVFOk4yAUoqOB
      4nujc7YopdG5dWLSdNg6xNAZpOPr+kHxt1IrE+NahM6L/LbvaHut
      KVdkLLkpVaVVQPzeRDI009SO2Il5Lu7rDNH6mZckBdrIx0orEtZV
      4bmp/YzhwvcubU4=;
Received: from client1.football.example.com  [192.0.2.1]
      by submitserver.example.com with SUBMISSION;
      Fri, 11 Jul 2003 21:01:54 -0700 (PDT)
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game. Are you hungry yet?

Joe.
"""

RFC8463_ANSWERS = {
    b"brisbane._domainkey.football.example.com": found(
        b"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
    ),
    b"test._domainkey.football.example.com": found(
        b"v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWR"
        b"iGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutAC"
        b"DfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3"
        b"Ip3G+2kryOTIKT+l/K4w3QIDAQAB"
    ),
}
RFC8463_MESSAGE = b"""\
DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=test; t=1528637909; h=from : to : subject :
 date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3
 DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz
 dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game.  Are you hungry yet?

Joe.

"""


def test_rfc6376_appendix_a() -> None:
    """The signed message of RFC 6376 appendix A.2 verifies with the key of appendix C."""
    (verdict,) = verify(RFC6376_MESSAGE, {b"brisbane._domainkey.example.com": found(RFC6376_KEY)})

    assert ("pass", "", "") == (verdict.result, verdict.reason, verdict.condition)
    assert ("example.com", "brisbane", "rsa-sha256") == (verdict.domain, verdict.selector, verdict.algorithm)
    assert ("joe@football.example.com", 1024) == (verdict.identity, verdict.key_bits)


def test_rfc8463_appendix_a() -> None:
    """Both signatures of RFC 8463 appendix A.3 verify, the Ed25519 one and the RSA one."""
    verdicts = verify(RFC8463_MESSAGE, RFC8463_ANSWERS)

    assert [("pass", "ed25519-sha256"), ("pass", "rsa-sha256")] == [(v.result, v.algorithm) for v in verdicts]


@pytest.mark.parametrize(
    ("answer", "result", "condition", "reason"),
    [
        (found(b"v=DKIM1; p="), "permerror", "bad", "key revoked"),
        (TxtAnswer("absent", reason="NXDOMAIN"), "permerror", "bad", "no key for signature"),
        (TxtAnswer("failed", reason="SERVFAIL"), "temperror", "dns", "key unavailable: SERVFAIL"),
    ],
)
def test_rfc6376_key_lookup_outcomes(answer: TxtAnswer, result: str, condition: str, reason: str) -> None:
    """RFC 6376 section 6.1.2: steps 2, 3 and 7."""
    (verdict,) = verify(RFC6376_MESSAGE, {b"brisbane._domainkey.example.com": answer})

    assert (result, condition, reason) == (verdict.result, verdict.condition, verdict.reason)


def test_the_rfc_8301_floor_stands_above_the_configured_minimum() -> None:
    """A minimum above 1024 is `policy`: local; a key below 1024 would be permerror."""
    (verdict,) = verify(
        RFC6376_MESSAGE,
        {b"brisbane._domainkey.example.com": found(RFC6376_KEY)},
        limits=verifier.Limits(min_rsa_bits=2048),
    )

    assert ("policy", "bad") == (verdict.result, verdict.condition)
    assert "min-bits 2048" in verdict.reason
