"""dkconf: DomainKeys and DKIM filters under sendmail, declared, planned, applied, and always reversible."""

__version__ = "0.1.0"
