"""`batches check` tells everything and stores nothing; `batches submit` records what `run` then runs."""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from orchestrator.cli.main import main
from orchestrator.services.jobfile.entries import Form
from tests.repo.sources import ROOT

EXAMPLES = ROOT / "examples"
HEAD = "custom_id,kind,model,prompt,size\n"
GOOD = "a,image,glm-image,a red kite,1280x1280\n"
BAD = "b,image,glm-image,x,5x5\n"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder to work in."""
    return tmp_path


def call(place: Path, *arguments: str, stdin: str | io.BytesIO | None = None, **settings: str) -> Result:
    """Call the command with a data directory of its own and no setting of the machine."""
    unset = {name: None for name in os.environ if name.startswith("ORCHESTRATOR_")}
    env: dict[str, str | None] = {**unset, "ORCHESTRATOR_DATA_DIR": str(place / "data"), **settings}
    return CliRunner().invoke(main, list(arguments), env=env, input=stdin)


def write(place: Path, text: str, name: str = "jobs.csv") -> str:
    """Write a job file."""
    path = place / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_check_needs_and_leaves_nothing(place: Path) -> None:
    """No key, no data directory before or after; a good file is exit 0, with nothing on stdout but data."""
    checked = call(place, "batches", "check", write(place, HEAD + GOOD))
    assert (checked.exit_code, checked.stdout) == (0, "")
    assert "1 job, 0 faults" in checked.stderr
    assert not (place / "data").exists()


def test_faults_are_data_in_four_forms_and_exit_2(place: Path) -> None:
    """Surfaces sections 1 and 3: the fault object, with its hint; the summary is on stderr."""
    file = write(place, HEAD + GOOD + BAD)
    checked = call(place, "batches", "check", file)
    assert checked.exit_code == 2
    fault = json.loads(checked.stdout)
    assert (fault["line"], fault["column"], fault["code"], fault["param"]) == (3, 21, "invalid_size", "body.size")
    assert fault["message"]
    assert fault["hint"]
    report = json.loads(call(place, "batches", "check", file, "-o", "json").stdout)
    assert (report["object"], report["valid"], report["line_count"], report["good_count"]) == (
        "check_report",
        False,
        2,
        1,
    )
    assert [row["code"] for row in report["faults"]] == ["invalid_size"]
    rows = list(csv.DictReader(io.StringIO(call(place, "batches", "check", file, "-o", "csv").stdout)))
    assert [(row["line"], row["code"]) for row in rows] == [("3", "invalid_size")]
    assert "invalid_s" in call(place, "batches", "check", file, "-o", "table").stdout


def test_a_price_names_each_model_and_what_has_none(place: Path) -> None:
    """Count and cost per model from the dated table; unpriced says so; the end is foreseen, with what that assumes."""
    text = HEAD + GOOD + "b,image,brand-new,x,\nc,image,glm-image,y,\n"
    file = write(place, text)
    options = ("batches", "check", file, "--price", "--allow-unknown-model")
    checked = call(place, *options, ORCHESTRATOR_LIMITS="glm-image=2,*=1")
    report = json.loads(checked.stdout)
    assert report["cost"] == {
        "currency": "USD",
        "estimate": "0.03",
        "unpriced_count": 1,
        "price_version": report["cost"]["price_version"],
    }
    models = {
        row["model"]: (row["count"], row["cost"], row["unpriced_count"], row["slots"]) for row in report["models"]
    }
    assert models == {"glm-image": (2, "0.03", 0, 2), "brand-new": (1, None, 1, 1)}
    assert report["expected_seconds"] == 20
    assert "assuming" in checked.stderr
    assert "1 of them have no price" in checked.stderr


def test_strict_is_exit_3_for_warnings(place: Path) -> None:
    """Surfaces section 1: 3 for what --strict found; faults stay 2."""
    warned = "custom_id,kind,model,prompt,n\na,image,glm-image,x,1\n"
    file = write(place, warned)
    assert call(place, "batches", "check", file).exit_code == 0
    strict = call(place, "batches", "check", file, "--strict")
    assert strict.exit_code == 3
    assert json.loads(strict.stdout)["severity"] == "warning"
    assert call(place, "batches", "check", write(place, warned + "b,image,nope,x,\n"), "--strict").exit_code == 2


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ((), '{"custom_id": "a", "kind": "image", "body": {"model": "glm-image", "prompt": "x"}}'),
        (("--format", "csv"), HEAD + GOOD),
        (("--format", "yaml"), "- {custom_id: a, kind: image, body: {model: glm-image, prompt: x}}"),
    ],
)
def test_stdin_is_read_in_each_format(place: Path, options: tuple[str, ...], text: str) -> None:
    """`-` reads stdin; JSONL unless --format says otherwise."""
    checked = call(place, "batches", "check", "-", *options, "-o", "json", stdin=text)
    assert checked.exit_code == 0, checked.output
    assert json.loads(checked.stdout)["line_count"] == 1


def test_no_more_of_stdin_is_kept_than_a_file_may_have(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever pipes without end fills no disk: it is read to one byte over the cap, and refused as a file is."""
    monkeypatch.setattr(Form, "max_bytes", property(lambda _: 1000))
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    kept: list[int] = []

    class Kept(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            kept.append(-1 if size is None else size)
            return super().read(size)

    checked = call(place, "batches", "check", "-", "-o", "jsonl", stdin=Kept(b"#" * 100_000))
    assert [json.loads(line)["code"] for line in checked.stdout.splitlines()] == ["file_too_large"]
    assert checked.exit_code == 2
    assert [size for size in kept if size] == [1001]


def test_a_name_that_is_no_text_is_taken_all_the_same(place: Path) -> None:
    """Names on disk are bytes; what cannot be shown of one is replaced."""
    path = os.fsencode(place) + b"/jobs\xff.csv"
    with open(path, "wb") as file:  # noqa: PTH123 - the name is bytes
        file.write((HEAD + GOOD).encode())
    submitted = call(place, "batches", "submit", os.fsdecode(path), "--yes")
    assert submitted.exit_code == 0, submitted.output
    assert json.loads(submitted.stdout)["name"] == "jobs\ufffd.csv"


def test_submit_records_and_check_then_knows(place: Path) -> None:
    """The batch is printed, its jobs are queued, the file is in the archive; a check says what was made already."""
    file = write(place, HEAD + GOOD)
    submitted = call(place, "batches", "submit", file, "--max-cost", "0.015")
    assert submitted.exit_code == 0, submitted.output
    batch = json.loads(submitted.stdout)
    assert (batch["job_count"], batch["new_count"], batch["refused_count"], batch["max_cost"]) == (1, 1, 0, "0.015")
    assert f"--data-dir {place / 'data'} batches run {batch['id']}" in submitted.stderr
    assert "cost 0.015 USD by the price table" in submitted.stderr
    kept = place / "data" / "archive" / "batches" / batch["id"] / "input.csv"
    assert kept.read_text(encoding="utf-8") == HEAD + GOOD
    jobs = call(place, "jobs", "list", "-o", "json")
    assert [job["status"] for job in json.loads(jobs.stdout)] == ["queued"]
    report = json.loads(call(place, "batches", "check", file, "-o", "json").stdout)
    assert report["known_count"] == 1
    assert report["known"][0]["line"] == 2
    again = json.loads(call(place, "batches", "submit", file).stdout)
    assert (again["id"], again["is_resumed"], again["new_count"]) == (batch["id"], True, 0)


def test_a_bad_line_refuses_the_file_unless_part_of_it_will_do(place: Path) -> None:
    """All or nothing is the default, exit 2; --allow-partial takes the good lines and keeps the faults of the others."""
    file = write(place, HEAD + GOOD + BAD)
    refused = call(place, "batches", "submit", file)
    assert refused.exit_code == 2
    assert not (place / "data").exists()
    taken = call(place, "batches", "submit", file, "--allow-partial")
    assert taken.exit_code == 0, taken.output
    batch = json.loads(taken.stdout)
    assert (batch["job_count"], batch["refused_count"]) == (1, 1)
    assert "1 of 2 lines are left out" in taken.stderr
    kept = place / "data" / "archive" / "batches" / batch["id"] / "refused.jsonl"
    assert json.loads(kept.read_text(encoding="utf-8"))["line"] == 3


def test_a_budget_refuses_before_anything_is_recorded(place: Path) -> None:
    """Exit 4: too dear, or without a price that could be held to it."""
    assert call(place, "batches", "submit", write(place, HEAD + GOOD), "--max-cost", "0.01").exit_code == 4
    unpriced = write(place, HEAD + "a,image,brand-new,x,\n", "other.csv")
    assert call(place, "batches", "submit", unpriced, "--allow-unknown-model", "--max-cost", "9").exit_code == 4
    assert json.loads(call(place, "jobs", "list", "-o", "json").stdout) == []


@pytest.mark.parametrize(("name", "count"), [("table.csv", 2), ("handmade.yaml", 2), ("quickstart.jsonl", 10)])
def test_the_examples_are_good(place: Path, name: str, count: int) -> None:
    """What ships passes its own check, without a warning."""
    checked = call(place, "batches", "check", str(EXAMPLES / name), "--strict", "-o", "json")
    assert checked.exit_code == 0, checked.output
    assert json.loads(checked.stdout)["line_count"] == count


def test_the_broken_example_says_everything(place: Path) -> None:
    """Faults of many lines in one go."""
    checked = call(place, "batches", "check", str(EXAMPLES / "broken.jsonl"))
    assert checked.exit_code == 2
    assert len({json.loads(line)["line"] for line in checked.stdout.splitlines()}) > 5


def test_a_file_that_is_not_there_is_not_looked_for_in_the_sandbox(place: Path) -> None:
    """The hint is about the file, not about ids."""
    checked = call(place, "batches", "check", str(place / "none.csv"))
    assert checked.exit_code == 5
    assert "hint: check its name and its folder" in checked.stderr
    assert "sandbox" not in checked.stderr
