"""Keys and messages for the tests of signing. The keys are public by now: never sign real mail with them."""

from __future__ import annotations

KEY_PEM = b"""\
-----BEGIN PRIVATE KEY-----
MIICdwIBADANBgkqhkiG9w0BAQEFAASCAmEwggJdAgEAAoGBALvnDbtPaysbCA1B
FB/VUFqJo4kb+4nfgGQwf6829zRg3022IaGM5k78e+j7Y+TIb/TagDC2oo8CwS6q
AUw+GBeFu7C7sBtURLEn4FVNC+ICm2bDZ25js3n2J5Jn88GnMU0DEDxK7DqgGtVV
iI+t5BxYf1wEF/S58tIROEHtHw7RAgMBAAECgYEAk+owzxCXplkjH3vpYZ3EIWFU
EOysOD5ujW/4M2+rbdoMLtp+4vNNoUP0LtUmL8TxDOisHKzIjpd2h0tgtinzP8Tr
Ga3ajCOM5fxPnbMX89xKAI8bMKsWvPsE2W+ezd7NTzMFBp98v20YxZvRXQ81v6v5
2z0/Aes3M3vgOU6VUaECQQD5U908serYQM7lI5SjOta2CLM5hyu3g5mKM2cHsohP
z9R5QPmZ5jjspGKHxmoxBikDljRSTKs62OvzUQTcFwKtAkEAwO5eS0aWhEl3VEQK
wWOGCv5HFEXoRRNNz0cvUEuOzWVZ7gj5Aprtfubtmvr1lG72Js3oEtf29ss5hCLR
nGqlNQJASTI9uRvifipIkyym7mTPtBFJzJHKW83evZvpm3DmY8f38MEKhgv4mkCI
TKQLeOj+EXd/VMn9WwFkA8K9Un/O4QJAfwq3ttPVe2ixFiD0ACJb+tMz1OqvpwSu
IQab5kDK2P+bNz5bUlbYes7vuTT2D3b9ydGetwHVEvABgLw40Mn83QJBANUwRXtZ
lr1/PBgg6B9HZMjNvrOp5gQsFyxy3XV1GM+TPpIplzb5aPCORljUYsCKphEeaXqt
+Z6QuBlsgxgQWzY=
-----END PRIVATE KEY-----
"""
"""RSA, 1024 bits: quick, and just long enough for DKIM."""

OTHER_KEY_PEM = b"""\
-----BEGIN PRIVATE KEY-----
MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQDC6jPJBRlZd/uy
+O6ZcfsM3GB9onvrCVKlLVus5JSwrxYyKs5ZJEeS2oWREP02Nt6keEMg4uOXbn/Y
S/UN6IzmeZqm+64AKTyRk0j6yB63K/xZ0CVoUfB2JnnrhKxvJiG4sfPh4PK1cur3
mZNMqY0sPKdtJ+Oc3ZWpB3RrANITQonujo1+CsylI9IGp4GtehjDpUewnYSS4Afr
LGueFvYNt+KAMSiGjHYbc9DWPtEP/eTsbt3WMpzn224jQFJKVTJrvrWTzO2ny6lz
2w/65IJM7mNyAblzEXZH7iCoOTbZiuLEQa5dcoOpAfFsBP2FDxokiVOUTXUITwXc
d5ICKj5BAgMBAAECggEABbrJu+qE9L7UrM2pgeQ6W4Xs5jSNDPswrT9Ylwv/HPSA
pAfjGfa5jeUTkRCdSOczA0Wvv3s78nsikfKlqPuBjNLdS3RRiJqtt5/LQOf6Eytd
VyyJtPfXqDl4UwaK5ReLXTkJ8MVijRfsNUwT6uh/CGJeD5ThGX7gA+B+uRiElGFO
op1uAHbYlB+f+BzkeHDbjzlr4Y4Aiuukuz0uY3tyKSQVkt726/la32gHiZojyhtL
GAl8IZ8v2uAZbEjACzHHrElqasUgNaIRkhn8JSZPJ1hiNuEpbq3NTb0zqlXKyxUS
hxQC5nX39bBdyir7XS27EgZSQePMIDY2J03gfzUGuQKBgQD5zn/vvLFq4RBIV35j
Wa2AZPqWLYDMdWE3ZjvBwpQCbhcB0YmZ4miEtac7SYjYYuouUCZ8txE7A8fMpv0t
RS1apyJb6DotwUKiWbXQGt0WMueFd3O2A65HQTluxvoNYHqdKssdKrThe2E94/ZP
6E+XR+OGrqmeBgL2aC75nn+t5QKBgQDHv08unMKNsB3j8msEgO+cJWWDeKFB7PfZ
5zgSSDtw/NBJ3Y6rSSUXxCjQET0P1N1WW+PlqJ9b5yOahkWgNeF/qEt2rjmnamKY
60vzyAyygmbeE56mGwqvhODCJzcsA63KZYAjPaeV3Zar4tjbK4TPXmw5b0zMk49z
P2RT8XMpLQKBgDx+zK7DFHgcnvPV9G6c5g6E5cZ+qIVbG7rt0CThOTTJclrnYppY
oRUaZLBP44r7kVi74kYrk0mmZbli60cOTKh6dzCosYYpGjj03rnR956Ln1PMFMKM
a6Un33+7Qg0BQ1BSb7PVhs5gMbFqRlkdmkC5kRkprTvumsMPgejDgIodAoGAJ+cL
xmACbZOVJQg0YL3xH9xIny7l5+mSybDq/pv3Y+bdJSRhb8443rqM/KO08wiu/qV0
rVg2HYHbFu9j0VFyLrJMAPVlBxC1iZ7XmWeJQc/TBOIee0hDpjSBQcfbuasyeJA2
PNQAOmv9wXCbqYzUByjxrbeSO/vuWDN9s1c0jjECgYEAvg1gDAOwSDKBNCRARgDS
WZl6YAUzkh5mMHeaVk+qZKQMpR0LzDRYdqiC1pIbL8jps4U6wXmTiWJDgb5/8R5E
WzOSLKBtr/KKASjbmecUeGxEpT4aP49sxmdmsolT60wWzmvFZoJLFgMAfiMpP2fv
dq7u0BRKurXvBO59dvpt234=
-----END PRIVATE KEY-----
"""
"""RSA, 2048 bits."""

ED25519_PEM = b"""\
-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIEHjFZB9yFCRlAQMQyMg+i6Dt+Ubn5HNmDJrUQ5W2TWo
-----END PRIVATE KEY-----
"""

MESSAGES: dict[str, bytes] = {
    "plain": (
        b"Received: by mx\r\nFrom: Joe <joe@example.com>\r\nTo: suzie@example.net\r\nSubject: dinner\r\n"
        b"Date: Fri, 11 Jul 2003 21:00:37 -0700\r\nMessage-ID: <1@example.com>\r\n\r\nHi.\r\n\r\nJoe.\r\n"
    ),
    "folded header": (
        b"From: Joe <joe@example.com>\r\nTo: a@example.net,\r\n\tb@example.net,\r\n   c@example.net\r\n"
        b"Subject:  many   blanks \t here \r\n\r\nHi.\r\n"
    ),
    "8-bit header and body": (
        "From: José <joe@example.com>\r\nSubject: Grüße\r\n\r\nSchöne Grüße\r\n".encode() + b"\xa0Latin-1: \xfc\xff\r\n"
    ),
    "no blank behind the colon": b"From:joe@example.com\r\nSubject:x\r\nX-Empty:\r\n\r\nHi.\r\n",
    "name repeated": (
        b"Received: one\r\nReceived: two\r\nFrom: joe@example.com\r\nReceived: three\r\nSubject: a\r\n"
        b"Subject: b\r\n\r\nHi.\r\n"
    ),
    "empty body": b"From: joe@example.com\r\nSubject: x\r\n\r\n",
    "empty lines only": b"From: joe@example.com\r\nSubject: x\r\n\r\n\r\n\r\n\r\n",
    "blank lines only": b"From: joe@example.com\r\nSubject: x\r\n\r\n  \r\n\t\r\n \r\n",
    "trailing empty lines": b"From: joe@example.com\r\nSubject: x\r\n\r\nHi.\r\n\r\n\r\n",
    "trailing blanks": b"From: joe@example.com\r\nSubject: x\r\n\r\nHi. \t\r\n\ta  b\t\tc \r\n \r\n",
    "leading empty lines": b"From: joe@example.com\r\nSubject: x\r\n\r\n\r\n\r\nHi.\r\n",
    "dots": b"From: joe@example.com\r\nSubject: x\r\n\r\n.\r\n..\r\n. \r\n",
}
"""By what is peculiar about them; all end in CRLF."""
