"""The key of an installation that nobody configured: made once, kept beside its database, readable by its owner only."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from orchestrator.domain.errors import ConfigError

SETTING = "ORCHESTRATOR_SECRET_KEY"
KEY_BYTES = 32


def read_or_make_key(path: Path) -> str:
    """Return the key in `path`, making it (mode 0600) when there is none. Processes that start together agree on one.

    Raises ConfigError for a file that others may read, a link, or one that cannot be read or written.
    """
    try:
        if not path.is_symlink() and not path.exists():
            _make(path)
        return _read(path)
    except OSError as error:
        raise ConfigError(SETTING, f"{path} cannot be used: {error.strerror}; or set this variable") from error


def _read(path: Path) -> str:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(handle, encoding="ascii", errors="replace") as file:
        if stat.S_IMODE(os.fstat(handle).st_mode) & 0o077:
            raise ConfigError(SETTING, f"others may use {path}, which holds this key; chmod 600 it")
        key = file.read(1024).strip()
    if len(key) < KEY_BYTES:
        raise ConfigError(SETTING, f"{path} holds no key: it was cut or emptied; put it back from a backup")
    return key


def _make(path: Path) -> None:
    """Write it whole under another name and link it: whoever looks finds all of it, and the first one stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(KEY_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return
    finally:
        draft.unlink()
