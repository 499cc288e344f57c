"""Input pictures: where they stand in a body and what their bytes must be (zai-api.md 3.2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from orchestrator.domain.errors import Fault
from orchestrator.domain.job import Json
from orchestrator.domain.kind import InputFacts, InputSlot, Medium
from orchestrator.zai.bodies import is_filled_text
from orchestrator.zai.fields import listing, shown, wrong_type

MIB = 1024 * 1024
A_PICTURE = "a link, a path, a data: URI or base64 text"


@dataclass(frozen=True)
class Pictures:
    """How many pictures a field takes and in which form."""

    at_least: int
    at_most: int
    may_be_text: bool
    may_be_list: bool

    def faults(self, param: str, value: object) -> Iterator[Fault]:
        """Refuse the wrong form, the wrong number and items that are no text."""
        if isinstance(value, str) and self.may_be_text:
            if not value.strip():
                yield wrong_type(param, value, A_PICTURE)
        elif isinstance(value, list | tuple) and self.may_be_list:
            yield from self._list_faults(param, value)
        elif isinstance(value, list | tuple):
            hint = f"write the picture itself, not a list: {shown(value[0])}" if len(value) == 1 else None
            yield wrong_type(param, value, f"one picture: {A_PICTURE}", hint)
        elif isinstance(value, str):
            yield wrong_type(param, value, f"a list of {self._count()}, each {A_PICTURE}", f"[{shown(value)}]")
        else:
            yield wrong_type(param, value, A_PICTURE)

    def _list_faults(self, param: str, value: Sequence[object]) -> Iterator[Fault]:
        if not self.at_least <= len(value) <= self.at_most:
            message = f"{param} holds {len(value)} pictures; this model takes {self._count()}"
            yield Fault(f"invalid_{param}", param, message)
        for index, item in enumerate(value[: self.at_most]):
            if not is_filled_text(item):
                yield wrong_type(f"{param}.{index}", item, A_PICTURE)

    def _count(self) -> str:
        if self.at_least == self.at_most:
            return f"{self.at_most} picture{'s' if self.at_most > 1 else ''}"
        return f"{self.at_least} to {self.at_most} pictures"


@dataclass(frozen=True)
class PictureLimits:
    """What the bytes of one picture must be. `widest` is the longest allowed ratio of the sides, either way."""

    content_types: tuple[str, ...]
    most_bytes: int
    widest: float | None = None
    shortest_side: int | None = None

    def faults(self, param: str, facts: InputFacts) -> Iterator[Fault]:
        """Yield what is wrong with the measured bytes; sides that could not be measured are the provider's to judge."""
        if facts.byte_count == 0:
            yield Fault("invalid_input", param, f"{param} is an empty file")
            return
        if facts.content_type not in self.content_types:
            allowed = listing(name.removeprefix("image/") for name in self.content_types)
            found = facts.content_type or "of a type that we do not recognise"
            yield Fault(
                "unsupported_format", param, f"{param} is {found}; allowed: {allowed}", f"convert it to {allowed}"
            )
        if facts.byte_count > self.most_bytes:
            message = f"{param} has {facts.byte_count:,} bytes; at most {self.most_bytes:,} are allowed"
            yield Fault("input_too_large", param, message, "scale it down or compress it")
        if facts.width is not None and facts.height is not None:
            yield from self._side_faults(param, facts.width, facts.height)

    def _side_faults(self, param: str, width: int, height: int) -> Iterator[Fault]:
        if min(width, height) < 1:
            yield Fault("invalid_input", param, f"{param} is {width}x{height} pixels")
            return
        if self.widest is not None and max(width / height, height / width) > self.widest:
            message = f"{param} is {width}x{height}; the sides must be within 1:{self.widest:g} and {self.widest:g}:1"
            yield Fault("invalid_aspect_ratio", param, message, "crop it")
        if self.shortest_side is not None and min(width, height) < self.shortest_side:
            side = self.shortest_side
            yield Fault("input_too_small", param, f"{param} is {width}x{height}; at least {side}x{side} is needed")


def picture_slots(body: Json, name: str) -> list[InputSlot]:
    """Return the places of one field that hold pictures, whether it is one or a list of them."""
    value = body.get(name)
    if isinstance(value, str):
        return [InputSlot((name,), value, Medium.IMAGE, may_be_link=True)] if value.strip() else []
    if not isinstance(value, list | tuple):
        return []
    return [
        InputSlot((name, index), item, Medium.IMAGE, may_be_link=True)
        for index, item in enumerate(value)
        if isinstance(item, str) and item.strip()
    ]


def area_faults(facts: Sequence[tuple[InputSlot, InputFacts]], *, least: float, most: float) -> list[Fault]:
    """Return a fault when the areas of the first two pictures are too far apart."""
    areas = [fact.width * fact.height for _, fact in facts if fact.width and fact.height]
    if len(areas) < 2 or least <= areas[0] / areas[1] <= most:
        return []
    param = param_of(facts[0][0]).split(".")[0]
    ratio = areas[0] / areas[1]
    message = f"the two frames differ in area by a ratio of {ratio:.2f}; {least:g} to {most:g} is allowed"
    return [Fault("invalid_frames", param, message, "scale one of them to the size of the other")]


def param_of(slot: InputSlot) -> str:
    """Return a slot's path as faults name it."""
    return ".".join(str(step) for step in slot.path)
