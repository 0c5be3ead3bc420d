"""DomainKeys: RFC 4870, for the mail and the filters that still speak it."""
