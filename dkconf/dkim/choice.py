"""Which header fields are signed, and which of them once more than they occur, unless the settings say otherwise.

The one table of each: the signer, the filter's settings and the manager, which writes them, all read it here.
"""

DEFAULT_SIGN_HEADERS = (
    "From",
    "To",
    "Cc",
    "Subject",
    "Date",
    "Message-ID",
    "Reply-To",
    "In-Reply-To",
    "References",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "List-Id",
    "List-Help",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "List-Subscribe",
    "List-Post",
    "List-Owner",
    "List-Archive",
)
"""RFC 6376 section 5.4.1, and the MIME fields, without which a reader can be shown something else."""
DEFAULT_OVERSIGN = (
    "From",
    "To",
    "Cc",
    "Subject",
    "Date",
    "Message-ID",
    "Reply-To",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
)
"""Fields that occur once at most (RFC 5322 section 3.6), and that a reader is shown or acts on: named once more where
they are present, so that nobody can add another."""
