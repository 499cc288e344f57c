#!/usr/bin/env bash
# Debian's or Ubuntu's own PostgreSQL server for the tests, by apt, when the machine has none. No cluster is created or started.
set -euo pipefail

if compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; then
    exit 0
fi
command -v apt-get >/dev/null || {
    echo 'no PostgreSQL server found, and no apt-get to install one with' >&2
    exit 1
}
as_root=()
if [ "$(id -u)" != 0 ]; then
    as_root=(sudo)
fi
echo 'installing the PostgreSQL server' >&2
"${as_root[@]}" apt-get update -qq </dev/null
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql-common </dev/null >/dev/null
"${as_root[@]}" sed -i 's/^#\?create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql </dev/null >/dev/null
