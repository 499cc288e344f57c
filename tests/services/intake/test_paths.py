"""No file is opened outside the allowed folders, whatever a path tries (H14, promise 12)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.domain.errors import BatchFileError
from orchestrator.services.intake import check_file, take_file
from orchestrator.services.jobfile.paths import PathRefused, Roots, open_input
from tests.services.intake.desk import KINDS, SANDBOX, Desk, codes, talk, wav

REFUSED = [
    ("/etc/passwd", "path_outside"),
    ("../secret.wav", "path_outside"),
    ("a/../../secret.wav", "path_outside"),
    ("./../folder/../secret.wav", "path_outside"),
    ("..", "path_outside"),
    (".", "path_outside"),
    ("../folder-too/x.wav", "path_outside"),
    ("link.wav", "path_refused"),
    ("inner-link.wav", "path_refused"),
    ("loop.wav", "path_refused"),
    ("linked/secret.wav", "path_refused"),
    ("pipe.wav", "path_refused"),
    ("sub", "path_refused"),
    ("good.wav/x", "path_refused"),
    ("/dev/zero", "path_outside"),
    ("/dev/stdin", "path_outside"),
    ("/proc/self/environ", "path_outside"),
    ("/proc/self/fd/0", "path_outside"),
    ("file:///etc/passwd", "path_refused"),
    ("FILE:/etc/passwd", "path_refused"),
    ("file:good.wav", "path_refused"),
    ("ftp://example.com/x.wav", "path_refused"),
    ("s3://bucket/x.wav", "path_refused"),
    ("\\\\server\\share\\x.wav", "path_refused"),
    ("//server/share/x.wav", "path_refused"),
    ("C:\\x.wav", "path_refused"),
    ("c:/x.wav", "path_refused"),
    ("good.wav\0.png", "path_refused"),
    ("x" * 5000, "path_refused"),
    ("x" * 300, "input_unreadable"),
    ("~/secret.wav", "input_missing"),
    ("$HOME/secret.wav", "input_missing"),
    ("missing.wav", "input_missing"),
]
IDS = [f"{text[:24]!r}" for text, _ in REFUSED]


def furnish(folder: Path) -> None:
    """Put a good file, and everything that could lead out, into the folder; a secret beside it."""
    (folder.parent / "secret.wav").write_bytes(wav())
    (folder / "good.wav").write_bytes(wav())
    (folder / "sub").mkdir()
    (folder / "link.wav").symlink_to(folder.parent / "secret.wav")
    (folder / "inner-link.wav").symlink_to("good.wav")
    (folder / "loop.wav").symlink_to("loop.wav")
    (folder / "linked").symlink_to(folder.parent)
    os.mkfifo(folder / "pipe.wav")


@pytest.mark.parametrize(("text", "code"), REFUSED, ids=IDS)
def test_a_path_that_leads_elsewhere_is_refused(desk: Desk, text: str, code: str) -> None:
    """H14: by its letters or by what stands there; a FIFO does not hang the check."""
    furnish(desk.folder)
    with pytest.raises(PathRefused) as caught:
        open_input(text, Roots.make(desk.folder))
    assert caught.value.code == code


@pytest.mark.parametrize("text", ["good.wav", "./good.wav", "sub/../good.wav", "sub/./../good.wav"])
def test_a_path_below_the_folder_is_read(desk: Desk, text: str) -> None:
    """H14: what stays inside is fine, however it is written, absolute too."""
    furnish(desk.folder)
    for spelling in (text, str(desk.folder / text)):
        stream, size = open_input(spelling, Roots.make(desk.folder))
        with stream:
            assert len(stream.read()) == size


def test_listed_folders_and_typed_paths_are_read(desk: Desk, tmp_path: Path) -> None:
    """H14: FILE_ROOTS and paths on the command line; a folder that is itself a link was named by its owner."""
    furnish(desk.folder)
    secret = str(tmp_path / "secret.wav")
    linked = tmp_path / "by-link"
    linked.symlink_to(tmp_path)
    for roots in (
        Roots.make(desk.folder, [tmp_path]),
        Roots.make(desk.folder, [linked]),
        Roots.make(desk.folder, typed=[secret]),
        Roots.make(None, typed=[secret]),
    ):
        open_input(secret, roots)[0].close()
    open_input(str(linked / "secret.wav"), Roots.make(desk.folder, [linked]))[0].close()
    with pytest.raises(PathRefused):
        open_input("secret.wav", Roots.make(None, typed=[secret]))


@pytest.mark.parametrize("text", ["/proc/self/environ", "/proc/version", "/dev/null", "/sys/kernel/notes"])
def test_files_of_the_system_are_never_read(text: str) -> None:
    """H14: not even when a root lies above them."""
    with pytest.raises(PathRefused):
        open_input(text, Roots.make(None, [Path("/")]))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_its_user_may_not_read_is_a_fault(desk: Desk) -> None:
    """H14: said as it is."""
    desk.add("closed.wav", wav()).chmod(0)
    with pytest.raises(PathRefused, match="may not be read"):
        open_input("closed.wav", Roots.make(desk.folder))


def test_a_link_swapped_in_after_the_check_is_not_followed(desk: Desk) -> None:
    """H14, race swap: the copy opens anew, component by component, and refuses what has become a symlink."""
    furnish(desk.folder)
    desk.add("audio/talk.wav", wav())
    checked = desk.check([talk(file="audio/talk.wav")])
    (desk.folder / "audio/talk.wav").unlink()
    (desk.folder / "audio").rmdir()
    (desk.folder / "audio").symlink_to(desk.folder.parent)
    (desk.folder.parent / "talk.wav").write_bytes(wav())
    with pytest.raises(BatchFileError) as caught:
        take_file(checked, desk.taker)
    assert [(fault.code, fault.line) for fault in caught.value.faults] == [("path_refused", 1)]
    assert desk.store.objects == {}


def test_faults_of_paths_stand_with_their_line_and_column(desk: Desk) -> None:
    """H14 as a user meets it."""
    checked = check_file(desk.write([talk(file="../x.wav")]), KINDS, options=SANDBOX)
    column = json.dumps(talk(file="../x.wav")).index('"../x.wav"') + 1
    assert codes(checked.faults) == [(1, column, "path_outside", "body.file")]
    assert '"../x.wav"' in checked.faults[0].message


LISTENER = """
import json, sys
from pathlib import Path
from orchestrator.domain.errors import BatchFileError
from orchestrator.services.intake import check_file
from tests.services.intake.desk import KINDS, SANDBOX

folder, opened = Path(sys.argv[1]), []
check_file(folder / "good.jsonl", KINDS, options=SANDBOX)  # everything is imported by now
sys.addaudithook(lambda event, args: event == "open" and not isinstance(args[0], int) and opened.append(str(args[0])))
checked = check_file(folder / "jobs.jsonl", KINDS, options=SANDBOX)
print(json.dumps({"faults": checked.fault_count, "opened": list(opened)}))
"""


def test_nothing_outside_the_folder_is_opened(desk: Desk) -> None:
    """H14: a listener on every open of the process hears the job file, the folder, and bare names below it."""
    furnish(desk.folder)
    desk.write([talk(file="good.wav")], name="good.jsonl")
    desk.write([talk(f"t{number}", text) for number, (text, _) in enumerate([*REFUSED, ("good.wav", "")])])
    script = desk.folder.parent / "listener.py"
    script.write_text(LISTENER)
    found = subprocess.run(
        [sys.executable, str(script), str(desk.folder)],
        env={"PYTHONPATH": str(Path(__file__).parents[3])},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    heard = json.loads(found.stdout)
    assert heard["faults"] == len(REFUSED)
    allowed = {str(desk.folder / "jobs.jsonl"), str(desk.folder)}
    bare = {name for name in heard["opened"] if "/" not in name}
    assert {name for name in heard["opened"] if "/" in name} <= allowed
    # Symbolic links, the pipe and the folder are looked at and left: only files and what might hold one are opened.
    assert bare == {"good.wav", "linked", "~", "$HOME"}


PIECES = st.sampled_from(
    [
        "..",
        ".",
        "/",
        "//",
        "a",
        "link",
        "linked",
        "secret.wav",
        "good.wav",
        "\\",
        "\0",
        "file:",
        "C:",
        "~",
        " ",
        "\u2025",
    ]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(PIECES, max_size=8).map("/".join) | st.lists(PIECES, max_size=8).map("".join) | st.text(max_size=20))
def test_no_path_leads_out_of_the_folder(desk: Desk, text: str) -> None:
    """H14: any path is refused or opens a file that lies in the folder."""
    if not (desk.folder / "good.wav").exists():
        furnish(desk.folder)
    try:
        stream, _ = open_input(text, Roots.make(desk.folder))
    except PathRefused:
        return
    with stream:
        assert os.fstat(stream.fileno()).st_ino == (desk.folder / "good.wav").stat().st_ino
