"""A CSV job file (RFC 4180, comma, a header row) -> the same objects that JSONL lines hold (surfaces section 3)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from orchestrator.domain.errors import Fault
from orchestrator.domain.kind import CellType, Kind
from orchestrator.services.jobfile.fields import show
from orchestrator.services.jobfile.lines import MAX_LINE_BYTES, RawLine, split_lines
from orchestrator.services.jobfile.places import KnownPlaces, Place
from orchestrator.services.jobfile.request import ReadLine, decode_line, make_param, read_value
from orchestrator.services.jobfile.strictjson import MAX_INTEGER, Path, read_json

OWN_COLUMNS = ("custom_id", "method", "url", "kind", "priority", "not_before", "webhook", "depends_on")
TAG = "tag."
_CELL = re.compile(r'"((?:[^"]|"")*+)"(?=,|\Z)|([^",]*+)(?=,|\Z)')
_QUOTED = re.compile(r'"(?:[^"]|"")*+("?)')
_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]{0,18})", re.ASCII)
_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]{0,18})\.[0-9]{1,18}", re.ASCII)


@dataclass(frozen=True)
class Record:
    """The physical lines of one row, joined by LF; `number` is the first."""

    number: int
    data: bytes | None


@dataclass(frozen=True)
class Header:
    """The columns that count: their place in a row, their name and where the value goes."""

    width: int
    columns: Mapping[int, tuple[str, Path, CellType]]


@dataclass(frozen=True)
class Row:
    """One row of the table, and the header that says what its cells mean."""

    record: Record
    header: Header

    @property
    def number(self) -> int:
        """The line on which it begins."""
        return self.record.number

    @property
    def content(self) -> bytes:
        """Its bytes. The header is the file's; another header is another reading, so its width and names count."""
        names = ",".join(name for name, _, _ in self.header.columns.values())
        return names.encode() + b"\n" + (self.record.data or b"")

    def read(self, kinds: Mapping[str, Kind], *, allow_unknown_model: bool) -> ReadLine:
        """Return the request of the row, its cells typed by the fields of the kinds."""
        text, fault = decode_line(RawLine(self.number, self.record.data))
        if fault:
            return ReadLine(self.number, None, (_of_lines(fault, text, self.record),))
        cells = split_cells(text)
        if isinstance(cells, int):
            return ReadLine(self.number, None, (_stray_quote(text, cells, self.number),))
        if len(cells) != self.header.width:
            return ReadLine(self.number, None, (_wrong_width(len(cells), self.header, self.number),))
        value, by_path, problems = _assemble(text, cells, self.header, self.number)
        places = KnownPlaces(by_path)
        line = read_value(self.number, value, places, kinds, allow_unknown_model=allow_unknown_model)
        return line.also(problems) if problems else line


def read_rows(chunks: Iterable[bytes], kinds: Mapping[str, Kind]) -> Iterator[Row | Fault]:
    """Yield the rows below the header, empty ones left out, and the faults of the table as a whole."""
    header: Header | None = None
    for record in _join_lines(split_lines(chunks)):
        if isinstance(record, Fault):
            yield record
            return
        if record.data is not None and not record.data.strip(b", \t\n"):
            continue
        if header is not None:
            yield Row(record, header)
            continue
        header, faults = _read_header(record, kinds)
        yield from faults
        if header is None:
            return


def split_cells(text: str) -> list[tuple[int, str]] | int:
    """Return (offset, value) of each cell, or the offset of a quote that stands where none may."""
    if '"' not in text:
        cells, offset = [], 0
        for value in text.split(","):
            cells.append((offset, value))
            offset += len(value) + 1
        return cells
    cells, position = [], 0
    while True:
        found = _CELL.match(text, position)
        if found is None:
            return _find_quote(text, position)
        quoted = found.group(1)
        cells.append((position, quoted.replace('""', '"') if quoted is not None else found.group(2)))
        position = found.end() + 1
        if position > len(text):
            return cells


def _join_lines(lines: Iterable[RawLine]) -> Iterator[Record | Fault]:
    """Join the physical lines of a quoted cell. A row is whole when its quotes are even in number."""
    first, parts, size, quotes = 0, list[bytes](), 0, 0
    for raw in lines:
        if raw.data is None and not parts:
            yield Record(raw.number, None)
            continue
        data = raw.data or b""
        if not parts:
            first = raw.number
        parts.append(data)
        size += len(data) + 1
        quotes += data.count(b'"')
        if raw.data is None or size > MAX_LINE_BYTES + 1:
            yield _unclosed(first, "the row is over 1 MiB")
            return
        if quotes % 2 and not _has_stray(parts):
            continue
        yield Record(first, b"\n".join(parts))
        parts, size, quotes = [], 0, 0
    if parts:
        yield _unclosed(first, "the file ends before")


def _has_stray(parts: Sequence[bytes]) -> bool:
    """A quote inside an unquoted cell of the first line opens nothing: 5" is a fault of its line alone."""
    if len(parts) > 1:
        return False
    text = parts[0].decode("utf-8", "replace")
    at = split_cells(text)
    return isinstance(at, int) and not _opens(text, at)


def _find_quote(text: str, position: int) -> int:
    """Return the offset of the quote that spoils the cell at `position`: the one that opens it when it has no end."""
    opened = _QUOTED.match(text, position)
    if opened is None:
        return text.index('"', position)
    return opened.end() - 1 if opened.group(1) else position


def _opens(text: str, at: int) -> bool:
    """Say whether the quote at `at` opens a cell that goes on behind the text."""
    found = _QUOTED.match(text, at)
    return found is not None and not found.group(1) and text[:at].endswith(("", ",")[at > 0])


def _unclosed(line: int, what: str) -> Fault:
    message = f"a quoted cell in the row of line {line} is not closed in time: {what}; nothing behind it is read"
    return Fault("unclosed_quote", None, message, 'close the cell; a quote inside one is written ""', line=line)


def _stray_quote(text: str, offset: int, number: int) -> Fault:
    line, column = _position(text, offset, number)
    message = "a quote stands inside a cell that is not quoted, or behind one that is"
    return Fault("invalid_csv", None, message, 'quote the whole cell, and write "" for "', line=line, column=column)


def _wrong_width(count: int, header: Header, number: int) -> Fault:
    code = "extra_cells" if count > header.width else "missing_cells"
    message = f"the row has {count} cells, the header has {header.width}"
    hint = "quote cells that hold commas" if count > header.width else "an empty cell still needs its comma"
    return Fault(code, None, message, hint, line=number)


def _of_lines(fault: Fault, text: str, record: Record) -> Fault:
    """A row over several lines has no one column for a byte that is no text."""
    is_long = record.data is not None and b"\n" in record.data
    return Fault(fault.code, fault.param, fault.message, fault.hint, fault.line, None if is_long else fault.column)


def _position(text: str, offset: int, number: int) -> tuple[int, int]:
    """Return the physical line and the character column of an offset into a row's text."""
    before = text[:offset]
    return number + before.count("\n"), offset - (before.rfind("\n") + 1) + 1


def _assemble(
    text: str, cells: Sequence[tuple[int, str]], header: Header, number: int
) -> tuple[dict[str, object], dict[Path, Place], list[Fault]]:
    value: dict[str, object] = {"body": {}}
    places: dict[Path, Place] = {}
    problems: list[Fault] = []
    for index, (_, path, kind) in header.columns.items():
        offset, cell = cells[index]
        places[path] = Place(*(_position(text, offset, number) if "\n" in text else (number, offset + 1)))
        if cell == "":
            continue
        typed, faults = read_cell(cell, kind, path)
        problems += faults
        target = value
        for step in path[:-1]:
            inner = target.setdefault(str(step), {})
            assert isinstance(inner, dict)
            target = inner
        target[str(path[-1])] = typed
    return value, places, problems


def read_cell(cell: str, kind: CellType, path: Path) -> tuple[object, list[Fault]]:
    """Return a cell's value. What does not fit its field stays text, so that the field's own rule says what is wrong."""
    if kind is CellType.FLAG:
        return {"true": True, "false": False}.get(cell.strip().lower(), cell), []
    if kind is CellType.NUMBER:
        return _read_number(cell.strip(), cell), []
    # Two braces begin no JSON: they begin a reference to what another line makes, which is the whole value.
    if kind is CellType.JSON and cell.lstrip()[:1] in ("[", "{") and not cell.lstrip().startswith("{{"):
        value, problems = read_json(cell)
        param = make_param(path)
        return value, [Fault(p.code, param, f"in this cell: {p.message}", p.hint) for p in problems]
    return cell, []


def _read_number(text: str, cell: str) -> object:
    if _WHOLE.fullmatch(text) and abs(int(text)) <= MAX_INTEGER and text != "-0":
        return int(text)
    return float(text) if _DECIMAL.fullmatch(text) else cell


def _read_header(record: Record, kinds: Mapping[str, Kind]) -> tuple[Header | None, list[Fault]]:
    text, fault = decode_line(RawLine(record.number, record.data))
    if fault:
        return None, [fault]
    types = {name: kind for each in kinds.values() for name, kind in each.field_types().items()}
    known = (*OWN_COLUMNS, *types)
    if wrong := _find_delimiter(text, known):
        message = f"the columns are separated by {wrong}"
        hint = "save the file with commas between the cells (CSV, comma separated)"
        return None, [Fault("wrong_delimiter", None, message, hint, line=record.number)]
    cells = split_cells(text)
    if isinstance(cells, int):
        return None, [_stray_quote(text, cells, record.number)]
    return _read_columns(text, cells, types, record.number)


def _read_columns(
    text: str, cells: Sequence[tuple[int, str]], types: Mapping[str, CellType], number: int
) -> tuple[Header | None, list[Fault]]:
    columns: dict[int, tuple[str, Path, CellType]] = {}
    faults: list[Fault] = []
    seen: dict[str, int] = {}
    for index, (offset, cell) in enumerate(cells):
        name = cell.strip()
        line, column = _position(text, offset, number)
        if name in seen:
            message = f"the column {show(name)} stands twice"
            faults.append(Fault("duplicate_column", None, message, "keep one of them", line=line, column=column))
        elif (path := _path_of_column(name, types)) is None:
            faults.append(_unknown_column(name, types, line, column))
        else:
            columns[index] = (name, path, _type_of_column(name, types))
        seen[name] = index
    missing = _find_missing(seen, number)
    return (None if missing else Header(len(cells), columns)), [*faults, *missing]


def _path_of_column(name: str, types: Mapping[str, CellType]) -> Path | None:
    if name in OWN_COLUMNS:
        return (name,)
    if name.startswith(TAG) and len(name) > len(TAG):
        return ("tags", name.removeprefix(TAG))
    return ("body", name) if name in types else None


def _type_of_column(name: str, types: Mapping[str, CellType]) -> CellType:
    if name == "priority":
        return CellType.NUMBER
    return CellType.JSON if name == "depends_on" else types.get(name, CellType.TEXT)


def _unknown_column(name: str, types: Mapping[str, CellType], line: int, column: int) -> Fault:
    known = (*OWN_COLUMNS, *types)
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"columns are {', '.join(known)} and tag.NAME"
    what = f"there is no column {show(name)}" if name else "a column has no name"
    return Fault("unknown_column", None, what, hint, line=line, column=column)


def _find_missing(seen: Mapping[str, int], number: int) -> list[Fault]:
    """What every row lacks is said once."""
    missing = [] if "custom_id" in seen else ["custom_id"]
    if "kind" not in seen and "url" not in seen:
        missing.append("kind")
    hint = "the first row names the columns: custom_id,kind,model,prompt,..."
    return [Fault("missing_column", None, f"there is no column {name}", hint, line=number) for name in missing]


def _find_delimiter(text: str, known: Sequence[str]) -> str | None:
    """Tell a file of another separator, to say so: its header holds known names only when it is split there."""
    if any(cell.strip(' "') in known for cell in text.split(",")):
        return None
    for sign, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if any(cell.strip(' "') in known for cell in text.split(sign)):
            return name
    return None
