"""The only room that knows `cryptography`: private keys that sign, public keys that verify.

Import `dkconf.crypto.keys` where keys are used; this module itself is empty, so that the record formats and
the command line start without loading a cryptographic library.
"""
