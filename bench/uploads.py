"""Two hundred processes killed while they send a file in parts, then one sweep: how many uploads stay open?

    python -m bench.uploads [--kills N]

The server is the strict one of the tests. Nothing is timed but the whole; what counts is that nothing is left.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

from tests.crashes.uploads import kill_uploads
from tests.fixtures.strict_s3 import running_strict_s3

KILLS = 200


def main() -> None:
    """Kill, sweep, count. Exits with 1 when an upload is left open or an object is visible."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=KILLS)
    kills = parser.parse_args().kills
    begun_at = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, running_strict_s3() as server:
        address = server.address
        os.environ.update(AWS_ACCESS_KEY_ID=address.access_key_id, AWS_SECRET_ACCESS_KEY=address.secret_access_key)
        found = kill_uploads(server, Path(folder), kills, tell=_tell)
    print(
        f"{found.killed} killed, {found.left_open} uploads left open, {found.swept} swept, in {time.monotonic() - begun_at:.0f} s"
    )
    figure = "uploads open after one sweep"
    print(json.dumps({"figure": figure, "ours": found.open_afterwards, "beside": "", "ratio": "", "aim": "0"}))
    if found.open_afterwards or found.visible or found.killed != kills:
        raise SystemExit(1)


def _tell(count: int) -> None:
    if count % 50 == 0:
        print(f"{count} killed", flush=True)


if __name__ == "__main__":
    main()
