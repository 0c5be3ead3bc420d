"""The few limits that signing and verifying share."""

from __future__ import annotations

MAX_HEADER_NAMES = 1000
"""Names in one h= list; the filter takes no more than 1000 fields either. rspamd tests a list this long as
hostile."""
MAX_SIGNATURES = 10
"""Signatures evaluated per message and scheme; dkim-milter stops at 10, OpenDKIM at 3, Mail::DKIM at 50."""
MAX_SIGNED_OCTETS = 128 * 1024
"""Octets of header that the signatures of one scheme cover together, from the second one on. Of the largest header that
sendmail takes by default (32 KiB) four signatures may cover all, of an average one (4 KiB) as many as are looked at."""
MAX_KEY_RECORD_OCTETS = 4096
"""A TXT record longer than this is no key record: an RSA key of 8192 bits takes 1440 octets."""
MAX_KEY_RECORDS = 8
"""TXT records of one name that are looked at."""
MAX_KEYS_TRIED = 2
"""Keys of one name that a signature is checked with, if several would do: the old one and the new one."""
MAX_RSA_BITS = 8192
"""Longest RSA modulus that is calculated with; RFC 8301 asks for 4096, rspamd stops at 8192."""
MAX_RSA_EXPONENT_BITS = 64
"""Longest public exponent; OpenSSL has the same limit for moduli over 3072 bits."""
CACHED_RECORDS = 512
"""Parsed key records and public keys kept per process and scheme: 1.7 MB of usual keys, as measured. What a record
parses to depends on its octets alone, so no TTL is needed."""
