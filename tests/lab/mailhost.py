"""The lab's /etc/mail: Debian's stock sendmail.mc, adapted no further than a host without a network needs."""

from __future__ import annotations

STOCK_MC = "/usr/share/sendmail/cf/debian/sendmail.mc"
STOCK_SUBMIT_MC = "/usr/share/sendmail/cf/debian/submit.mc"
SINK_PORT = 2525
ANY_LOAD = 100_000
"""A load average that no machine reaches; 0 would mean no delay, but with the other two settings every load."""

ADAPTED = f"""\
dnl # the lab: everything leaves for the sink, nothing asks a DNS that is not there
define(`SMART_HOST', `relay:[127.0.0.1]')dnl
define(`RELAY_MAILER_ARGS', `TCP $h {SINK_PORT}')dnl
define(`confCONNECTION_RATE_THROTTLE', `0')dnl
define(`confTO_IDENT', `0s')dnl
dnl # a busy machine is no finding: sendmail listens and delivers whatever the load
define(`confREFUSE_LA', `{ANY_LOAD}')dnl
define(`confQUEUE_LA', `{ANY_LOAD}')dnl
define(`confDELAY_LA', `{ANY_LOAD}')dnl
FEATURE(`nocanonify')dnl
FEATURE(`accept_unresolvable_domains')dnl
"""
ACCESS = """\
Connect:127\tRELAY
GreetPause:127\t0
ClientRate:127\t0
ClientConn:127\t0
GreetPause:198.51.100\t0
ClientRate:198.51.100\t0
ClientConn:198.51.100\t0
To:example.test\tRELAY
"""
# Of localhost, which a client on standard input is too (it has no address).
GREET_PAUSE = "GreetPause:localhost\t{milliseconds}\n"
LOCAL_NAMES = "localhost\nmx1.example.test\n"
ALIASES = "postmaster: root\nroot: /dev/null\n"

# Run in the lab as root; $1 is a directory with the texts above.
BUILD = r"""
set -e
cd /etc/mail
for name in local-host-names aliases access sendmail.mc; do cat "$1/$name" > "$name"; done
cat /usr/share/sendmail/cf/debian/submit.mc > submit.mc
: > trusted-users; : > m4/dialup.m4; : > m4/provider.m4
printf 'passwd\tfiles\nhosts\tfiles dns\naliases\tfiles\n' > service.switch
chown root:smmsp sendmail.mc submit.mc local-host-names trusted-users m4/*.m4
chown root:root access service.switch
chmod 0644 sendmail.mc submit.mc local-host-names trusted-users service.switch aliases
chmod 0600 access; chmod 0640 m4/*.m4
m4 sendmail.mc > sendmail.cf; m4 submit.mc > submit.cf
chown root:smmsp sendmail.cf submit.cf; chmod 0644 sendmail.cf submit.cf
makemap hash access.db < access; chown smmta:smmsp access.db; chmod 0640 access.db
sendmail -C sendmail.cf -bi -oA/etc/mail/aliases > /dev/null
chown smmta:smmsp aliases.db; chmod 0640 aliases.db
"""


def sendmail_mc(stock: str, extra: str = "") -> str:
    """Return the lab's sendmail.mc from Debian's; `extra` (m4) goes before the mailers too."""
    # Debian's postinst does the same, by update_mc; the directory exists only where it is wanted.
    stock = stock.replace("dnl undefine(`confHOST_STATUS_DIRECTORY')", "undefine(`confHOST_STATUS_DIRECTORY')")
    head, mark, tail = stock.partition("MAILER_DEFINITIONS")
    if not mark:
        raise ValueError(f"{STOCK_MC}: no MAILER_DEFINITIONS")
    return head + ADAPTED + extra + mark + tail


def settings(stock: str, extra: str = "", greet_pause_milliseconds: int = 0) -> dict[str, str]:
    """Return the texts that `BUILD` needs, by name."""
    return {
        "sendmail.mc": sendmail_mc(stock, extra),
        "local-host-names": LOCAL_NAMES,
        "aliases": ALIASES,
        "access": ACCESS + GREET_PAUSE.format(milliseconds=greet_pause_milliseconds),
    }
