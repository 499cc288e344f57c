"""Remove each guard of scripts/guards in turn, run the tests that should notice, and report those that none notices.

A targeted list and not mutmut or cosmic-ray: those change every operator of every line, which takes days here and ends
in thousands of survivors that mean nothing. This asks one question about each promise. Works on copies of the tree.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from queue import SimpleQueue

from scripts.guards import load_guards
from scripts.guards.guard import Guard
from scripts.guards.runner import GOOD, Outcome, Result, Tree

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "build" / "guards.jsonl"


@contextmanager
def copies_of_project(count: int) -> Iterator[list[Tree]]:
    """Give copies of the project; the project itself is never changed."""
    with tempfile.TemporaryDirectory(prefix="guards-") as folder:
        Path(folder).chmod(0o755)  # PostgreSQL runs as another user
        trees = [Tree(Path(folder).resolve() / str(number)) for number in range(count)]
        try:
            for tree in trees:
                tree.copy_from(ROOT)
            yield trees
        finally:
            for tree in trees:
                tree.close()


def check_whole(guards: Sequence[Guard], tree: Tree, jobs: int) -> None:
    """Exit unless every named test passes while no guard is missing: a test that always fails would catch anything."""
    package = tree.find_package()
    if not package.is_relative_to(tree.path):
        sys.exit(f"the copy is not what Python imports, but {package}")
    named = {test for guard in guards for test in guard.tests}
    tests = sorted(test for test in named if "::" not in test or test.partition("::")[0] not in named)
    ended = tree.run_cold("-n", str(jobs), "--dist", "worksteal", *tests)
    if ended.code != 0:
        sys.exit(f"{ended.output[-3000:]}\nthe tests fail with every guard in place: nothing can be learned")


def run_all(guards: Sequence[Guard], trees: Sequence[Tree]) -> Iterator[Result]:
    """Yield each result as it comes, one guard in each tree at a time."""
    free: SimpleQueue[Tree] = SimpleQueue()
    for tree in trees:
        free.put(tree)

    def run(guard: Guard) -> Result:
        tree = free.get()
        try:
            return replace(tree.try_without(guard), fingerprint=fingerprint(guard))
        finally:
            free.put(tree)

    pool = ThreadPoolExecutor(len(trees))
    try:
        for future in as_completed([pool.submit(run, guard) for guard in guards]):
            yield future.result()
    finally:  # after an interrupt what has begun ends, and no more begins
        pool.shutdown(cancel_futures=True)


def fingerprint(guard: Guard) -> str:
    """Return what changes when the guard, its file or its tests do: an earlier result then says nothing."""
    digest = hashlib.sha256(repr(guard).encode())
    for name in (guard.file, *sorted({test.partition("::")[0] for test in guard.tests})):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def load_results(path: Path) -> dict[str, Result]:
    """Return the results of earlier runs by guard, the newest of each."""
    if not path.exists():
        return {}
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {row["name"]: Result(**{**row, "outcome": Outcome(row["outcome"])}) for row in rows}


def keep_result(path: Path, result: Result) -> None:
    """Append a result, so that a run that was stopped can be resumed."""
    path.parent.mkdir(exist_ok=True)
    with path.open("a", encoding="utf-8") as sink:
        sink.write(json.dumps(asdict(result)) + "\n")


def summarise(guards: Sequence[Guard], results: Sequence[Result]) -> bool:
    """Print what is not as it should be; return whether everything is."""
    promises = {guard.name: guard.promise for guard in guards}
    for result in sorted(results, key=lambda result: result.name):
        if result.outcome not in GOOD:
            print(f"\n{result.outcome} {result.name}: {promises[result.name]}\n{result.told}")
    counts = {outcome: sum(result.outcome is outcome for result in results) for outcome in Outcome}
    print("; ".join(f"{count} {outcome.lower()}" for outcome, count in counts.items() if count))
    return all(result.outcome in GOOD for result in results)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--list", action="store_true", help="print the guards and their promises, remove none")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="this guard; may be repeated")
    parser.add_argument(
        "--resume", action="store_true", help="leave out what an earlier run found good, unless changed"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="guards removed at the same time")
    return parser.parse_args()


def _choose(options: argparse.Namespace) -> list[Guard]:
    guards = [guard for guard in load_guards() if not options.only or guard.name in options.only]
    if unknown := set(options.only) - {guard.name for guard in guards}:
        sys.exit(f"no such guard: {', '.join(sorted(unknown))}; --list names them")
    if options.resume:
        known = {(name, result.fingerprint) for name, result in load_results(RESULTS).items() if result.outcome in GOOD}
        guards = [guard for guard in guards if (guard.name, fingerprint(guard)) not in known]
    return guards


def _remove(guards: Sequence[Guard], jobs: int) -> list[Result]:
    results = []
    with copies_of_project(min(jobs, len(guards))) as trees:
        check_whole(guards, trees[0], jobs)
        print(f"{len(guards)} guards; their tests pass with all of them in place", flush=True)
        for result in run_all(guards, trees):
            results.append(result)
            keep_result(RESULTS, result)
            by = result.by.removeprefix("tests/")
            print(f"{result.outcome:<10}{result.seconds:6.1f} s  {result.name:<50} {by}", flush=True)
    return results


def main() -> None:
    """Exit 1 when a guard can be removed unnoticed, or when nothing clear was learned about one."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # as Ctrl-C: the copies are cleared away
    options = _parse()
    guards = _choose(options)
    if options.list:
        for guard in guards:
            print(f"{guard.name}\n    {guard.promise}")
        return
    began = time.monotonic()
    is_good = summarise(guards, _remove(guards, options.jobs)) if guards else True
    print(f"{time.monotonic() - began:.0f} s")
    sys.exit(0 if is_good else 1)


if __name__ == "__main__":
    main()
