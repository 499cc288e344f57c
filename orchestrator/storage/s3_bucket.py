"""One bucket as a process reaches it: its clients, its connections and what it was found to do, made once."""

from __future__ import annotations

from dataclasses import replace
from threading import Lock, RLock
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from orchestrator.http import store_pool
from orchestrator.storage.options import StoreOptions
from orchestrator.storage.s3_client import make_client, make_session
from orchestrator.storage.s3_errors import translated
from orchestrator.storage.s3_probe import Capabilities, probe
from orchestrator.storage.s3_wire import Wire

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class Bucket:
    """Shared by every archive in the bucket. Opens no connection until one is needed.

    boto3's clients may be shared between threads; making them may not, hence the locks.
    """

    def __init__(self, name: str, options: StoreOptions) -> None:
        self.name = name
        self.options = options
        self._making = RLock()
        self._probing = Lock()
        self._client: S3Client | None = None
        self._signer: S3Client | None = None
        self._wire: Wire | None = None
        self._capabilities: Capabilities | None = None

    @property
    def client(self) -> S3Client:
        """The client of every call that moves no object's bytes."""
        with self._making, translated("open", self.name):
            if self._client is None:
                self._client = make_client(self.options, endpoint_url=self.options.endpoint_url)
            return self._client

    @property
    def signer(self) -> S3Client:
        """The client that signs links, for the address that people use."""
        public = self.options.public_endpoint_url
        if public is None:
            return self.client
        with self._making, translated("open", self.name):
            if self._signer is None:
                self._signer = make_client(self.options, endpoint_url=public)
            return self._signer

    @property
    def wire(self) -> Wire:
        """What moves the bytes."""
        with self._making, translated("open", self.name):
            if self._wire is None:
                self._wire = self._make_wire()
            return self._wire

    @property
    def known_capabilities(self) -> Capabilities | None:
        """What was found so far; asks nobody."""
        return self._capabilities

    def capabilities(self, prefix: str) -> Capabilities:
        """Return what the store was found to do; asks it once per process, below `prefix`, where we may write."""
        client = self.client
        with self._probing:
            if self._capabilities is None:
                self._capabilities = probe(client, self.name, prefix)
            return self._capabilities

    def _make_wire(self) -> Wire:
        if self.options.endpoint_url is None:
            self._follow_region()
        options = self.options
        base_url, region = self._find_address()
        pool = store_pool(
            max_connections=options.max_connections,
            connect_seconds=options.connect_seconds,
            read_seconds=options.read_seconds,
            is_tls=base_url.startswith("https:"),
            proxy=options.proxy,
            ca_bundle=options.ca_bundle,
        )
        return Wire(pool, base_url, region=region, credentials=make_session(options).get_credentials())

    def _follow_region(self) -> None:
        """Ask AWS for the bucket's own region (it says so even where it refuses) and sign for that from now on."""
        try:
            headers = self.client.head_bucket(Bucket=self.name)["ResponseMetadata"]["HTTPHeaders"]
        except ClientError as error:
            headers = error.response["ResponseMetadata"]["HTTPHeaders"]
        region = headers.get("x-amz-bucket-region")
        if region and region != self.client.meta.region_name:
            self.options = replace(self.options, region=region)
            self._client = self._signer = None

    def _find_address(self) -> tuple[str, str]:
        """Return the bucket's URL and the region that signs for it. A custom endpoint has the bucket in its path, AWS
        in the host name - its own regional one, since the global one redirects - where TLS covers that name.
        """
        meta = self.client.meta
        endpoint = meta.endpoint_url.rstrip("/")
        if self.options.endpoint_url is not None or "." in self.name:
            return f"{endpoint}/{self.name}", meta.region_name
        return endpoint.replace("://", f"://{self.name}.", 1), meta.region_name
