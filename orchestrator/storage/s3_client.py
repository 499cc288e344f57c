"""Make the S3 clients: which credentials they may look for, how they address, sign, wait and retry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import boto3
import botocore.session
from botocore.config import Config

from orchestrator.storage.options import StoreOptions

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

LINK_LOCAL_PROVIDERS = ("iam-role", "container-role")
"""Credential providers that call 169.254.169.254 and 169.254.170.2: off unless the operator says otherwise."""
ATTEMPTS = 2
"""One repetition over a broken kept-alive connection; everything longer is the lane's backoff."""
DEFAULT_REGION = "us-east-1"
"""What signatures name when nobody said; stores other than AWS mostly ignore it."""


def make_session(options: StoreOptions) -> boto3.session.Session:
    """Return a session that finds credentials where the operator allows it to look. Not to be shared by threads."""
    core = botocore.session.get_session()
    if not options.use_instance_role:
        resolver = core.get_component("credential_provider")
        for name in LINK_LOCAL_PROVIDERS:
            resolver.remove(name)
    return boto3.session.Session(botocore_session=core)


def make_client(options: StoreOptions, *, endpoint_url: str | None) -> S3Client:
    """Return a client for `endpoint_url` (None: AWS itself). Opens no connection.

    A custom endpoint gets path-style addresses and checksums only where the protocol demands them: stores of older
    make answer 411 or 501 to what boto3 sends by default (E18).
    """
    session = make_session(options)
    return session.client(
        "s3",
        endpoint_url=endpoint_url,
        region_name=options.region or session.region_name or DEFAULT_REGION,
        verify=str(options.ca_bundle) if options.ca_bundle else None,
        config=_config(options, is_custom=endpoint_url is not None),
    )


def _config(options: StoreOptions, *, is_custom: bool) -> Config:
    checksums: Literal["when_required", "when_supported"] = "when_required" if is_custom else "when_supported"
    return Config(  # type: ignore[call-arg]  # the stubs lack ignore_configured_endpoint_urls
        signature_version="s3v4",
        s3={"addressing_style": "path" if is_custom else "auto"},
        request_checksum_calculation=checksums,
        response_checksum_validation=checksums,
        # Not None: None would take HTTP_PROXY from the environment (I12).
        proxies={"http": options.proxy, "https": options.proxy} if options.proxy else {},
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        connect_timeout=options.connect_seconds,
        read_timeout=options.read_seconds,
        max_pool_connections=options.max_connections,
        tcp_keepalive=True,
        ignore_configured_endpoint_urls=True,
        # "auto" would ask the instance's metadata for its region. The stubs take it for a bool.
        defaults_mode="legacy",  # type: ignore[arg-type]
    )
