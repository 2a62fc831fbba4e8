"""A place in object storage: S3, Google Cloud Storage or Azure behind the few calls that a store needs.

Transient errors (lost connections, timeouts, 5xx, throttling) are tried again by the library; what is left is said in words.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hephaestus_dag.manifests import ArtifactError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

PART = 8 << 20
"""Bytes of a part of a large file, up and down; more for files that would have too many parts."""
MOST_PARTS = 9_000
RETRIES = 8
FIRST_PAUSE = timedelta(seconds=1)
"""Before the first retry of a request; later ones are longer, a quarter to half a minute in all: a server may be restarted."""
TIMEOUT = timedelta(minutes=2)
"""For one request, a part."""
_AZURE = "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY"
_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": _AZURE,
    "abfs": _AZURE,
    "abfss": _AZURE,
}
"""Scheme of a URL -> where its credentials come from."""
_URL = re.compile(rf"({'|'.join(_CREDENTIALS)})://[^/?#%\s]+(/(?!\.\.?(/|$))[^/?#%\s]+)*/?")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_REFUSED = re.compile(r"\b40[13] (Forbidden|Unauthorized)|PermissionDenied|Unauthenticated")
_NO_BUCKET = re.compile(r"NoSuchBucket|ContainerNotFound|bucket does not exist")
_REMEDIES = (
    (
        re.compile(r"ExpiredToken|TokenExpired|InvalidToken"),
        "the credentials have expired: set new ones, and run again: what is finished is kept",
    ),
    (re.compile(r"RequestTimeTooSkewed"), "this machine's clock is wrong: set it"),
    (re.compile(r"configured region|AuthorizationHeaderMalformed"), "set AWS_REGION to the region of the bucket"),
    (
        re.compile(r"QuotaExceeded|507 Insufficient"),
        "there is no room left: make some, for instance with `hephaestus prune`, and run again: what is finished is kept",
    ),
)
"""What a server may say -> what to do about it; looked at before its refusals, which some of these are."""
_NO_CREDENTIALS = re.compile(r"169\.254\.(169|170)\.\d+|metadata\.google\.internal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An object, as a listing tells."""

    size: int
    """Bytes."""
    modified: float
    """Seconds since the epoch, by the server's clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """A small object that was read."""

    data: bytes
    version: dict[str, Any]
    """What `Bucket.put` takes to replace exactly this."""
    modified: float


def is_url(location: str) -> bool:
    """Return whether a store's location is one in object storage, and no folder.

    Raises ArtifactError for a URL that no store can have.
    """
    if not re.match(r"\w+://", location):
        return False
    if not _URL.fullmatch(location):
        raise ArtifactError(
            f"the store {location} is neither a folder nor a place in object storage: write s3://bucket/prefix, or gs://, "
            "az://; without spaces, ?, #, % and empty parts"
        )
    return True


class Bucket:
    """Objects below a prefix. Every method raises ArtifactError, in words, when the server cannot be reached or refuses."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        """``s3://bucket/prefix``, without credentials."""
        if not find_spec("obstore"):
            raise ArtifactError(f"the store {self.url} needs obstore, which is not here: pip install 'hephaestus-dag[cloud]'")

    def read(self, name: str) -> Read | None:
        """Return a small object; None when there is none."""
        import obstore

        with self._said("read"):
            try:
                found = obstore.get(self._objects, name)
                data, meta = bytes(found.bytes()), found.meta
            except FileNotFoundError as error:
                if _NO_BUCKET.search(str(error)):
                    raise
                return None
        version = {name: meta.get(name) for name in ("e_tag", "version") if meta.get(name)}
        return Read(data=data, version=version, modified=meta["last_modified"].timestamp())

    def put(self, name: str, data: bytes, replaces: dict[str, Any] | None = None) -> bool:
        """Create a small object, or replace one version of it; return False when another was there or came first.

        The server decides: of several that try at once, one succeeds.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        with self._said("write"):
            try:
                obstore.put(self._objects, name, data, mode=replaces or "create")  # pyright: ignore[reportArgumentType]
            except (AlreadyExistsError, PreconditionError):
                return False
            except FileNotFoundError as error:  # what was to be replaced went away
                if replaces is None or _NO_BUCKET.search(str(error)):
                    raise
                return False
        return True

    def check_conditions(self) -> None:
        """Raise ArtifactError unless this process may write here, and a second creation of one object is refused."""
        name = ".hephaestus-store"
        if self.put(name, b"the store of hephaestus-dag\n") and self.put(name, b"again\n"):
            raise ArtifactError(
                f"the server of {self.url} creates an object that is there already, so two machines could spoil each other's "
                "artifacts; use a server that knows If-None-Match (S3, MinIO, Ceph, R2, GCS, Azure, in recent versions)"
            )

    def upload(self, file: Path, name: str) -> None:
        """Store a file, in parts side by side where it is large; it appears as a whole or not at all."""
        import obstore

        part = max(PART, file.stat().st_size // MOST_PARTS)
        with self._said("write"):
            obstore.put(self._objects, name, file, chunk_size=part, max_concurrency=4)

    def read_part(self, name: str, start: int, length: int) -> memoryview:
        """Return some bytes of an object. Raises FileNotFoundError when it went away."""
        import obstore

        with self._said("read", passing=FileNotFoundError):
            return memoryview(obstore.get_range(self._objects, name, start=start, length=length))

    def sha256(self, name: str, seen: Callable[[int], None] = lambda _: None) -> str:
        """Return the SHA-256 of an object as hex, as `manifests.sha256` does. Raises FileNotFoundError when it went away."""
        import obstore

        digest = hashlib.sha256()
        with self._said("read", passing=FileNotFoundError):
            for part in obstore.get(self._objects, name).stream(min_chunk_size=1 << 20):
                digest.update(part)
                seen(len(part))
        return digest.hexdigest()

    def list(self, prefix: str = "") -> dict[str, Stored]:
        """Return all objects below a prefix, ``a/b`` for those that begin with ``a/b/``; a request for every thousand."""
        import obstore

        with self._said("list"):
            return {
                each["path"]: Stored(size=each["size"], modified=each["last_modified"].timestamp())
                for page in obstore.list(self._objects, prefix or None, chunk_size=1_000)
                for each in page
            }

    def delete(self, names: Iterable[str]) -> None:
        """Remove objects; those that are gone already count as removed."""
        import obstore

        if names := list(names):
            with self._said("delete"):
                obstore.delete(self._objects, names)

    @cached_property
    def _objects(self) -> "ObjectStore":
        from obstore.store import from_url

        server = os.environ.get("AWS_ENDPOINT_URL", "https://")
        if not server.startswith(("http://", "https://")):
            raise ArtifactError(f"AWS_ENDPOINT_URL={server!r} is no address: write https://host, or unset it")
        own: Any = {"checksum_algorithm": "SHA256"} if self.url.startswith("s3://") else {}
        backoff: Any = {"init_backoff": FIRST_PAUSE, "max_backoff": timedelta(seconds=5), "base": 2}
        retries: Any = {"max_retries": RETRIES, "backoff": backoff}
        with self._said("open"):
            client: Any = {"timeout": TIMEOUT, "allow_http": server.startswith("http://")}
            return from_url(self.url, config=own, client_options=client, retry_config=retries)

    @contextmanager
    def _said(self, what: str, passing: type[Exception] | None = None) -> Iterator[None]:
        """Say in words what the server answered; errors of the kind ``passing`` go on, unless the bucket is missing."""
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, FileNotFoundError, ValueError) as error:
            text = str(error).partition("\n\nDebug source")[0]
            scheme, _, bucket, *_ = self.url.split("/")
            credentials = _CREDENTIALS[scheme[:-1]]
            if _NO_BUCKET.search(text):
                raise ArtifactError(
                    f"there is no bucket {bucket} at {_endpoint()}: create it, or name another store with HEPHAESTUS_STORE"
                ) from None
            if passing and isinstance(error, passing):
                raise
            if remedy := next((remedy for said, remedy in _REMEDIES if said.search(text)), None):
                raise ArtifactError(f"{self.url} cannot be {_DONE[what]} at {_endpoint()}: {remedy}") from None
            if _REFUSED.search(text) or _REFUSED.search(type(error).__name__):
                code = match[1] if (match := _CODE.search(text)) else "refused"
                raise ArtifactError(
                    f"{_endpoint()} refuses to {what} in {self.url} ({code}): check {credentials}, "
                    "and that they may list, read, write and delete there"
                ) from None
            if _NO_CREDENTIALS.search(text):
                raise ArtifactError(
                    f"no credentials for {self.url} were found: set {credentials}, and AWS_ENDPOINT_URL for an S3 server other "
                    "than Amazon's"
                ) from None
            raise ArtifactError(
                f"{self.url} cannot be {_DONE[what]} at {_endpoint()}: {' '.join(text.split())[:400]}; check the network and "
                "AWS_ENDPOINT_URL, and run again: what is finished is kept"
            ) from None


_DONE = {"read": "read", "write": "written", "list": "listed", "delete": "cleared", "open": "opened"}


def _endpoint() -> str:
    return os.environ.get("AWS_ENDPOINT_URL") or "the default endpoint"
