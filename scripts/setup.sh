#!/bin/sh
# Makes this checkout ready: Debian packages for the lab, and .venv with dkconf and its test tools.
#
#   scripts/setup.sh            everything; quick, and without apt, where nothing is to do
#   scripts/setup.sh --python   only .venv
#
# The machine's own mail system is never touched: nothing is installed if a package would have to go (sendmail-bin
# conflicts with every other mail transport agent), nothing is started, and what is new is not started at boot either.
# What is missing and cannot be had is said in one line, status 1.
set -eu
cd "$(dirname "$0")/.."

# What the lab, the live tests and the benchmark run. python3-venv only where no Python with venv is there.
PACKAGES="sendmail-bin sendmail-base sendmail-cf m4 opendkim opendkim-tools miltertest opendmarc libmail-dkim-perl bind9
    openssl gcc libc6-dev iproute2 util-linux mount procps passwd"
# package:service, for those that Debian would start
SERVICES="sendmail-bin:sendmail opendkim:opendkim opendmarc:opendmarc bind9:named"
POLICY=/usr/sbin/policy-rc.d
SAVED=/usr/sbin/policy-rc.d.dkconf-saved
MARK="# written by dkconf's scripts/setup.sh for the time of an installation"

fail() {
    echo "setup: $*" >&2
    exit 1
}

# Print the first Python from 3.11 on that can make a virtual environment.
find_python() {
    for candidate in python3 python3.13 python3.12 python3.11 /usr/bin/python3; do
        if "$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
}

# Print those of the packages $* that are not installed.
missing_packages() {
    present=" $(dpkg-query -W -f='${db:Status-Status}=${Package} ' "$@" 2>/dev/null || true)"
    for package in "$@"; do
        case "$present" in
            *" installed=$package "*) ;;
            *) printf '%s ' "$package" ;;
        esac
    done
}

restore_policy() {
    if grep -qsF "$MARK" "$POLICY"; then
        rm -f "$POLICY"
    fi
    if [ -e "$SAVED" ] || [ -L "$SAVED" ]; then
        mv "$SAVED" "$POLICY"
    fi
}

# Until restore_policy, no package's script may start a service.
forbid_starting() {
    restore_policy # what a run that was killed left behind
    trap restore_policy EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    if [ -e "$POLICY" ] || [ -L "$POLICY" ]; then
        mv "$POLICY" "$SAVED"
    fi
    printf '#!/bin/sh\n%s\nexit 101\n' "$MARK" > "$POLICY"
    chmod 0755 "$POLICY"
}

install_packages() {
    wanted=$*
    [ "$(id -u)" = 0 ] || fail "only root can install what is missing: $wanted"
    export DEBIAN_FRONTEND=noninteractive LC_ALL=C
    said=$(mktemp)
    if ! apt-get -s install --no-install-recommends $wanted > "$said" 2>&1; then
        # The package lists may be missing or old.
        echo "setup: fetching Debian's package lists"
        apt-get -q update > "$said" 2>&1 || fail "apt-get update failed, so these cannot be had: $wanted ($(reason))"
        apt-get -s install --no-install-recommends $wanted > "$said" 2>&1 ||
            fail "apt-get cannot install $wanted ($(reason))"
    fi
    removed=$(sed -n 's/^Remv \([^ ]*\).*/\1/p' "$said" | tr '\n' ' ')
    [ -z "$removed" ] || fail "refused: installing $wanted would remove ${removed% }; use a machine without it"
    echo "setup: installing $wanted"
    forbid_starting
    apt-get -q -y -o DPkg::Lock::Timeout=120 -o Dpkg::Options::=--force-confold \
        install --no-install-recommends $wanted > "$said" 2>&1 < /dev/null ||
        fail "apt-get could not install $wanted ($(reason))"
    for pair in $SERVICES; do
        case " $wanted " in
            *" ${pair%%:*} "*) update-rc.d "${pair#*:}" disable > /dev/null 2>&1 || true ;;
        esac
    done
    restore_policy
    trap - EXIT INT TERM HUP
    rm -f "$said"
}

# Print the packages $*, and with opendmarc the one that spares it a database's client of 100 MB, unless a machine has
# another of its kind: they exclude each other.
without_database() {
    [ $# = 0 ] || printf '%s ' "$@"
    case " $* " in
        *" opendmarc "*)
            for other in mysql pgsql sqlite3; do
                [ -n "$(missing_packages "dbconfig-$other")" ] || return 0
            done
            printf 'dbconfig-no-thanks '
            ;;
    esac
}

# Print why apt-get failed, on one line.
reason() {
    sed -n 's/^E: //p' "$said" | head -n 1
}

make_venv() {
    python=$1
    stamp="$(sha256sum < pyproject.toml) $("$python" -c 'import sys; print(sys.version, sys.prefix)')"
    if [ -x .venv/bin/dkconf ] && [ "$(cat .venv/stamp 2>/dev/null)" = "$stamp" ]; then
        return
    fi
    echo "setup: making .venv"
    if ! .venv/bin/python -c '' 2>/dev/null || [ "$(cat .venv/made-by 2>/dev/null)" != "$python" ]; then
        rm -rf .venv
        "$python" -m venv .venv || fail "$python cannot make a virtual environment in .venv"
        echo "$python" > .venv/made-by
    fi
    said=$(mktemp)
    .venv/bin/python -m pip install --disable-pip-version-check -q -e '.[test]' > "$said" 2>&1 ||
        fail "pip cannot install dkconf's dependencies ($(sed -n 's/^ERROR: //p' "$said" | head -n 1))"
    rm -f "$said"
    echo "$stamp" > .venv/stamp
}

# One set-up at a time in one checkout.
exec 9< pyproject.toml
if command -v flock > /dev/null; then flock 9; fi

python=$(find_python)
wanted=""
if [ "${1:-}" != --python ] && [ "$(uname)" = Linux ]; then
    command -v dpkg-query > /dev/null || fail "this is no Debian; install by hand what ${0##*/} names, or --python"
    # shellcheck disable=SC2086 # a list of words
    wanted=$(without_database $(missing_packages $PACKAGES))
fi
[ -n "$python" ] || wanted="$wanted python3-venv"
if [ -n "$wanted" ]; then
    command -v apt-get > /dev/null || fail "no apt-get here; install by hand: $wanted"
    # shellcheck disable=SC2086
    install_packages ${wanted% }
    python=$(find_python)
fi
[ -n "$python" ] || fail "Python 3.11 or later with venv is missing"
make_venv "$python"
