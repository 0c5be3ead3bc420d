"""dkconf/filter/args.py and actions.py: dk-filter's command line, its messages and exit statuses."""

import pytest

from dkconf.filter import actions
from dkconf.filter.args import CommandLineError, Invocation, parse
from dkconf.filter.config import Canonicalization, Conditions, KeyEntry, Settings, dumps

FILES = {
    "/etc/mail/domains": b"# ours\nExample.org\n\nexample.net # too\n",
    "/etc/mail/internal": b"192.0.2.0/24\n.example.org\n",
    "/etc/mail/peers": b"127.0.0.1\n::1\n",
    "/etc/mail/bad": b"10.0.0.0/99\nok.example.org\na b\n",
    "/etc/mail/keys": b"*@example.org:example.org:/k/s1\n*:*:/k/default\n",
    "/etc/mail/one": b"joe*@Example.ORG:example.org:/k/s1\nexample.com:example.com:/k/s1\n",
    "/etc/mail/nets": b"127.0.0.0/8\nIPv6:::1\n",
    "/etc/mail/names": b"localhost\n192.0.2.0/24\n",
    "/etc/mail/badkeys": b"*@example.org\n*:a b:/k/x\n",
    "/etc/dkconf/filter.toml": dumps(Settings(socket="inet:8891@localhost")).encode(),
    "/etc/dkconf/bad.toml": b"socket = 3\nuser = 4\n",
    "/etc/dkconf/latin.toml": b"# \xe4\n",
}


def read(path: str) -> bytes:
    """A file of the table above."""
    if path not in FILES:
        raise FileNotFoundError(2, "No such file or directory", path)
    return FILES[path]


def run(line: str) -> Invocation:
    """`line` parsed as the shell would split it."""
    return parse(line.split(), read, "dk-filter")


def fails(line: str) -> tuple[int, str]:
    """The exit status and the text for standard error."""
    with pytest.raises(CommandLineError) as caught:
        run(line)
    return caught.value.exit_status, str(caught.value)


def test_the_whole_command_line() -> None:
    """Every option of the man page, with its meaning."""
    invocation = run(
        "-p inet:18892@localhost -b sv -d example.org,Example.NET -s key.pem -S sel -c nofws -H -h -D -q -f"
        " -l -A -C bad=a,dns=a,int=t,no=a,miss=a -P /run/pid -u user -T 7"
        " -m MSA,MTA -M {auth_type},daemon_port=587"
        " -o Received,X-Spam -i /etc/mail/peers -I /etc/mail/internal"
        " -a /etc/mail/peers -R -U /pop.db"
        " --records /tmp/records"
    )

    assert invocation.settings == Settings(
        socket="inet:18892@localhost",
        user="user",
        pid_file="/run/pid",
        log="syslog",
        canonicalization=Canonicalization("nofws"),
        omit_headers=("Received", "X-Spam"),
        identify=True,
        keys=(
            KeyEntry("example.org", "sel", "key.pem", ("domainkeys",), subdomains=True),
            KeyEntry("Example.NET", "sel", "key.pem", ("domainkeys",), subdomains=True),
        ),
        internal_hosts=("127.0.0.1", "::1"),
        external_ignore=("192.0.2.0/24", ".example.org"),
        peers=("127.0.0.1", "::1"),
        daemons=("MSA", "MTA"),
        macros={"auth_type": "", "daemon_port": "587"},
        dns_timeout_seconds=7,
        records_file="/tmp/records",
        domainkeys_conditions=Conditions("quarantine", "accept", "tempfail", "accept", "accept", "tempfail"),
        dkim_conditions=Conditions("accept", "accept", "tempfail", "accept", None, "tempfail"),
    )
    assert invocation.foreground
    assert invocation.notes == (
        "-U (POP before SMTP) is accepted, but without effect",
        "-R (failure reports by mail) is accepted, but without effect",
    )


def test_defaults_are_dk_filters() -> None:
    """With -p alone it signs nothing, verifies, and answers as the manual says."""
    settings = run("-p local:/s").settings

    assert settings is not None
    assert settings.keys == ()
    assert settings.roles == ("sign", "verify")
    assert settings.canonicalization.domainkeys == "simple"
    assert settings.internal_hosts == ("127.0.0.1",)
    assert settings.dns_timeout_seconds == 5
    assert settings.log == "off"
    assert settings.domainkeys_conditions == Conditions()


@pytest.mark.parametrize("bad, expected", [("a", "quarantine"), ("r", "reject"), ("t", "tempfail")])
def test_minus_q_is_about_domainkeys(bad: str, expected: str) -> None:
    """It quarantines what would be accepted; a DKIM verdict has no say with these options."""
    settings = run(f"-p local:/s -q -C bad={bad}").settings

    assert settings is not None
    assert not settings.quarantine
    assert settings.domainkeys_conditions.bad == expected
    assert settings.dkim_conditions.bad == "accept"


@pytest.mark.parametrize("seconds, lookup, message", [(5, 5, 8), (30, 30, 30), (900, 900, 280), (0, 0, 8)])
def test_a_message_waits_as_long_as_a_lookup_may(seconds: int, lookup: int, message: int) -> None:
    """-T beyond a message's own limit raises that, but never to what sendmail waits for at its end."""
    settings = run(f"-p local:/s -T {seconds}").settings

    assert settings is not None
    assert (settings.dns_timeout_seconds, settings.dns_deadline_seconds) == (lookup, message)


@pytest.mark.parametrize("options", ["-a /k", "-I /k", "-i /k", "-d /k", "-k -s /k"])
def test_a_private_key_in_place_of_a_list_is_not_shown(options: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line of a list is quoted where it is wrong; a private key never is."""
    monkeypatch.setitem(FILES, "/k", b"# ours\n-----BEGIN RSA PRIVATE KEY-----\nMIIC:Xg+:AB=\n")

    status, text = fails(f"-p local:/s {options}")
    assert status == 78
    assert text == f"dk-filter: {options.split()[-2]}: /k: holds a private key where a list belongs"


@pytest.mark.parametrize("spec", ["inet:9891", "inet:9891@0.0.0.0", "inet6:9891@::", "inet:9891@mx.example.org"])
def test_metrics_are_for_this_host(spec: str) -> None:
    """Who sends, and how much, is nobody's business outside."""
    status, text = fails(f"-p local:/s --metrics {spec}")

    assert (status, text) == (
        78,
        f'dk-filter: --metrics: "{spec}" can be reached from outside; write e.g. inet:9891@127.0.0.1',
    )
    assert run("-p local:/s --metrics inet6:9891@[::1]").settings


def test_a_key_without_a_domain_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    """It starts and only verifies, as dk-filter does."""
    monkeypatch.setitem(FILES, "/k/one", b"")
    invocation = run("-p inet:1 -s /k/one")

    assert invocation.settings is not None
    assert invocation.settings.keys == ()
    assert invocation.notes == ("-s without -d: there is no domain to sign for",)
    assert run("-p inet:1 -b v -s /k/one").notes == ()


def test_options_cluster_and_join() -> None:
    """`-lH -dexample.org` is what getopt makes of it; the selector's default is main."""
    settings = run("-lHfpinet:1 -dexample.org -skey").settings

    assert settings is not None
    assert settings.keys == (KeyEntry("example.org", "main", "key", ("domainkeys",)),)


def test_domains_from_a_file() -> None:
    """-d /FILE has one domain per line and # comments."""
    settings = run("-p inet:1 -d /etc/mail/domains -s k").settings

    assert settings is not None
    assert [entry.domain for entry in settings.keys] == ["Example.org", "example.net"]


def test_key_list() -> None:
    """-k makes -s a key list; the selector is the key file's name."""
    settings = run("-p inet:1 -k -s /etc/mail/keys").settings

    assert settings is not None
    assert settings.keys == (
        KeyEntry("example.org", "s1", "/k/s1", ("domainkeys",), senders=("*@example.org",)),
        KeyEntry("*", "default", "/k/default", ("domainkeys",), senders=("*",)),
    )


def test_a_domain_without_a_line_in_the_key_list_is_noted() -> None:
    """dk-filter deferred its mail for ever (no key selected for signing); here it leaves unsigned, and is noted."""
    decides = "-d with -k: the key list decides what is signed"

    assert run("-p inet:1 -k -s /etc/mail/keys -d example.org").notes == (decides,)
    assert run("-p inet:1 -k -s /etc/mail/keys -d example.net").notes == (decides,)  # by *:*
    assert run("-p inet:1 -k -s /etc/mail/one -d example.org,*.example.net,sub.example.org,example.com").notes == (
        decides,
        "/etc/mail/one has no line for sub.example.org, which is in -d: it is not signed",
        "/etc/mail/one has no line for example.com, which is in -d: it is not signed",
    )


def test_an_internal_list_without_loopback_is_noted() -> None:
    """A file replaces the default, so 127.0.0.1 may be lost by it."""
    assert run("-p inet:1 -i /etc/mail/internal").notes == (
        "/etc/mail/internal does not list 127.0.0.1 and ::1: mail from there is verified",
    )
    assert run("-p inet:1 -i /etc/mail/nets").notes == ()
    assert run("-p inet:1 -i /etc/mail/names").notes == ()


@pytest.mark.parametrize(
    "line",
    [
        "-p inet:1 operand",
        "-p inet:1 -z",
        "-p",
        "-p inet:1 -b x",
        "-p inet:1 -c relaxed",
        "-p inet:1 -T soon",
        "--config /etc/dkconf/filter.toml -d example.org",
        "-K keys",
    ],
)
def test_usage_is_64(line: str) -> None:
    """What is no command line at all gets one line and 64: the help would push that line off the screen."""
    status, text = fails(line)

    assert status == 64
    assert text.endswith("; see dk-filter --help")
    assert "\n" not in text


def test_question_mark_is_the_help() -> None:
    """dk-filter has no --help; its way to ask is any wrong option."""
    assert fails("-?") == (64, run("--help").help_text)


def test_all_faults_of_a_command_line_at_once() -> None:
    """Each names its option, and the status is that of the first."""
    status, text = fails(
        "-p inet:99999@localhost -C bad=x -T x -d a..b -s /none -a /none --workers 99999999999 --metrics 9108"
    )

    assert status == 78
    assert [line.partition(": ")[2].split(" ")[0].rstrip(":") for line in text.splitlines()] == [
        "-C", "-T", "-a", "-d", "-p", "--workers", "--metrics",
    ]  # fmt: skip


@pytest.mark.parametrize("spec, meant", [("8891", "inet:8891@localhost"), ("8891@mx", "inet:8891@mx")])
def test_a_port_without_its_kind_is_no_path(spec: str, meant: str) -> None:
    """By the rules it would be a file of that name, in whatever directory the filter was started."""
    assert fails(f"-p {spec}") == (78, f'dk-filter: -p: "{spec}" is a port without its kind; write {meant}')


def test_an_empty_argument_is_usage() -> None:
    """dk-filter answers an empty option argument with its usage."""
    with pytest.raises(CommandLineError) as caught:
        parse(["-p", "inet:1", "-d", ""], read)

    assert caught.value.exit_status == 64
    assert str(caught.value) == "dkconf-filter: -d needs a value; see dkconf-filter --help"


@pytest.mark.parametrize(
    "line, message",
    [
        ("-d example.org", "dk-filter: milter socket must be specified; write -p inet:8891@localhost, or see --help"),
        ("", "dk-filter: milter socket must be specified; write -p inet:8891@localhost, or see --help"),
        (
            "-p nonsense:1",
            'dk-filter: -p: "nonsense:1": write inet:PORT@HOST, inet6:PORT@HOST, local:PATH or unix:PATH',
        ),
        ("-p inet:1 -d example.org", "dk-filter: -d needs a private key; name it with -s"),
        ("-p inet:1 -d /none -s k", "dk-filter: -d: /none: No such file or directory"),
        ("-p inet:1 -d a..b -s k", 'dk-filter: -d: "a..b": write a domain, or a pattern with "*"'),
        ("-p inet:1 -d a.b -s k -S a/b", 'dk-filter: -S: "a/b": write DNS labels: letters, digits and "-"'),
        ("-p inet:1 -s /none", "dk-filter: -s: /none: No such file or directory"),
        ("-p inet:1 -b v -s /none", "dk-filter: -s: /none: No such file or directory"),
        ("-p inet:1 -o From", "dk-filter: -o: From must be signed; leave it out of this list"),
        ("-p inet:1 -k", "dk-filter: -k needs the key list; name it with -s"),
        ("-p inet:1 --workers many", 'dk-filter: --workers: "many"; write a whole number from 0 to 1024'),
        ("--config /none", "dk-filter: --config: /none: No such file or directory"),
        ("--config /etc/dkconf/latin.toml", "dk-filter: --config: /etc/dkconf/latin.toml: not UTF-8 at octet 2"),
        (
            "--config /etc/dkconf/bad.toml",
            "dk-filter: /etc/dkconf/bad.toml: socket: 3 is no string; put it in quotes\n"
            "dk-filter: /etc/dkconf/bad.toml: user: 4 is no string; put it in quotes",
        ),
        (
            "-p inet:1 -i /etc/mail/bad",
            'dk-filter: /etc/mail/bad:1: "10.0.0.0/99": write an address, a network like 192.0.2.0/24, a host'
            ' name or .domain\ndk-filter: /etc/mail/bad:3: "a b": write an address, a network like'
            " 192.0.2.0/24, a host name or .domain",
        ),
        (
            "-p inet:1 -k -s /etc/mail/badkeys",
            "dk-filter: /etc/mail/badkeys:1: write sender-pattern:signing-domain:keypath\n"
            'dk-filter: /etc/mail/badkeys:2: "a b": write a domain, or a pattern with "*"',
        ),
    ],
)
def test_bad_settings_are_78(line: str, message: str) -> None:
    """What is a command line but cannot be done gets one line per fault and 78."""
    assert fails(line) == (78, message)


@pytest.mark.parametrize(
    "text, message",
    [
        ("bad=a,dns=a,int=t,no=a,miss-a", "syntax error in configuration string"),
        ("bad", "syntax error in configuration string"),
        ("bad=x", "invalid configuration value `x'"),
        ("bad=", "invalid configuration value `'"),
        ("nope=x", "invalid configuration value `x'"),
        ("nope=a", "invalid configuration parameter `nope'"),
        ("=a", "invalid configuration parameter `'"),
        ("bad=a, dns=t", "invalid configuration parameter ` dns'"),
        ("bad=a=b", "invalid configuration value `a=b'"),
        ("bad=q", "invalid configuration value `q'"),
    ],
)
def test_action_string_faults(text: str, message: str) -> None:
    """Each fault of -C is fatal, with dk-filter's own words, and the filter does not start."""
    with pytest.raises(CommandLineError) as caught:
        parse(["-p", "inet:1", "-C", text], read, "dk-filter")

    assert caught.value.exit_status == 78
    form = "write result=action,... with results bad dns int no miss sec def and actions a d r t"
    assert str(caught.value) == f"dk-filter: -C {text}: {message}; {form}"


@pytest.mark.parametrize(
    "text, table",
    [
        ("", Conditions()),
        (",,bad=r,", Conditions(bad="reject")),
        ("BadSignature=REJECT,NOSIGNATURE=d", Conditions(bad="reject", no="discard")),
        ("def=r", Conditions("reject", "reject", "reject", "reject", "reject", "reject")),
        (
            "bad=d,default=accept,sec=t",
            Conditions("accept", "accept", "accept", "accept", "accept", "tempfail"),
        ),
        ("bad=a,bad=t,bad=r", Conditions(bad="reject")),
        (
            "signaturemissing=t,dnserror=a,internal=a,security=a",
            Conditions("accept", "accept", "accept", "accept", "tempfail", "accept"),
        ),
    ],
)
def test_action_strings(text: str, table: Conditions) -> None:
    """Left to right, without regard to case, the last setting wins."""
    assert actions.parse(text) == table


def test_settings_file_with_overrides() -> None:
    """--config reads the file that the manager renders; socket, pid file, user and records may differ."""
    invocation = run("--config /etc/dkconf/filter.toml -n -f -p inet:7 -P /pid -u me --records r --observe --workers 4")

    assert invocation.check_only
    assert invocation.config_path == "/etc/dkconf/filter.toml"
    assert invocation.settings == Settings(
        socket="inet:7", pid_file="/pid", user="me", records_file="r", observe=True, workers=4
    )


def test_version_and_help() -> None:
    """-V prints the version whatever else is there; --help is not -h."""
    assert run("-V").show_version
    assert run("-l --version -p x").show_version
    assert run("--help").help_text.startswith("usage: dk-filter")
