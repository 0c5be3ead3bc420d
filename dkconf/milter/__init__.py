"""The milter protocol, versions 2 to 6, without sockets: octets in, commands out, and replies as octets."""
