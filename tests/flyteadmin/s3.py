"""A bucket of a real S3 server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import boto3
from botocore.client import Config
from botocore.exceptions import ClientError

from tests.cluster.propeller import Bucket as Place
from tests.flyteadmin.bucket import METADATA, Object

_METADATA_KEY = METADATA.removeprefix("x-amz-meta-")


@dataclass(frozen=True)
class S3Bucket:
    """Signed URLs, and what came of them, of a bucket as tests/cluster makes one."""

    name: str
    client: Any

    def signed_url(self, key: str, content_md5: str, seconds: float, *, metadata: bool) -> str:
        parameters: dict[str, Any] = {"Bucket": self.name, "Key": key}
        if content_md5:
            parameters["ContentMD5"] = content_md5
        if metadata:
            parameters["Metadata"] = {_METADATA_KEY: content_md5}
        url: str = self.client.generate_presigned_url(
            "put_object", Params=parameters, ExpiresIn=max(1, int(seconds))
        )
        return url

    def head(self, key: str) -> Object | None:
        try:
            found = self.client.get_object(Bucket=self.name, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] in ("404", "NoSuchKey"):
                return None
            raise
        digest = found["Metadata"].get(_METADATA_KEY.lower(), "")
        return Object(found["Body"].read(), digest)


def s3_bucket(place: Place) -> S3Bucket:
    """Open a bucket."""
    client = boto3.client(
        "s3",
        endpoint_url=place.endpoint,
        aws_access_key_id=place.access_key,
        aws_secret_access_key=place.secret_key,
        region_name="us-east-1",
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )
    return S3Bucket(place.name, client)
