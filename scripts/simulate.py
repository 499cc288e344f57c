"""Runs many seeds of the simulation and says which of them break a promise.

python -m scripts.simulate --seeds 1000 --from 0
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections import Counter

from tests.simulation.run import STEPS, SimulationFailed, simulate


def main() -> int:
    """Run the seeds one after the other; return 1 when one fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=100, help="how many")
    parser.add_argument("--from", dest="first", type=int, default=0, help="the first")
    parser.add_argument("--steps", type=int, default=STEPS, help="before the calm, of each")
    parser.add_argument(
        "--resubmit-max", type=int, help="as ORCHESTRATOR_ON_UNKNOWN=resubmit; the seed says it otherwise"
    )
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the first that fails")
    parser.add_argument("--story", type=int, default=25, help="how many of the last steps a failure tells")
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)  # what goes wrong here goes wrong on purpose, thousands of times
    sums: Counter[str] = Counter()
    failed: list[int] = []
    began = time.monotonic()
    for seed in range(given.first, given.first + given.seeds):
        try:
            found = simulate(seed, steps=given.steps, story_lines=given.story, resubmit_max=given.resubmit_max)
            sums.update(found)
        except SimulationFailed as error:
            failed.append(seed)
            print(error, flush=True)
            if not given.keep_going:
                break
        sums["seeds"] += 1
        if sums["seeds"] % 50 == 0:
            print(f"{sums['seeds']} seeds, {len(failed)} failed", flush=True)
    print(f"{time.monotonic() - began:.0f} s: {dict(sums)}; failed: {failed or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
