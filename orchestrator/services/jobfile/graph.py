"""Which lines of a job file depend on which, judged once the whole file is read (docs/dependencies.md).

Kept small for 50,000 lines: a body's hash and what it can make for each, names only of those that are depended on.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from difflib import get_close_matches
from typing import NamedTuple

from orchestrator.domain.errors import Fault
from orchestrator.domain.job import Role
from orchestrator.domain.kind import Medium
from orchestrator.domain.references import find_references, fits
from orchestrator.services.jobfile.fields import show
from orchestrator.services.jobfile.inline import param_of
from orchestrator.services.jobfile.request import ReadLine, Request
from orchestrator.services.jobfile.tally import SeenIds

MAX_DEPTH = 100  # links of a chain: as many rounds follow in one transaction when its first job fails
MAX_SUGGESTED_FROM = 2_000  # names kept to find the one that was meant
MAX_SUGGESTIONS = 20  # looking for a near name takes milliseconds
DEPENDENCY_REFUSED = "dependency_refused"
SHA_BYTES = 32
NOTHING = bytes(SHA_BYTES)


class Edge(NamedTuple):
    """One mention of another line. `place` is a fault that holds where it stands; `output_index` and `medium` are None
    when only the order is meant.
    """

    name: str
    place: Fault
    output_index: int | None = None
    medium: Medium | None = None


@dataclass(frozen=True)
class Verdict:
    """What the whole file shows. `faults` by index of the line; `orphans` are good lines that depend on refused ones;
    `identities` are the hashes of lines that use what others make, theirs included.
    """

    faults: tuple[tuple[int, Fault], ...] = ()
    orphans: frozenset[int] = frozenset()
    identities: Mapping[int, str] = field(default_factory=dict)
    longest_chain: timedelta = timedelta(0)
    """How long good lines that wait for each other usually take one after the other, the slowest such chain."""


class Graph:
    """Takes every line of a file in order, then judges them together."""

    def __init__(self, ids: SeenIds) -> None:
        self._ids = ids
        self._numbers = array("L")
        self._hashes = bytearray()
        self._makes = array("L")
        self._seconds = array("f")
        self._sorts: dict[tuple[tuple[int, Role], ...], int] = {}
        self._edges: dict[int, tuple[Edge, ...]] = {}
        self._names: list[str] = []

    def take(self, line: ReadLine, body_sha256: str | None) -> None:
        """Take the next line; `body_sha256` None: it is refused already."""
        index = len(self._numbers)
        self._numbers.append(line.number)
        self._hashes += bytes.fromhex(body_sha256) if body_sha256 else NOTHING
        request = line.request
        sort = tuple(sorted(request.kind.makes(request.body).items())) if request else ()
        self._seconds.append(request.kind.usual_duration.total_seconds() if request else 0.0)
        self._makes.append(self._sorts.setdefault(sort, len(self._sorts)))
        if line.custom_id and len(self._names) < MAX_SUGGESTED_FROM:
            self._names.append(line.custom_id)
        if request is not None and request.depends_on:
            self._edges[index] = tuple(_edges_of(line, request))

    def judge(self, refused: Collection[int]) -> Verdict:
        """Return what is wrong with the lines together; `refused` are the indices of lines refused already."""
        if not self._edges:
            return Verdict()
        faults = [*self._find_unknown(), *self._find_impossible()]
        parents = {index: self._parents_of(index) for index in self._edges}
        order, depths = _sort(parents)
        faults += self._find_cycles(parents, set(parents) - set(order))
        faults += self._find_deep(depths)
        bad = {*refused, *(index for index, _ in faults)}
        orphans = _find_orphans(parents, bad)
        longest = self._find_longest(parents, [index for index in order if index not in bad | orphans])
        return Verdict(tuple(faults), frozenset(orphans), self._identify(order), timedelta(seconds=longest))

    def warn(self, orphans: Collection[int], refused: Collection[int]) -> Iterator[Fault]:
        """Yield a warning for each good line that cannot be taken without lines that are refused."""
        missing = {*orphans, *refused}
        for index in sorted(orphans):
            place = self._place_of(index, missing)
            message = "a line that it depends on is refused"
            yield replace(place, code=DEPENDENCY_REFUSED, message=message, is_warning=True)

    def _find(self, name: str) -> int | None:
        return self._ids.find_index(name)

    def _parents_of(self, index: int) -> frozenset[int]:
        found = (self._find(edge.name) for edge in self._edges[index])
        return frozenset(parent for parent in found if parent is not None)

    def _find_unknown(self) -> Iterator[tuple[int, Fault]]:
        suggestions = MAX_SUGGESTIONS
        for index, edges in self._edges.items():
            for edge in edges:
                if self._find(edge.name) is not None:
                    continue
                near = get_close_matches(edge.name, self._names, n=1) if suggestions > 0 else []
                suggestions -= 1
                hint = f"did you mean {near[0]}?" if near else "name the custom_id of a line of this file"
                message = f"no line of the file is called {show(edge.name)}"
                yield index, replace(edge.place, code="unknown_dependency", message=message, hint=hint)

    def _find_impossible(self) -> Iterator[tuple[int, Fault]]:
        sorts = {number: dict(sort) for sort, number in self._sorts.items()}
        for index, edges in self._edges.items():
            for edge in edges:
                parent = self._find(edge.name)
                if edge.medium is None or edge.output_index is None or parent is None or parent == index:
                    continue
                made = sorts[self._makes[parent]]
                if not fits(edge.medium, made.get(edge.output_index)):
                    message, hint = _say_impossible(edge.output_index, made, edge.medium, self._numbers[parent])
                    yield index, replace(edge.place, code="impossible_reference", message=message, hint=hint)

    def _find_cycles(self, parents: Mapping[int, Collection[int]], left: set[int]) -> Iterator[tuple[int, Fault]]:
        """Every line of every circle is told: whoever breaks one finds no further one behind it."""
        for cycle in _find_circles(parents, left):
            yield from ((member, self._cycle_fault(member, cycle)) for member in cycle)

    def _cycle_fault(self, member: int, cycle: list[int]) -> Fault:
        lines = [str(self._numbers[index]) for index in cycle]
        shown = ", ".join(lines[:10]) + (", ..." if len(lines) > 10 else "")
        if len(cycle) == 1:
            message = "the line depends on itself"
        else:
            message = f"the lines {shown} depend on each other in a circle"
        return replace(self._place_of(member, cycle), code="dependency_cycle", message=message, hint="break the circle")

    def _place_of(self, index: int, parents: Collection[int]) -> Fault:
        """Return where a line first names one of these."""
        return next(edge.place for edge in self._edges[index] if self._find(edge.name) in parents)

    def _find_deep(self, depths: Mapping[int, int]) -> Iterator[tuple[int, Fault]]:
        for index, depth in sorted(depths.items()):
            if depth == MAX_DEPTH + 1:
                message = f"the line ends a chain of more than {MAX_DEPTH} lines that depend on each other"
                place = self._edges[index][0].place
                yield index, replace(place, code="dependency_too_deep", message=message, hint="split the chain")

    def _find_longest(self, parents: Mapping[int, Collection[int]], order: Iterable[int]) -> float:
        """Return the seconds of the slowest chain; `order` holds each line behind those that it depends on."""
        ends: dict[int, float] = {}
        for index in order:
            begin = max((ends.get(parent, self._seconds[parent]) for parent in parents[index]), default=0.0)
            ends[index] = begin + self._seconds[index]
        return max(ends.values(), default=0.0)

    def _identify(self, order: list[int]) -> dict[int, str]:
        """A line that uses what another makes is another request when that one is."""
        found: dict[int, str] = {}
        for index in order:
            used = {edge.name for edge in self._edges.get(index, ()) if edge.output_index is not None}
            if not used:
                continue
            digest = hashlib.sha256(self._hash_of(index))
            for name in sorted(used):
                parent = self._find(name)
                theirs = b"" if parent is None else bytes.fromhex(found.get(parent) or self._hash_of(parent).hex())
                digest.update(f"{len(name)}:{name}".encode() + theirs)
            found[index] = digest.hexdigest()
        return found

    def _hash_of(self, index: int) -> bytes:
        return bytes(self._hashes[SHA_BYTES * index : SHA_BYTES * (index + 1)])


def _edges_of(line: ReadLine, request: Request) -> Iterator[Edge]:
    """Yield the names of `depends_on`, then the references in their slots' order, each with its place in the file."""
    named = [(name, "depends_on" if request.is_one_name else f"depends_on.{n}") for n, name in enumerate(request.named)]
    used = [(slot, found, f"body.{param_of(slot)}") for slot, found in find_references(request.kind, request.body)]
    params = [param for _, param in named] + [param for _, _, param in used]
    named_place = [Fault("", param, "", custom_id=line.custom_id) for param in params]
    places = iter(line.also(named_place).faults[-len(params) :])
    for name, _ in named:
        yield Edge(name, next(places))
    for slot, found, _ in used:
        yield Edge(found.name, next(places), found.index, slot.medium)


def _say_impossible(index: int, made: Mapping[int, Role], medium: Medium, line: int) -> tuple[str, str | None]:
    role = made.get(index)
    if role is None:
        best = ", ".join(f"outputs[{number}] ({each})" for number, each in sorted(made.items()))
        return f"line {line} makes no outputs[{index}]", f"it makes {best}" if best else None
    what = role.replace("_", " ")
    article = "an" if what[0] in "aeiou" else "a"
    return f"outputs[{index}] of line {line} is {article} {what}; {medium} data belongs here", None


def _sort(parents: Mapping[int, Collection[int]]) -> tuple[list[int], dict[int, int]]:
    """Return the dependent lines, each behind those it depends on, and how many links lead to each; those in a circle
    and those behind it are in neither.
    """
    missing = {index: sum(parent in parents for parent in found) for index, found in parents.items()}
    children = _children_of(parents)
    ready = deque(index for index, count in missing.items() if count == 0)
    order: list[int] = []
    depths: dict[int, int] = {}
    while ready:
        index = ready.popleft()
        order.append(index)
        depths[index] = 1 + max((depths.get(parent, 0) for parent in parents[index]), default=0)
        for child in children[index]:
            missing[child] -= 1
            if missing[child] == 0:
                ready.append(child)
    return order, depths


def _find_circles(parents: Mapping[int, Collection[int]], left: Collection[int]) -> list[list[int]]:
    """Return the groups of lines that lead to each other, in the file's order. `left` are those that could not be
    ordered: of what only hangs on a circle no way leads back, so that it is a group of its own and left out.
    """
    behind = _children_of({index: parents[index] for index in left})
    seen: set[int] = set()
    circles: list[list[int]] = []
    for start in reversed(_walk(left, {index: [p for p in parents[index] if p in left] for index in left})):
        if start in seen:
            continue
        group = _reach(start, behind, seen)
        if len(group) > 1 or start in parents[start]:
            circles.append(sorted(group))
    return sorted(circles)


def _walk(starts: Iterable[int], ways: Mapping[int, list[int]]) -> list[int]:
    """Return everything, each behind all that it leads to, circles apart (a search in depth, without recursion)."""
    done: list[int] = []
    seen: set[int] = set()
    for start in sorted(starts):
        path = [(start, iter(ways[start]))] if start not in seen else []
        seen.add(start)
        while path:
            ahead = path[-1][1]
            following = next((each for each in ahead if each not in seen), None)
            if following is None:
                done.append(path.pop()[0])
            else:
                seen.add(following)
                path.append((following, iter(ways[following])))
    return done


def _reach(start: int, ways: Mapping[int, list[int]], seen: set[int]) -> list[int]:
    """Return what can be reached and was not seen, and mark it seen."""
    seen.add(start)
    found = [start]
    for index in found:
        fresh = [each for each in ways.get(index, ()) if each not in seen]
        seen.update(fresh)
        found += fresh
    return found


def _find_orphans(parents: Mapping[int, Collection[int]], bad: Collection[int]) -> set[int]:
    children, found = _children_of(parents), set[int]()
    ahead = deque(bad)
    while ahead:
        for child in children.get(ahead.popleft(), ()):
            if child not in found and child not in bad:
                found.add(child)
                ahead.append(child)
    return found


def _children_of(parents: Mapping[int, Collection[int]]) -> Mapping[int, list[int]]:
    children: defaultdict[int, list[int]] = defaultdict(list)
    for index, found in parents.items():
        for parent in found:
            children[parent].append(index)
    return children
