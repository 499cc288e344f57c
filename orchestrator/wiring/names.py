"""What this installation and this host are called."""

from __future__ import annotations

import socket

DISTRIBUTION = "media-orchestrator"


def host_name() -> str:
    """Return what this host is called in the names of processes and of its sweeps."""
    return socket.gethostname()
