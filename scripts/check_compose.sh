#!/usr/bin/env bash
# docker-compose.yml in the eyes of Compose itself: every profile resolves, and no secret has a default.
# Takes the `docker compose` at hand, else Debian's docker-compose (1.29) by apt; neither needs a running engine for this.
set -euo pipefail
cd "$(dirname "$0")/.."

if docker compose version >/dev/null 2>&1; then
    compose=(docker compose)
else
    if ! command -v docker-compose >/dev/null; then
        command -v apt-get >/dev/null || { echo 'neither docker compose nor apt-get is here' >&2; exit 1; }
        echo 'installing docker-compose' >&2
        as_root=()
        [ "$(id -u)" = 0 ] || as_root=(sudo)
        "${as_root[@]}" apt-get update -qq </dev/null
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends docker-compose </dev/null >/dev/null
    fi
    compose=(docker-compose)
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp docker-compose.yml Dockerfile "$work" # away from somebody's own .env
required=$(sed -n 's/^\([A-Z0-9_]*\)=$/\1/p' .env.example)
cd "$work"
for name in $required; do
    echo "$name=abc123" >>full.env
done

"${compose[@]}" --env-file full.env config --quiet
services=$("${compose[@]}" --env-file full.env --profile lanes --profile cli --profile sandbox config --services | sort | xargs)
for name in $required; do
    grep -v "^$name=" full.env >without.env
    if "${compose[@]}" --env-file without.env config --quiet 2>/dev/null; then
        echo "docker-compose.yml starts without $name" >&2
        exit 1
    fi
done
echo "docker-compose.yml is good for ${compose[*]}: $services; refused without any of: $(echo $required)"
