"""Where a store is: a folder on this machine or a network drive, or a URL in object storage with a folder that caches it."""

import hashlib
import os
import re
from pathlib import Path

from hephaestus_dag.bucket import Bucket, is_url
from hephaestus_dag.bucket_store import BucketStore
from hephaestus_dag.manifests import ArtifactError
from hephaestus_dag.store_contents import MARK


def store_folder(location: str = "") -> Path:
    """Return the folder of a store, absolute; of a URL the folder that caches it, made if need be.

    An empty location means ``$HEPHAESTUS_STORE``, or else ``store`` in the current folder. Caches lie in ``$HEPHAESTUS_CACHE``,
    or else the user's cache folder, one for each URL and server. Raises ArtifactError when a cache cannot be made.
    """
    location = location or os.environ.get("HEPHAESTUS_STORE") or "store"
    if not is_url(location):
        return Path(location).absolute()
    url = Bucket(location).url
    digest = hashlib.sha256(f"{url} {os.environ.get('AWS_ENDPOINT_URL', '')}".encode()).hexdigest()[:8]
    folder = _caches() / f"{re.sub(r'[^A-Za-z0-9.]+', '-', url)}-{digest}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / MARK).exists():
            staging = folder / f"{MARK}-{os.getpid()}"
            staging.write_text(url)
            staging.rename(folder / MARK)
    except OSError as error:
        raise ArtifactError(f"the cache {folder} cannot be written ({error}); name another with HEPHAESTUS_CACHE") from error
    return folder


def _caches() -> Path:
    if named := os.environ.get("HEPHAESTUS_CACHE"):
        return Path(named).absolute()
    from platformdirs import user_cache_path

    return user_cache_path("hephaestus")


def mirror(root: Path) -> None:
    """Bring the manifests in the cache of a bucket in line with the bucket; nothing to do for any other folder.

    Raises ArtifactError when the bucket cannot be listed.
    """
    if bucket := BucketStore.of(root):
        bucket.mirror()
