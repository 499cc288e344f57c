"""What must never be, and what must be, in the files under version control."""

from __future__ import annotations

import re

from tests.repo.sources import ROOT, tracked_files

# Written in pieces, so that this file passes its own test.
MACHINE_FOLDERS = ("wo" + "rk", "ro" + "ot", "fa" + "rm")
MACHINE_PATH = re.compile(rf"(?<![A-Za-z0-9_.])/(?:{'|'.join(MACHINE_FOLDERS)})/")
REGISTRY_WORDS = (
    "py" + "pi.org",
    "python" + "hosted",
    "npm" + "js.org",
    "deb.deb" + "ian",
    "index" + "-url",
    "registry" + "=",
)
EXAMPLE_MAX_BYTES = 200_000
TEXT_MAX_BYTES = 2_000_000


def read_text_files() -> dict[str, str]:
    texts = {}
    for path in tracked_files():
        raw = path.read_bytes()
        if b"\0" not in raw[:8192] and len(raw) < TEXT_MAX_BYTES:
            texts[path.relative_to(ROOT).as_posix()] = raw.decode("utf-8", errors="replace")
    return texts


def lines_with(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{name}:{number}: {line.strip()[:120]}"
        for name, text in read_text_files().items()
        for number, line in enumerate(text.splitlines(), start=1)
        if pattern.search(line)
    ]


def test_no_path_of_somebodys_machine() -> None:
    """A stranger's checkout has none of our folders."""
    assert lines_with(MACHINE_PATH) == []


def test_no_address_of_a_package_index() -> None:
    """Packages come from whichever index pip is set to."""
    assert lines_with(re.compile("|".join(map(re.escape, REGISTRY_WORDS)), re.IGNORECASE)) == []


def test_the_patterns_see_what_they_are_for() -> None:
    """A path and an address would be found, a relative path would not."""
    folder = MACHINE_FOLDERS[0]
    assert MACHINE_PATH.search(f"see /{folder}/main")
    assert MACHINE_PATH.search(f'"/{folder}/main"')
    assert not MACHINE_PATH.search(f"tests/{folder}/main")


def test_samples_are_small() -> None:
    """A clone stays quick: nothing in examples/ is larger than 200 kB."""
    sizes = {path.relative_to(ROOT).as_posix(): path.stat().st_size for path in (ROOT / "examples").rglob("*")}
    assert {name: size for name, size in sizes.items() if size > EXAMPLE_MAX_BYTES} == {}
