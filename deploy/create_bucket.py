"""create_bucket.py ENDPOINT BUCKET: make the archive's bucket unless it is there. For any S3-compatible store."""

from __future__ import annotations

import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

OURS_ALREADY = frozenset({"BucketAlreadyOwnedByYou", "BucketAlreadyExists"})


def create_bucket(endpoint_url: str, bucket: str) -> str:
    """Make the bucket with the credentials of the environment; return what was done.

    A bucket of that name that is there but not ours is found out by the workers' own probe, not here.
    """
    config = Config(
        signature_version="s3v4",
        s3={"addressing_style": "path"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    client = boto3.client("s3", endpoint_url=endpoint_url, region_name="us-east-1", config=config)
    try:
        client.create_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] not in OURS_ALREADY:
            raise
        return "was there"
    return "created"


if __name__ == "__main__":
    print(f"bucket {sys.argv[2]}: {create_bucket(sys.argv[1], sys.argv[2])}")  # noqa: T201 - what the log shows
