"""What archiving costs: our archive step with all its checks, beside a bare copy and beside boto3.

    python -m bench.archive [--quick] [--sink raw|moto] [--large N,MB] [--small N,MB]

Files are fetched from a local HTTP server and stored in a local S3 server, each in a process of its own. Every way runs
in a fresh process, so that its peak memory is its own. Compare ratios within one run, never figures of two; CPU is the client's
alone, and says more than time where the servers or other work share the cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from struct import pack
from typing import Any

import aiohttp
import boto3
from botocore.config import Config

from orchestrator.config import load_settings
from orchestrator.domain.ids import make_id
from orchestrator.domain.job import Job, Output, Role
from orchestrator.domain.outcomes import OutputStored
from orchestrator.domain.papers import Filed
from orchestrator.domain.states import State
from orchestrator.services.archive.outputs import archive_outputs
from orchestrator.services.lanes.host import Mailboxes
from orchestrator.wiring import open_app, open_lanes

MIB = 1 << 20
AT_ONCE = 4
"""The archive lane's window for videos; every way gets the same."""
RNG = Random(7)
BUCKET = "bench"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench"}
Run = Callable[[int], object]
Ways = dict[str, Callable[[str, str, Path], AbstractContextManager[Run]]]


def main() -> None:
    """Measure, print a table of ratios."""
    options = _read_options()
    if options.way:
        _run_way(options)
        return
    with tempfile.TemporaryDirectory(prefix="bench-archive-") as folder:
        for label, (count, mib) in {"large": options.large, "small": options.small}.items():
            _compare(label, count, mib, options.sink, Path(folder) / label)


def _read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.archive")
    parser.add_argument("--quick", action="store_true", help="4 files of 50 MB, 100 of 1 MB")
    parser.add_argument("--sink", choices=["raw", "moto"], default="raw")
    parser.add_argument("--large", type=_pair, help="count,MB of the large files (20,200)")
    parser.add_argument("--small", type=_pair, help="count,MB of the small files (1000,1)")
    for inner in ("--way", "--source-url", "--sink-url", "--folder", "--count"):
        parser.add_argument(inner, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.large = options.large or ((4, 50) if options.quick else (20, 200))
    options.small = options.small or ((100, 1) if options.quick else (1000, 1))
    return options


def _pair(text: str) -> tuple[int, int]:
    count, _, mib = text.partition(",")
    return int(count), int(mib)


def _compare(label: str, count: int, mib: int, sink: str, folder: Path) -> None:
    (folder / "source").mkdir(parents=True)
    (folder / "source" / "film.mp4").write_bytes(make_film(mib * MIB))
    print(f"\n{label}: {count} files of {mib} MB, {AT_ONCE} at once, sink {sink}")
    print(f"{'way':<28}{'MB/s':>8}{'files/s':>10}{'CPU ms/file':>13}{'peak memory':>14}")
    rates, cpu = {}, {}
    for way in WAYS:
        with serving(folder / "source") as source_url, open_sink(sink, folder / "sink") as sink_url:
            found = _ask_child(way, source_url, sink_url, folder, count)
        shutil.rmtree(folder / "sink", ignore_errors=True)
        rates[way], cpu[way] = count / found["seconds"], found["cpu"] / count
        print(
            f"{way:<28}{rates[way] * mib:>8.0f}{rates[way]:>10.1f}{cpu[way] * 1000:>13.1f}{found['growth_mib']:>+11.0f} MB"
        )
    for other in list(WAYS)[1:]:
        print(f"ours / {other}: {rates['ours'] / rates[other]:.2f} by time, {cpu[other] / cpu['ours']:.2f} by CPU")


def _ask_child(way: str, source_url: str, sink_url: str, folder: Path, count: int) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.archive", "--way", way, "--source-url", source_url, "--sink-url", sink_url]
    command += ["--folder", str(folder), "--count", str(count)]
    said = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | CREDENTIALS).stdout
    found: dict[str, float] = json.loads(said.splitlines()[-1])
    return found


def _run_way(options: argparse.Namespace) -> None:
    """One way in this process: two files to warm up, then all of them."""
    with WAYS[options.way](options.source_url, options.sink_url, Path(options.folder)) as run:
        run(2)
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
        before, begun, used = _memory_mib("VmRSS"), time.perf_counter(), time.process_time()
        run(int(options.count))
        seconds = time.perf_counter() - begun
        cpu = time.process_time() - used
    print(json.dumps({"seconds": seconds, "cpu": cpu, "growth_mib": _memory_mib("VmHWM") - before}))


def _memory_mib(field: str) -> float:
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field)]
    return int(line.split()[1]) / 1024


# The ways


@contextmanager
def ours(source_url: str, sink_url: str, folder: Path) -> Iterator[Run]:
    """Fetch through the guard, walk, store, read back: the archive step as the lane runs it."""
    settings = load_settings(
        {
            "data_dir": folder / "data",
            "archive_url": f"s3://{BUCKET}/films",
            "s3_endpoint_url": sink_url,
            "s3_region": "us-east-1",
            "zai_api_key": "id.secret",
            "egress_allow": source_url.removeprefix("http://"),
            "thumbnail_pixels": 0,  # nobody else makes any
        }
    )
    with open_app(settings, may_migrate=True) as app, open_lanes(app, Mailboxes()) as context:

        async def archive(number: int) -> None:
            job = _make_job(settings.archive, source_url)
            papers: Any = _PapersOf(job)
            step = await archive_outputs(replace(context, papers=papers), job)
            if step.error or not isinstance(step.results[0], OutputStored):
                raise RuntimeError(f"not archived: {step}")

        yield lambda count: asyncio.run(_each(archive, count))


@contextmanager
def bare_copy(source_url: str, sink_url: str, folder: Path) -> Iterator[Run]:
    """GET streamed into a presigned PUT, both by aiohttp; nothing is checked, nothing is kept."""
    client = _client(sink_url)

    async def copy_all(count: int) -> None:
        async with aiohttp.ClientSession(auto_decompress=False, read_bufsize=MIB) as session:

            async def copy(number: int) -> None:
                to = client.generate_presigned_url("put_object", Params={"Bucket": BUCKET, "Key": f"{number}.mp4"})
                async with session.get(f"{source_url}/film.mp4") as film:
                    length = {"Content-Length": film.headers["Content-Length"]}
                    async with session.put(to, data=film.content.iter_any(), headers=length) as put:
                        put.raise_for_status()

            await _each(copy, count)

    yield lambda count: asyncio.run(copy_all(count))


@contextmanager
def boto3_upload(source_url: str, sink_url: str, folder: Path) -> Iterator[Run]:
    """upload_fileobj of what the server sends: no checks; one client, threads, its own defaults."""
    client = _client(sink_url)

    def upload(number: int) -> None:
        with urllib.request.urlopen(f"{source_url}/film.mp4") as film:  # noqa: S310 - our own server
            client.upload_fileobj(film, BUCKET, f"{number}.mp4")

    with ThreadPoolExecutor(AT_ONCE) as threads:
        yield lambda count: list(threads.map(upload, range(count)))


@contextmanager
def boto3_from_disk(source_url: str, sink_url: str, folder: Path) -> Iterator[Run]:
    """The same without the fetch."""
    client = _client(sink_url)

    def upload(number: int) -> None:
        with (folder / "source" / "film.mp4").open("rb") as film:
            client.upload_fileobj(film, BUCKET, f"{number}.mp4")

    with ThreadPoolExecutor(AT_ONCE) as threads:
        yield lambda count: list(threads.map(upload, range(count)))


async def _each(work: Callable[[int], Awaitable[None]], count: int) -> None:
    """Do them all, AT_ONCE at a time."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        async with places:
            await work(number)

    await asyncio.gather(*(one(number) for number in range(count)))


WAYS: Ways = {
    "ours": ours,
    "bare copy": bare_copy,
    "boto3 upload_fileobj": boto3_upload,
    "the same, from disk": boto3_from_disk,
}


def _make_job(archive_url: str, source_url: str) -> Job:
    now = datetime.now(UTC)
    job_id, output_id = (make_id(prefix, now=now, rng=RNG) for prefix in ("job", "out"))
    output = Output(output_id, job_id, 0, Role.VIDEO, source_url=f"{source_url}/film.mp4")
    return Job(
        job_id, "video", "bench", State.ARCHIVING, {}, "", "default", archive_url, now,
        lease_token="t", provider_task_id="t", outputs=(output,),  # noqa: S106
    )  # fmt: skip


class _PapersOf:
    """What a job table would say of one job, which is in none here."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def load_filed(self, job_id: str) -> Filed:
        announced = {output.id: self._job.created_at for output in self._job.outputs}
        return Filed(self._job, "video", None, (), (), {}, announced)


def _client(sink_url: str) -> Any:  # noqa: ANN401 - boto3 makes its classes when it runs
    return boto3.client(
        "s3",
        endpoint_url=sink_url,
        region_name="us-east-1",
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}, max_pool_connections=50),
    )


# Files and servers


def make_film(size: int) -> bytes:
    """Return an MP4 that our container walk accepts, its mdat filled up."""

    def box(name: bytes, content: bytes) -> bytes:
        return pack(">I4s", 8 + len(content), name) + content

    mvhd = box(b"mvhd", bytes(12) + pack(">II", 1000, 5000) + bytes(80))
    tkhd = box(b"tkhd", pack(">I", 7) + bytes(72) + pack(">II", 640 << 16, 360 << 16))
    hdlr = box(b"hdlr", bytes(8) + b"vide" + bytes(13))
    stsd = box(b"stsd", pack(">II", 0, 1) + box(b"avc1", bytes(24) + pack(">HH", 640, 360) + bytes(50)))
    tables = box(b"stts", pack(">IIII", 0, 1, 1, 5000)) + box(b"stsc", pack(">IIIII", 0, 1, 1, 1, 1))
    tables += box(b"stsz", pack(">III", 0, size, 1)) + box(b"stco", pack(">III", 0, 1, 28))
    mdhd = box(b"mdhd", bytes(12) + pack(">II", 1000, 5000) + bytes(4))
    minf = box(b"minf", box(b"stbl", stsd + tables))
    moov = box(b"moov", mvhd + box(b"trak", tkhd + box(b"mdia", mdhd + hdlr + minf)))
    return box(b"ftyp", b"isom" + bytes(4) + b"isom") + box(b"mdat", bytes(size)) + moov


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve a folder; give the server's URL."""
    with _process([sys.executable, "-m", "bench.archive_server", str(folder)]) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"


@contextmanager
def open_sink(sink: str, folder: Path) -> Iterator[str]:
    """Open the S3 server of this name; give its URL."""
    with ExitStack() as stack:
        if sink == "raw":
            yield stack.enter_context(serving(folder))
            return
        command = [sys.executable, "-W", "ignore", "-u", "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
        process = stack.enter_context(_process(command))
        assert process.stdout is not None
        found = next(m for m in (re.search(rb"http://[\d.:]+", line) for line in process.stdout) if m)
        os.environ.update(CREDENTIALS)
        _client(found[0].decode()).create_bucket(Bucket=BUCKET)
        with ThreadPoolExecutor(1) as threads:
            threads.submit(lambda: [None for _ in process.stdout or ()])  # it logs each request: keep the pipe empty
            yield found[0].decode()
            process.terminate()


@contextmanager
def _process(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            yield process
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
