"""Open a file that a request names, below allowed folders only, whatever the path tries (row H14, promise 12).

A path is settled by its letters first; what is then opened is walked component by component from the folder's own
descriptor without following a symlink, and nothing but a regular file is opened at all.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

MAX_PATH = 4096
_SYSTEM_FOLDERS = ("/proc", "/sys", "/dev")
"""Never read, even when a root lies above them: their files are devices and secrets of processes."""
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class PathRefused(Exception):
    """The path may not be read, or there is nothing to read. `code` is the fault's."""

    def __init__(self, code: str, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


@dataclass(frozen=True)
class Roots:
    """Where files may be read: below `base` (relative paths start there), below `folders`, and `typed` paths as they
    stand, which a person wrote on the command line. Folders are kept as spelled and as they really lie.
    """

    base: Path | None
    folders: tuple[tuple[Path, Path], ...] = ()
    typed: frozenset[str] = frozenset()

    @classmethod
    def make(cls, base: Path | None, folders: Sequence[Path] = (), typed: Sequence[str] = ()) -> Roots:
        """Return roots for folders that may be relative or symbolic links themselves: their owner named them."""
        every = ([base] if base is not None else []) + list(folders)
        pairs = tuple((folder.absolute(), folder.resolve()) for folder in every)
        return cls(base.resolve() if base is not None else None, pairs, frozenset(typed))


def open_input(text: str, roots: Roots) -> tuple[BinaryIO, int]:
    """Return (the regular file that `text` names, opened for reading; its size). Raises PathRefused."""
    _refuse_spelling(text)
    folder, parts = _settle(text, roots)
    whole = str(folder.joinpath(*parts))
    if any(whole == name or whole.startswith(f"{name}/") for name in _SYSTEM_FOLDERS):
        raise PathRefused("path_refused", "files of the system are never read")
    try:
        return _open_below(folder, parts)
    except (OSError, ValueError) as error:
        raise _explain(error) from error


def _refuse_spelling(text: str) -> None:
    if "\0" in text:
        raise PathRefused("path_refused", "the path holds a NUL byte")
    if not text or len(text.encode("utf-8", "replace")) > MAX_PATH:
        raise PathRefused("path_refused", f"a path has 1-{MAX_PATH} bytes")
    if text.startswith(("\\\\", "//")) or _DRIVE.match(text):
        raise PathRefused("path_refused", "network and drive paths are not read", "write a path below the job file")
    scheme = _SCHEME.match(text)
    if scheme and (text[scheme.end() :].startswith("/") or scheme.group().lower() == "file:"):
        raise PathRefused("path_refused", f"{scheme.group()} is not read", "write a plain path, or an http(s) link")


def _settle(text: str, roots: Roots) -> tuple[Path, tuple[str, ...]]:
    """Return (real folder to walk from, components below it) by letters alone: `..` is folded, never followed."""
    if text in roots.typed:
        real = Path(text).resolve()
        return real.parent, (real.name,)
    if roots.base is None and not text.startswith("/"):
        raise PathRefused("path_outside", "a relative path has no folder here", "name the file on the command line")
    whole = Path(os.path.normpath((roots.base or Path("/")) / text))
    for spelled, real in roots.folders:
        for folder in (spelled, real):
            if whole != folder and whole.is_relative_to(folder):
                return real, whole.relative_to(folder).parts
    hint = "move it there, or list its folder in FILE_ROOTS"
    raise PathRefused("path_outside", "the path lies outside the job file's folder and the allowed folders", hint)


def _open_below(folder: Path, parts: tuple[str, ...]) -> tuple[BinaryIO, int]:
    at = os.open(folder, _DIRECTORY)
    try:
        for name in parts[:-1]:
            below = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
            os.close(at)
            at = below
        return _open_regular(parts[-1], at)
    finally:
        os.close(at)


def _open_regular(name: str, folder: int) -> tuple[BinaryIO, int]:
    """Look before opening: opening a FIFO or a device already does something. Look again at what was opened."""
    seen = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if stat.S_ISLNK(seen.st_mode):
        raise PathRefused("path_refused", "the path is a symbolic link", "name the file itself")
    if not stat.S_ISREG(seen.st_mode):
        raise PathRefused("path_refused", "the path is not a regular file")
    file = os.open(name, _FILE, dir_fd=folder)
    opened = os.fstat(file)
    if not stat.S_ISREG(opened.st_mode) or (opened.st_dev, opened.st_ino) != (seen.st_dev, seen.st_ino):
        os.close(file)
        raise PathRefused("path_refused", "the path changed while it was opened")
    return os.fdopen(file, "rb"), opened.st_size


def _explain(error: OSError | ValueError) -> PathRefused:
    if isinstance(error, FileNotFoundError):
        return PathRefused("input_missing", "there is no such file")
    if isinstance(error, PermissionError):
        return PathRefused("input_unreadable", "the file may not be read by this user")
    if isinstance(error, NotADirectoryError):  # also what O_NOFOLLOW with O_DIRECTORY says of a symlink
        return PathRefused("path_refused", "a folder in the path is a symbolic link or no folder")
    return PathRefused("input_unreadable", f"the file cannot be read: {getattr(error, 'strerror', error)}")
