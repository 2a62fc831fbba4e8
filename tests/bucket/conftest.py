"""A real S3 server in a thread, with a bucket of its own for every test, and two machines that share it."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from hephaestus_dag.artifacts import Store
from hephaestus_dag.store_location import store_folder

KEYS = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    """The server's address; ``HEPHAESTUS_TEST_S3`` names another server that is running, with the keys above."""
    if other := os.environ.get("HEPHAESTUS_TEST_S3"):
        yield other
        return
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture(scope="session")
def s3(endpoint: str) -> Any:
    return boto3.client("s3", endpoint_url=endpoint, **KEYS)


@pytest.fixture
def url(endpoint: str, s3: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    name = f"forge-{tmp_path.parent.name.rpartition('-')[2]}-{tmp_path.name.replace('_', '-').lower()}"[:60].strip("-")
    s3.create_bucket(Bucket=name)
    return f"s3://{name}/team/store"


Machine = Callable[[str], Store]


@pytest.fixture
def machine(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Return the store as a machine of a name sees it: the same URL, a cache of its own."""

    def on(name: str) -> Store:
        monkeypatch.setenv("HEPHAESTUS_CACHE", str(tmp_path / name))
        return Store(store_folder(url))

    return on


@pytest.fixture
def names(url: str, s3: Any) -> Callable[[], list[str]]:
    """Return what lies in the bucket below the prefix."""
    bucket, prefix = url.removeprefix("s3://").split("/", 1)

    def listed() -> list[str]:
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/")
        keys = (each["Key"].removeprefix(f"{prefix}/") for page in pages for each in page.get("Contents", ()))
        return sorted(key for key in keys if key != ".hephaestus-store")

    return listed
