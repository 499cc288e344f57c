"""What the operator may say about reaching an S3-compatible store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MIB = 1 << 20


@dataclass(frozen=True)
class StoreOptions:
    """Settings of every S3 archive of a process; a local directory needs none.

    `public_endpoint_url` is what signed links name when people reach the store by another address than we do.
    Credentials come from the standard AWS environment and files; the instance's own role only with
    `use_instance_role`, because asking for it means calling link-local addresses.
    """

    endpoint_url: str | None = None
    public_endpoint_url: str | None = None
    region: str | None = None
    use_instance_role: bool = False
    proxy: str | None = None
    ca_bundle: Path | None = None
    multipart_threshold: int = 1024 * MIB
    """Up to here one PUT (S3 allows five times as much): a single request is whole or nothing, nothing has to be swept
    after it, and a store that verifies SHA-256 then knows that of the whole file.
    """
    part_bytes: int = 64 * MIB
    max_connections: int = 32
    """Kept between calls; more may be open at once."""
    connect_seconds: float = 10.0
    read_seconds: float = 60.0
