#!/usr/bin/env bash
# OpenStack Swift for the tests that need an S3 server which verifies signatures: locked wheels in .venv-swift, nothing else.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=.venv-swift
stamp=$venv/.installed
if [ -e "$stamp" ] && [ "$stamp" -nt requirements/swift.txt ]; then
    exit 0
fi
# The main environment's interpreter: setup_venv.sh has found one that is new enough and can make environments.
.venv/bin/python -m venv --clear "$venv"
"$venv/bin/python" -m pip --disable-pip-version-check --quiet install \
    --require-hashes --only-binary :all: --no-deps --no-compile --requirement requirements/swift.txt
touch "$stamp"
