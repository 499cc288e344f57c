#!/usr/bin/env bash
# setup_venv.sh VENV REQUIREMENTS: a virtual environment from locked wheels, with this project in it (editable).
# The interpreter is $PYTHON, else the first of python3, python3.13 ... python3.11 that is new enough.
set -euo pipefail

venv=$1
requirements=$2
cd "$(dirname "$0")/.."

fail() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}

is_supported() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1
}

find_python() {
    local candidate
    if [ -n "${PYTHON:-}" ]; then
        command -v "$PYTHON" >/dev/null || fail "PYTHON=$PYTHON: no such program"
        is_supported "$PYTHON" || fail "PYTHON=$PYTHON is $("$PYTHON" -V 2>&1 || true); Python 3.11, 3.12 or 3.13 is needed"
        printf '%s\n' "$PYTHON"
        return
    fi
    for candidate in python3 python3.13 python3.12 python3.11; do
        if is_supported "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    fail "Python 3.11, 3.12 or 3.13 is needed; found: $(python3 -V 2>&1 || true). Name one with: make PYTHON=/path/to/python3.11 ..."
}

# Debian and Ubuntu ship Python without the part that puts pip into a new environment.
make_venv() {
    local version package
    if "$python" -c 'import ensurepip' 2>/dev/null; then
        "$python" -m venv --clear "$venv"
        return
    fi
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    package="python$version-venv"
    if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
        printf 'setup: installing %s (Debian keeps it apart from Python)\n' "$package" >&2
        apt-get update -qq </dev/null
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" </dev/null >/dev/null
        "$python" -m venv --clear "$venv"
    elif command -v virtualenv >/dev/null; then
        virtualenv --quiet --clear --python "$python" "$venv"
    elif command -v uv >/dev/null; then
        uv venv --quiet --clear --seed --python "$python" "$venv"
    else
        fail "this Python cannot make virtual environments yet. On Debian or Ubuntu: sudo apt-get install $package"
    fi
}

# An environment that was made by another supported Python is kept unless PYTHON asks for one.
if [ -x "$venv/bin/python" ] && is_supported "$venv/bin/python" && "$venv/bin/python" -m pip --version >/dev/null 2>&1 &&
    [ -z "${PYTHON:-}" ]; then
    python=$venv/bin/python
else
    python=$(find_python)
    make_venv
fi

printf 'setup: %s with %s, from %s\n' "$venv" "$("$venv/bin/python" -V)" "$requirements" >&2
pip=("$venv/bin/python" -m pip --disable-pip-version-check --quiet)
# The lock is complete: nothing is resolved again, and modules are compiled when they are first imported.
"${pip[@]}" install --require-hashes --only-binary :all: --no-deps --no-compile --requirement "$requirements"
# hatchling came with the lock, so the project itself needs no index.
"${pip[@]}" install --no-index --no-build-isolation --no-deps --editable .
