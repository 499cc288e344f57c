"""The usual script: a pool of threads, each with one task at a time on the official SDK, asking at a fixed interval.

`python -m bench.sdk_pool BASE_URL THREADS JOBS INTERVAL`. The interval of the SDK's own example is 5 s (zai-api.md 3.3).
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor

from zai import ZaiClient


def run(base_url: str, *, threads: int, jobs: int, interval: float) -> None:
    """Run the jobs to their ends."""
    client = ZaiClient(api_key="bench.key", base_url=base_url)

    def run_one(_: int) -> None:
        task = client.images.async_generations(model="glm-image", prompt="a kite over the sea")
        assert task.id
        while client.images.retrieve_images_result(id=task.id).task_status == "PROCESSING":
            time.sleep(interval)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(run_one, range(jobs)))


if __name__ == "__main__":
    run(sys.argv[1], threads=int(sys.argv[2]), jobs=int(sys.argv[3]), interval=float(sys.argv[4]))
