#!/usr/bin/env bash
# Builds the wheel and runs the demo from it: a fresh environment, another directory, nothing of the checkout but the examples.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

.venv/bin/python -m hatchling build -t wheel -d "$work/dist" >/dev/null
wheel=$(echo "$work"/dist/*.whl)
.venv/bin/python -m zipfile -l "$wheel" | grep -q 'orchestrator/_migrations/versions/[0-9]' || {
    echo "the wheel has no migrations: $wheel" >&2
    exit 1
}

.venv/bin/python -m venv "$work/venv"
pip=("$work/venv/bin/python" -m pip --disable-pip-version-check --quiet)
"${pip[@]}" install --require-hashes --only-binary :all: --requirement requirements/demo.txt
"${pip[@]}" install --no-index --no-deps "$wheel"

cp -r examples "$work/examples"
cd "$work"
"$work/venv/bin/python" - "$work" <<'PY'
import sys, orchestrator
assert orchestrator.__file__.startswith(sys.argv[1]), f"not the wheel: {orchestrator.__file__}"
PY
"$work/venv/bin/orchestrator" version
"$work/venv/bin/orchestrator" run examples/quickstart.jsonl --sandbox </dev/null >results.jsonl
jobs=$(grep -c '^{' examples/quickstart.jsonl)
succeeded=$(grep -c '"status": *"succeeded"' results.jsonl || true)
manifests=$(find .orchestrator/sandbox/archive -name manifest.json | wc -l)
echo "from the wheel: $jobs jobs, $succeeded succeeded, $manifests manifests in the archive"
[ "$jobs" = "$succeeded" ] && [ "$jobs" = "$manifests" ]
