"""DKIM: RFC 6376 with its updates 8301 (algorithms and key sizes) and 8463 (Ed25519)."""
