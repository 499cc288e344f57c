"""How long checking a job file takes, and how much memory.

    python -m bench.check [--lines 50000]

The same jobs are written in each format and checked in a process of their own; beside ours stands json.loads of the
JSONL lines, which checks nothing. Memory is the growth of the resident peak over the check. `plant` is the file with
faults that a test holds the check to.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random

from bench.results import Figure, emit
from orchestrator.services.intake import CheckOptions, check_file
from orchestrator.wiring import kinds_by_name

PLANTED, PLANTED_AMONG = 37, 10_000
WORDS = ("kite", "harbour", "lantern", "meadow", "violin", "glacier", "market", "orchard")

PLANTS: tuple[tuple[str, str, str | None], ...] = (
    ('{"custom_id": "ID", "kind": "image", "body": {"model": "glm-image", "prompt": "x", "size": "5x5"}}', "invalid_size", "body.size"),
    ('{"custom_id": "ID", "kind": "image", "body": {"model": "glm-imgae", "prompt": "x"}}', "unknown_model", "body.model"),
    ('{"custom_id": "ID", "kind": "image", "body": {"model": "glm-image"}}', "missing_prompt", "body.prompt"),
    ('{"custom_id": "ID", "kind": "vidoe", "body": {}}', "unknown_kind", "kind"),
    ('{"custom_id": "ID", "kind": "video", "body": {"model": "cogvideox-3", "prompt": "x", "duration": 6}}', "invalid_duration", "body.duration"),
    ('{"custom_id": "ID", "kind": "video", "body": {"model": "cogvideox-3", "prompt": "x", "duration": true}}', "invalid_type", "body.duration"),
    ('{"custom_id": "ID", "kind": "video", "body": {"model": "cogvideox-3", "prompt": "x", "fps": 1e999}}', "invalid_number", "body.fps"),
    ('{"custom_id": "ID", "kind": "image", "kind": "image", "body": {}}', "duplicate_key", "kind"),
    ('{"custom_id": "ID", "kind": "image", "prioritiy": 1, "body": {"model": "glm-image", "prompt": "x"}}', "unknown_field", "prioritiy"),
    ('{"custom_id": "ID", "kind": "image", "priority": 10, "body": {"model": "glm-image", "prompt": "x"}}', "invalid_priority", "priority"),
    ('{"custom_id": "ID", "kind": "image", "body": {"model": "glm-image", "prompt": "x"}', "invalid_json", None),
    ('["ID"]', "not_an_object", None),
    ('{"custom_id": "", "kind": "image", "body": {"model": "glm-image", "prompt": "ID"}}', "invalid_custom_id", "custom_id"),
    ('{"custom_id": "ID", "kind": "transcription", "body": {"model": "glm-asr-2512", "file": "../ID.wav"}}', "path_outside", "body.file"),
    ('{"custom_id": "ID", "kind": "video", "body": {"model": "cogvideox-3", "prompt": "' + "x" * 513 + '"}}', "prompt_too_long", "body.prompt"),
)  # fmt: skip
"""Lines with one fault each, and what it is called."""


def make_job(number: int, rng: Random) -> dict[str, object]:
    """Return a good line: two pictures to one video."""
    prompt = " ".join(rng.choices(WORDS, k=12))
    if number % 3:
        body = {"model": "glm-image", "prompt": prompt, "size": "1280x1280"}
        return {"custom_id": f"scene-{number:06}", "kind": "image", "body": body}
    video = {"model": "cogvideox-3", "prompt": prompt, "size": "1920x1080", "duration": 5}
    return {"custom_id": f"scene-{number:06}", "kind": "video", "body": video}


def plant(count: int, *, rng: Random) -> tuple[bytes, list[tuple[int, str, str | None]]]:
    """Return a JSONL file of `count` lines, PLANTED of them bad, and (line, code, param) of each fault."""
    lines = [json.dumps(make_job(number, rng)) for number in range(count)]
    expected = []
    for index, place in enumerate(sorted(rng.sample(range(count), PLANTED))):
        text, code, param = PLANTS[index % len(PLANTS)]
        lines[place] = text.replace("ID", f"bad-{place}")
        expected.append((place + 1, code, param))
    return "\n".join(lines).encode(), expected


def write_file(path: Path, count: int) -> None:
    """Write the good jobs in the format that the path names."""
    rng = Random(11)
    jobs = [make_job(number, rng) for number in range(count)]
    if path.suffix == ".csv":
        path.write_text(_as_table(jobs), encoding="utf-8")
    else:
        dash = "- " if path.suffix == ".yaml" else ""  # JSON is YAML
        path.write_text("".join(f"{dash}{json.dumps(job)}\n" for job in jobs), encoding="utf-8")


def _as_table(jobs: list[dict[str, object]]) -> str:
    target = io.StringIO()
    writer = csv.DictWriter(target, ["custom_id", "kind", "model", "prompt", "size", "duration"])
    writer.writeheader()
    for job in jobs:
        body = job["body"]
        assert isinstance(body, dict)
        writer.writerow({"custom_id": job["custom_id"], "kind": job["kind"], **body})
    return target.getvalue()


def measure(path: Path) -> dict[str, float]:
    """Check the file once; return seconds and the growth of the resident peak in MB."""
    kinds = kinds_by_name()
    before = peak_bytes()
    started = time.perf_counter()
    checked = check_file(path, kinds, options=CheckOptions("bench"))
    seconds = time.perf_counter() - started
    if checked.fault_count:
        raise SystemExit(f"{path.name}: {checked.faults[0]}")
    return {"seconds": seconds, "mb": (peak_bytes() - before) / 1e6}


def peak_bytes() -> int:
    """Return the most memory that this process has held. Not ru_maxrss on Linux: that begins with its parent's peak."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text(encoding="ascii"))
    assert found is not None
    return int(found[1]) * 1024


def measure_apart(path: Path) -> dict[str, float]:
    """Measure in a process of its own: a peak never falls."""
    command = [sys.executable, "-m", "bench.check", "--file", str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result = json.loads(done.stdout)
    assert isinstance(result, dict)
    return result


def read_bare(path: Path) -> float:
    """Return the seconds that json.loads alone takes for the lines."""
    started = time.perf_counter()
    with path.open("rb") as stream:
        for line in stream:
            json.loads(line)
    return time.perf_counter() - started


def main() -> None:
    """Measure every format."""
    parser = argparse.ArgumentParser(prog="python -m bench.check", description=__doc__)
    parser.add_argument("--lines", type=int, default=50_000)
    parser.add_argument("--file", type=Path, help="check this file only, in this process")
    given = parser.parse_args()
    if given.file:
        print(json.dumps(measure(given.file)))
        return
    with tempfile.TemporaryDirectory() as folder:
        for name in ("jsonl", "csv", "yaml"):
            path = Path(folder) / f"jobs.{name}"
            # A YAML file is capped at 10 MB, which is about this many of these jobs.
            count = min(given.lines, 40_000) if name == "yaml" else given.lines
            write_file(path, count)
            _tell(path, name, count)
        _tell_planted(Path(folder) / "planted.jsonl")


def _tell_planted(path: Path) -> None:
    """Say whether the faults of a file are exactly those that were put into it, each at its place."""
    data, expected = plant(PLANTED_AMONG, rng=Random(5))
    path.write_bytes(data)
    checked = check_file(path, kinds_by_name(), options=CheckOptions("bench"))
    found = [(fault.line, fault.code, fault.param) for fault in checked.faults]
    name = f"{PLANTED_AMONG:,} lines with {PLANTED} planted faults: found at their places, and others"
    right = sum(fault in expected for fault in found)
    emit(Figure(name, "faults", right, len(found) - right, "others", aim=f"{PLANTED} and 0"))


def _tell(path: Path, name: str, count: int) -> None:
    found = measure_apart(path)
    bare = read_bare(path) if name == "jsonl" else None
    emit(
        Figure(
            f"{count:,} lines of {name} checked",
            "s",
            found["seconds"],
            bare,
            "json.loads alone" if bare else "",
            found["seconds"] / bare if bare else None,
            "50,000 in under 10 s",
        )
    )
    emit(Figure(f"{count:,} lines of {name}: memory", "MB", found["mb"], aim="under 50 MB"))


if __name__ == "__main__":
    main()
