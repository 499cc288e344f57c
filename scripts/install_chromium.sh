#!/usr/bin/env bash
# Chromium for the tests that open a page in a browser, by apt, when the machine has none.
set -euo pipefail

[ ! -x /usr/bin/chromium ] || exit 0
command -v apt-get >/dev/null || {
    echo 'no Chromium found, and no apt-get to install one with' >&2
    exit 1
}
as_root=()
if [ "$(id -u)" != 0 ]; then
    as_root=(sudo)
fi
echo 'installing Chromium' >&2
"${as_root[@]}" apt-get update -qq </dev/null
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium </dev/null >/dev/null
