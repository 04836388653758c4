#!/usr/bin/env bash
# Sets up what `make` needs and is still missing: a virtual environment with pinned packages, a Docker
# engine that answers, the lab's images. Progress goes to stderr.
#
#   tools/setup.sh venv run|dev    the virtual environment .venv, for running or for developing
#   tools/setup.sh lab             the engine and the images
#   tools/setup.sh test-tools      tshark, a Chromium, the docker command, a C compiler
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*" >&2; }
have() { PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1; }

# Installs Debian packages as root; for other users prints the command to run.
install() {
    if ! have apt-get; then
        say "missing: $* (Debian's names). This is neither Debian nor Ubuntu: please install them yourself."
        exit 3
    fi
    if [ "$(id -u)" -ne 0 ]; then
        say "missing: $*. Please run: sudo apt-get install $*"
        exit 3
    fi
    say "installing Debian packages: $*"
    apt-get update -qq >&2 || say "apt-get update failed, going on with the lists that are there"
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null </dev/null
}

# Under sudo, the files written here belong to the caller.
give_back() {
    if [ "$(id -u)" -eq 0 ] && [ -n "${SUDO_UID:-}" ] && [ "$(stat -c %u .)" = "$SUDO_UID" ]; then
        find . -xdev -uid 0 -exec chown -h "$SUDO_UID:${SUDO_GID:-$SUDO_UID}" {} +
    fi
}
trap give_back EXIT

# Finds the first Python that is new enough. A pyenv shim may exist without a Python, so each is tried.
find_python() {
    local candidate
    for candidate in python3 python3.11 python3.12 python3.13 python3.14 /usr/bin/python3; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    return 1
}

venv() {
    local python
    if ! .venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
        python=$(find_python) || { install python3 python3-venv; python=$(find_python); } || {
            say "the lab needs Python 3.11 or newer, and there is none"
            exit 3
        }
        say "making the virtual environment .venv with $("$python" --version)"
        rm -rf .venv
        # Without python3-venv, Debian's python3 creates half a virtual environment, then fails.
        if ! "$python" -m venv .venv >/dev/null 2>&1; then
            rm -rf .venv
            "$python" -c 'import ensurepip' >/dev/null 2>&1 || install python3-venv
            "$python" -m venv .venv >&2
        fi
    fi
    say "installing the Python packages of requirements/$1.txt"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -r "requirements/$1.txt" >&2
    # Installs the command `lab` and the pytest plugin from this folder, again whenever pyproject.toml changes.
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable . >&2
}

lab() {
    local log
    log=$(mktemp)
    # An engine that answers is used as it is; otherwise the lab's own is started if dockerd is installed.
    if ! .venv/bin/python -m lab engine up >/dev/null 2>"$log"; then
        local missing=()
        have dockerd || missing+=(docker.io)
        have iptables || missing+=(iptables)
        if [ ${#missing[@]} -eq 0 ] || [ -n "${DOCKER_HOST:-}" ]; then
            cat "$log" >&2
            rm -f "$log"
            exit 3
        fi
        say "no Docker engine answers, and it cannot be started without ${missing[*]}"
        install "${missing[@]}"
        .venv/bin/python -m lab engine up >&2
    else
        cat "$log" >&2
    fi
    if ! .venv/bin/python -m lab images >/dev/null 2>"$log"; then
        if have mmdebstrap; then
            cat "$log" >&2
            rm -f "$log"
            exit 3
        fi
        say "no registry gives the base image; mmdebstrap will build it"
        install mmdebstrap debian-archive-keyring
        .venv/bin/python -m lab images >/dev/null
    else
        cat "$log" >&2
    fi
    rm -f "$log"
}

# Installs the tools with which tests compare the lab, or view its reports.
test_tools() {
    local missing=()
    have tshark || missing+=(tshark)
    have chromium || have chromium-browser || have google-chrome || missing+=(chromium)
    have docker || missing+=(docker.io)
    have ip || missing+=(iproute2)
    have gcc || missing+=(gcc libc6-dev)
    [ ${#missing[@]} -eq 0 ] || install "${missing[@]}"
}

case "${1:-}" in
    venv) venv "${2:?run or dev}" ;;
    lab) lab ;;
    test-tools) test_tools ;;
    *) say "usage: tools/setup.sh venv run|dev, or: tools/setup.sh lab|test-tools"; exit 2 ;;
esac
