"""Mail as octets: header fields, addresses, tag-lists, Authentication-Results, and the answers of the DNS.

Nothing here knows a signature scheme, a socket or a clock.
"""
