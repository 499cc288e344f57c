"""Checks of single values given by an operator: options, script, control calls. Complaints name the field."""


class SandboxConfigError(Exception):
    """A value given to the sandbox cannot be used; the message begins with the name of the field."""


def number(where: str, value: object, *, least: float | None = None, most: float | None = None) -> float:
    """The value as a number within the bounds."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value or abs(value) == float("inf"):
        raise SandboxConfigError(f"{where}: a number is needed, not {value!r}")
    if least is not None and value < least:
        raise SandboxConfigError(f"{where}: at least {least} is needed, not {value}")
    if most is not None and value > most:
        raise SandboxConfigError(f"{where}: at most {most} is allowed, not {value}")
    return value


def whole(where: str, value: object, *, least: int | None = None, most: int | None = None) -> int:
    """The value as a whole number within the bounds."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise SandboxConfigError(f"{where}: a whole number is needed, not {value!r}")
    return int(number(where, value, least=least, most=most))
