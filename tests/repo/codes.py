"""Every code that our own source gives to an error, an outcome or a fault, read from its syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tests.repo.sources import ROOT, parse, python_files

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
FAULTS = ("Fault", "Problem", "PathRefused")
CARRIERS: Mapping[str, int] = {
    **dict.fromkeys(("Transient", "Throttled", "Permanent", "Gone", "InputLost", "Uncertain", "Account"), 0),
    **dict.fromkeys(("NotSent", "ThrottledNow", "AccountRefused", "Rejected", "InputUnusable", "Unknown"), 0),
    **dict.fromkeys(("PollFailed", "TaskMissing", "FailedAtSubmit", "ProviderFailed"), 0),
    **dict.fromkeys(FAULTS, 0),
    "OutputFailed": 1,
    "Sent": 1,
    "failed": -1,
    "_settle_unknown": 2,
}
"""Callables that take a code, and which argument it is; -1: only by name."""
ANSWERS = {"describe_failure", "read_failure"}
"""Functions that return (code, message)."""
SAMPLE = "500"
"""What stands for the filled-in part of an f-string: a status in `http_{status}`."""


@dataclass(frozen=True)
class Sighting:
    """A code and where it stands; `code` None: it is made in a way that cannot be read."""

    code: str | None
    where: str
    is_fault: bool = False


def sightings(trees: Mapping[str, ast.Module]) -> Iterator[Sighting]:
    """Yield every code given to a carrier, answered by a function of ANSWERS, or standing in a class as `code = ...`."""
    constants = {name: value for tree in trees.values() for name, value in _constants(tree)}
    for where, tree in trees.items():
        for owner, call in _calls(tree):
            expression = _code_of(call)
            if expression is not None:
                for code in _read(expression, owner, constants):
                    yield Sighting(code, f"{where}:{call.lineno}", is_fault=_name_of(call) in FAULTS)
        for node in ast.walk(tree):
            if isinstance(node, FUNCTIONS) and node.name in ANSWERS:
                yield from (Sighting(code, f"{where}:{node.lineno}") for code in _answers(node))
            if isinstance(node, ast.ClassDef):
                yield from (Sighting(code, f"{where}:{node.lineno}") for code in _class_codes(node))


def our_trees() -> dict[str, ast.Module]:
    """Return our own source but for the simulator, which has errors of its own."""
    return {
        path.relative_to(ROOT).as_posix(): parse(path)
        for path in python_files("orchestrator")
        if not path.is_relative_to(ROOT / "orchestrator/sandbox")
    }


def _constants(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                yield name, value
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                yield name, value


def _calls(tree: ast.Module) -> Iterator[tuple[ast.AST, ast.Call]]:
    """Yield each call with the function around it."""

    def walk(node: ast.AST, owner: ast.AST) -> Iterator[tuple[ast.AST, ast.Call]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Call):
                yield owner, child
            yield from walk(child, child if isinstance(child, FUNCTIONS) else owner)

    return walk(tree, tree)


def _name_of(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else str(getattr(call.func, "attr", ""))


def _code_of(call: ast.Call) -> ast.expr | None:
    """Return the argument that is the code; a pattern of a match statement is no call."""
    name = _name_of(call)
    if name not in CARRIERS:
        return None
    named = next((keyword.value for keyword in call.keywords if keyword.arg == "code"), None)
    position = CARRIERS[name]
    return named or (call.args[position] if 0 <= position < len(call.args) else None)


def _read(node: ast.expr, owner: ast.AST, constants: Mapping[str, ast.expr]) -> Iterator[str | None]:
    """Yield the texts that an expression can be; nothing for one that only passes a code on, None for a riddle."""
    match node:
        case ast.Constant(value=str() as text):
            yield text
        case ast.Constant(value=None) | ast.Starred():
            return
        case ast.JoinedStr(values=parts):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else SAMPLE for part in parts)
        case ast.IfExp(body=body, orelse=other):
            yield from _read(body, owner, constants)
            yield from _read(other, owner, constants)
        case ast.BoolOp(values=values):
            for value in values:
                yield from _read(value, owner, constants)
        case ast.Subscript(value=ast.Name(id=name)) if isinstance(table := constants.get(name), ast.Dict):
            for value in table.values:
                yield from _read(value, owner, constants)
        case ast.Attribute(attr=name) | ast.Name(id=name) if name in constants:
            yield from _read(constants[name], owner, constants)
        case ast.Name(id=name):
            yield from _read_local(name, owner, constants)
        case ast.Attribute(attr="code" | "provider_code" | "too_long_code"):
            return
        case ast.Call(func=ast.Name(id="next"), args=[_, other]):  # out of a table; test_tables_of_codes reads those
            yield from _read(other, owner, constants)
        case ast.Call(func=ast.Name(id="invalid")):
            yield f"invalid_{SAMPLE}"
        case ast.Call(args=[_, other], func=ast.Attribute(attr="failure_code")):
            yield from _read(other, owner, constants)
        case ast.Call(func=ast.Name(id="_code")):
            return
        case _:
            yield None


def _read_local(name: str, owner: ast.AST, constants: Mapping[str, ast.expr]) -> Iterator[str | None]:
    """A variable: what is assigned to it in its function; nothing for a parameter or a part of an answer."""
    for node in ast.walk(owner):
        match node:
            case ast.Assign(targets=[ast.Name(id=found)], value=value) if found == name:
                yield from _read(value, owner, constants)
            case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)):
                for target, value in zip(targets, values, strict=True):
                    if isinstance(target, ast.Name) and target.id == name:
                        yield from _read(value, owner, constants)


def _answers(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str | None]:
    for node in ast.walk(function):
        if isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple):
            first = node.value.elts[0]
            if isinstance(first, ast.Constant | ast.IfExp):
                yield from (code for code in _read(first, function, {}) if code is not None)


def _class_codes(found: ast.ClassDef) -> Iterator[str]:
    for node in found.body:
        match node:
            case ast.Assign(targets=[ast.Name(id="code")], value=ast.Constant(value=str() as text)):
                yield text


def sample(text: str) -> dict[str, ast.Module]:
    """Return one module's tree, for a test of the reading itself."""
    return {"sample.py": ast.parse(text)}
