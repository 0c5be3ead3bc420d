"""Key pairs on disk and the life of a selector.

A private half lies on the host, `KEYDIR/DOMAIN/SELECTOR.private`; its public half beside the inventory,
`keys/DOMAIN/SELECTOR.pub.pem`. Nothing here prints, logs or returns a private key.
"""

from dkconf.keys.faults import file_faults, parent_faults
from dkconf.keys.listing import KeyRow, list_keys, private_half
from dkconf.keys.pairs import GeneratedKey, KeyRequest, generate, generate_many
from dkconf.keys.public import KeyFileError, PublicHalf, PublicHalves, read_public_halves

__all__ = [
    "GeneratedKey",
    "KeyFileError",
    "KeyRequest",
    "KeyRow",
    "PublicHalf",
    "PublicHalves",
    "file_faults",
    "generate",
    "generate_many",
    "list_keys",
    "parent_faults",
    "private_half",
    "read_public_halves",
]
