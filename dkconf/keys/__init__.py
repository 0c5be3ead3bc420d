"""Key pairs on disk and the life of a selector.

A private half lies on the host, `KEYDIR/DOMAIN/SELECTOR.private`; its public half beside the inventory,
`keys/DOMAIN/SELECTOR.pub.pem`. Nothing here prints, logs or returns a private key.
"""

from dkconf.keys.public import KeyFileError, PublicHalf, PublicHalves, read_public_halves

__all__ = ["KeyFileError", "PublicHalf", "PublicHalves", "read_public_halves"]
