"""A file of tasks that were submitted elsewhere -> what to adopt: a bare id or a JSON object on each line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches

from orchestrator.domain.errors import Fault, InvalidParams, RequestError
from orchestrator.domain.kind import Kind
from orchestrator.services.adoption import AdoptRequest, check_adoption
from orchestrator.services.jobfile import fields
from orchestrator.services.jobfile.fields import show
from orchestrator.services.jobfile.lines import RawLine, find_foreign, split_lines
from orchestrator.services.jobfile.request import decode_line, is_blank, make_param
from orchestrator.services.jobfile.strictjson import read_json
from orchestrator.services.jobfile.tally import FaultLog

FIELDS = ("task_id", "kind", "model", "custom_id", "tags")
MAX_TASKS = 50_000
"""As many as a job file may have lines (surfaces section 3)."""


@dataclass(frozen=True)
class AdoptLine:
    """A task of the file."""

    number: int
    request: AdoptRequest


def read_adoptions(chunks: Iterable[bytes], usual: AdoptRequest, kinds: Mapping[str, Kind]) -> list[AdoptLine]:
    """Return the tasks of a file; `usual` gives what a line leaves out (its kind may be empty: then each must name one).

    Raises InvalidParams with the faults of all lines: then nothing of the file may be adopted.
    """
    log, seen, lines = FaultLog(), dict[str, int](), list[AdoptLine]()
    for raw in _find_lines(chunks, log):
        request, faults = _read_line(raw, usual, kinds)
        if request is not None:
            lines.append(AdoptLine(raw.number, request))
            faults += _find_repeated(request.task_id, raw.number, seen)
        log.add(replace(fault, line=raw.number) for fault in faults)
    if not lines and not log.fault_count:
        log.add([Fault("empty_file", None, "the file names no task", "write one id, or one JSON object, on each line")])
    if log.fault_count:
        raise InvalidParams(log.faults)
    return lines


def _find_lines(chunks: Iterable[bytes], log: FaultLog) -> Iterator[RawLine]:
    count = 0
    for raw in split_lines(chunks):
        if raw.number == 1 and raw.data and (foreign := find_foreign(raw.data[:64])):
            what, hint = foreign
            log.add([Fault("invalid_encoding", None, what, hint, line=1)])
            return
        if is_blank(raw):
            continue
        count += 1
        if count > MAX_TASKS:
            log.add([Fault("too_many_lines", None, f"over {MAX_TASKS} tasks", "split the file", line=raw.number)])
            return
        yield raw


def _read_line(raw: RawLine, usual: AdoptRequest, kinds: Mapping[str, Kind]) -> tuple[AdoptRequest | None, list[Fault]]:
    text, fault = decode_line(raw)
    if fault:
        return None, [fault]
    if not text.lstrip().startswith("{"):
        return _check({"task_id": text.strip()}, usual, kinds)
    value, problems = read_json(text)
    if not isinstance(value, dict):
        return None, [Fault(p.code, make_param(p.path), p.message, p.hint, column=p.column) for p in problems]
    return _check(value, usual, kinds)


def _check(
    value: Mapping[str, object], usual: AdoptRequest, kinds: Mapping[str, Kind]
) -> tuple[AdoptRequest | None, list[Fault]]:
    """Return the request that a line makes, or everything that is wrong with it."""
    tags, faults = fields.check_tags(value.get("tags"))
    faults += _check_names(value)
    if value.get("custom_id") is not None:
        faults += [fault for fault in fields.check_custom_id(value["custom_id"]) if not fault.is_warning]
    kind, model = value.get("kind") or usual.kind, value.get("model")
    if not kind:
        hint = f"name it with --kind: one of {', '.join(sorted(kinds))}"
        faults.append(Fault("missing_kind", "kind", "nothing says what kind of task it is", hint))
    if faults:
        return None, faults
    request = AdoptRequest(
        kind=str(kind),
        task_id=str(value["task_id"]),
        environment=usual.environment,
        model=str(model) if model else usual.model if kind == usual.kind else None,
        custom_id=str(value["custom_id"]) if value.get("custom_id") else None,
        tags={**usual.tags, **tags},
    )
    try:
        check_adoption(request, kinds)
    except InvalidParams as error:
        return None, list(error.faults)
    except RequestError as error:
        return None, [Fault("unknown_kind", "kind", error.message, error.hint)]
    return request, []


def _check_names(value: Mapping[str, object]) -> list[Fault]:
    """Return a fault for each field that there is not, and for each text that is none."""
    faults = list[Fault]()
    for name in value:
        if name not in FIELDS:
            near = get_close_matches(name, FIELDS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"fields are {', '.join(FIELDS)}"
            faults.append(Fault("unknown_field", name, f"there is no field {show(name)}", hint))
    for name in ("task_id", "kind", "model"):
        text = value.get(name)
        if not isinstance(text, str) and (text is not None or name == "task_id"):
            what = "is missing" if text is None else f"is {show(text)}; text is allowed"
            faults.append(Fault(f"invalid_{name}", name, f"{name} {what}", "quote it" if text is not None else None))
    return faults


def _find_repeated(task_id: str, number: int, seen: dict[str, int]) -> list[Fault]:
    first = seen.setdefault(task_id, number)
    if first == number:
        return []
    return [
        Fault("invalid_task_id", "task_id", f"task {task_id} stands on line {first} already", "leave one of them out")
    ]
