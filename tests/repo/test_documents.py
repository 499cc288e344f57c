"""What the documents say can be typed, and what is drawn from the code is fresh."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

import click
import pytest

from tests.repo.sources import ROOT, tracked_files

COMMAND = "orchestrator"
SHELL_ENDS = {"|", ">", ">>", "<", "&&", ";", "#", "&"}
FENCE = re.compile(r"^```[a-z]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
HISTORY = ("CHANGELOG.md", "docs/decisions/")  # these tell of what was and what may come


def documents() -> list[str]:
    names = [path.relative_to(ROOT).as_posix() for path in tracked_files() if path.suffix == ".md"]
    return sorted(name for name in names if not name.startswith((*HISTORY, "tests/", "orchestrator/")))


def shell_lines(text: str) -> list[str]:
    """Return what stands in code blocks and code spans, long lines joined."""
    fenced = "\n".join(FENCE.findall(text)).replace("\\\n", " ")
    indented = re.findall(r"^    (.+)$", text, re.MULTILINE)
    return [*fenced.splitlines(), *indented, *INLINE.findall(FENCE.sub("", text))]


def commands_of(text: str) -> list[list[str]]:
    """Return the arguments of every `orchestrator ...` line; `a|b` in a word stands for each."""
    found: list[list[str]] = []
    for line in shell_lines(text):
        bare = re.sub(r"^(\$ |(?:[A-Z_]+=\S+ )+)*", "", line.strip())
        if bare.startswith(f"{COMMAND} "):
            words = re.sub(r"\[([^\]]*)\]", r"\1", bare).replace("...", " ").replace("…", " ")
            found += expand(until_shell_ends(shlex.split(words, comments=True)[1:]))
    return found


def until_shell_ends(words: list[str]) -> list[str]:
    end = next((at for at, word in enumerate(words) if word in SHELL_ENDS), len(words))
    return words[:end]


def expand(words: list[str]) -> list[list[str]]:
    for at, word in enumerate(words):
        if "|" in word and not word.startswith("-"):
            return [each for choice in word.split("|") for each in expand([*words[:at], choice, *words[at + 1 :]])]
    return [words]


def parse_command(words: list[str]) -> None:
    """Raise click.UsageError unless the real command line knows this command and its options."""
    from orchestrator.cli.main import main

    command: click.Command = main
    context = click.Context(main, info_name=COMMAND)
    left = list(words)
    while isinstance(command, click.Group):
        _, left, _ = command.make_parser(context).parse_args(args=left)
        if not left:
            return  # a group by itself prints its help
        name, found, left = command.resolve_command(context, left)
        assert found is not None
        command, context = found, click.Context(found, info_name=name, parent=context)
    _, extra, _ = command.make_parser(context).parse_args(args=left)
    if extra:
        raise click.UsageError(f"got unexpected words {extra}", context)


@pytest.mark.parametrize("name", documents())
def test_commands_in_documents_exist(name: str) -> None:
    """Whatever a reader copies from a document is understood by the command line."""
    faults = []
    for words in commands_of((ROOT / name).read_text(encoding="utf-8")):
        try:
            parse_command(words)
        except click.UsageError as error:
            faults.append(f"{COMMAND} {shlex.join(words)}: {error.format_message()}")
    assert faults == []


def test_the_readme_shows_commands() -> None:
    """The check above has something to check."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert ["run", "examples/quickstart.jsonl", "--sandbox"] in commands_of(text)


@pytest.mark.parametrize("words", [["rnu", "x"], ["run", "x", "--sandbxo"], ["version", "extra"]])
def test_a_command_that_does_not_exist_is_seen(words: list[str]) -> None:
    """A misspelt command or option in a document would fail."""
    with pytest.raises(click.UsageError):
        parse_command(words)


def test_make_targets_in_documents_exist() -> None:
    """`make X` in a document is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {
        (name, word)
        for name in documents()
        for line in shell_lines((ROOT / name).read_text(encoding="utf-8"))
        for word in re.findall(r"^\$? ?make ([a-z][a-z-]*)", line)
    }
    assert {name for name, _ in named} >= {"README.md"}
    assert {pair for pair in named if pair[1] not in targets} == set()


def test_links_between_documents_lead_somewhere() -> None:
    """A relative link in a document names a file that exists."""
    broken = []
    for name in documents():
        folder = (ROOT / name).parent
        targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", (ROOT / name).read_text(encoding="utf-8"))
        inside = [target for target in targets if not re.match(r"[a-z]+:", target)]
        broken += [f"{name}: {target}" for target in inside if not (folder / target).exists()]
    assert broken == []


def test_generated_documents_are_fresh() -> None:
    """`make docs` would change nothing."""
    command = [sys.executable, "scripts/generate_docs.py", "--check"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
