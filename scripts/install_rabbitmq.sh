#!/usr/bin/env bash
# RabbitMQ for the tests, by apt, when the machine has none. Its service is not started: the tests run their own node.
set -euo pipefail

[ ! -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || exit 0
command -v apt-get >/dev/null || {
    echo 'no RabbitMQ server found, and no apt-get to install one with' >&2
    exit 1
}
as_root=()
if [ "$(id -u)" != 0 ]; then
    as_root=(sudo)
fi
echo 'installing RabbitMQ' >&2
# What the policy file says is asked by every package that would start a service; one that is there already stays.
policy=/usr/sbin/policy-rc.d
made_policy=
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
    "${as_root[@]}" chmod 755 "$policy"
    made_policy=yes
fi
trap '[ -z "$made_policy" ] || "${as_root[@]}" rm -f "$policy"' EXIT
"${as_root[@]}" apt-get update -qq </dev/null
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends rabbitmq-server </dev/null >/dev/null
