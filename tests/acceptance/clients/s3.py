"""Runs in a pod before the lines of a test: an S3 client with what the application's Secret holds."""

import json  # noqa: F401 - for the lines of the test
from pathlib import Path

import boto3  # ty: ignore[import-not-found] - in the pod's image
from botocore.config import Config  # ty: ignore[import-not-found]
from botocore.exceptions import ClientError  # ty: ignore[import-not-found]

LONG = {"Mode": "GOVERNANCE", "RetainUntilDate": "2030-01-01T00:00:00Z"}
OFF = {"Status": "Suspended"}


def client(secret):
    def get(key):
        return Path("/access", secret, key).read_text()

    return boto3.client(
        "s3",
        endpoint_url=get("endpoint"),
        verify=f"/access/{secret}/ca.crt",
        region_name=get("region"),
        aws_access_key_id=get("access_key_id"),
        aws_secret_access_key=get("secret_access_key"),
        config=Config(s3={"addressing_style": "path"}, connect_timeout=5, retries={"total_max_attempts": 2}),
    )


def code(call, **given):
    """Return `ok`, or the error's code."""
    try:
        call(**given)
    except ClientError as error:
        return error.response["Error"]["Code"]
    except Exception as error:
        return type(error).__name__
    return "ok"
