#!/usr/bin/env bash
# The steps of the Dockerfile without Docker: the lock into a bare environment, the wheel, away with what only builds; then
# the program as an unprivileged user that can write to its data directory and nothing else. scripts/check_wheel.sh runs the
# demo from demo.txt; this one is about fleet.txt and the rights. What it cannot show: the base image, users and volumes.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
chmod 755 "$work"
home=$work/opt/orchestrator
pip=(.venv/bin/python -m pip --disable-pip-version-check --quiet --python "$home/bin/python")

.venv/bin/python -m venv --without-pip "$home"
"${pip[@]}" install --require-hashes --only-binary :all: --no-deps --requirement requirements/fleet.txt
"$home/bin/python" -m hatchling build -t wheel -d "$work/dist" >/dev/null
"${pip[@]}" install --no-index --no-deps "$work"/dist/*.whl
# The very words of the Dockerfile: what it takes away must be there, and nothing may miss it.
read -ra builders < <(sed -n 's/.*uninstall --yes \([a-z -]*[a-z]\) *\\*$/\1/p' Dockerfile)
"${pip[@]}" uninstall --yes "${builders[@]}"
"${pip[@]}" check >/dev/null

mkdir "$work/data"
chmod -R a-w "$home"
as_nobody=()
who="user $(id -u)"
if [ "$(id -u)" = 0 ]; then
    as_nobody=(setpriv --reuid 10001 --regid 10001 --clear-groups)
    who='user 10001'
    if "${as_nobody[@]}" env "$home/bin/python" -c '' 2>/dev/null; then
        chown 10001:10001 "$work/data"
    else # the interpreter lies where only root may look: root without any of its capabilities, whom modes bind too
        as_nobody=(setpriv --inh-caps=-all --bounding-set=-all)
        who='root without capabilities'
    fi
fi
run() {
    (cd "$work/data" && "${as_nobody[@]}" env -i HOME=/nonexistent PATH="$home/bin:/usr/bin:/bin" PYTHONDONTWRITEBYTECODE=1 \
        ORCHESTRATOR_DATA_DIR="$work/data" "$@")
}
run orchestrator version
run orchestrator db upgrade
run orchestrator db check
run orchestrator jobs list
run python -c 'import celery, psycopg, redis, orchestrator.sandbox'
if run touch "$home/lib/written" 2>/dev/null; then
    echo "the program can change its own code" >&2
    exit 1
fi
echo "the image's steps work from requirements/fleet.txt, as $who, code read-only"
