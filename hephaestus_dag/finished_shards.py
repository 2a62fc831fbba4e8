"""Results of a long step, shard by shard, that outlive a stop."""

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from hephaestus_dag.whole_folder import whole_file


class FinishedShards:
    """Arrays in the files of a folder, each named by a hash of what decides it and a hash of its bytes.

    ``identity`` holds JSON values that decide what becomes of a document; the ids of the documents do the rest.
    """

    def __init__(self, folder: Path, identity: Sequence[Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.identity = folder, identity

    def find(self, ids: Sequence[str]) -> Path | None:
        """Return the shard of some documents that an earlier run left; one with other bytes than its name says is removed."""
        path = self._paths.get(self._key(ids))
        if path is None:
            return None
        with path.open("rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
        if found == path.name.split(".")[1]:
            return path
        path.unlink()
        return None

    def save(self, ids: Sequence[str], array: np.ndarray) -> Path:
        """Write the shard of some documents, and return its path."""
        content = BytesIO()
        np.save(content, array)
        digest = hashlib.blake2b(content.getbuffer(), digest_size=16).hexdigest()
        path = self.folder / f"{self._key(ids)}.{digest}.npy"
        with whole_file(path) as staging:
            staging.write_bytes(content.getbuffer())
        return path

    @cached_property
    def _paths(self) -> dict[str, Path]:
        return {path.name.partition(".")[0]: path for path in sorted(self.folder.glob("*.*.npy"))}

    def _key(self, ids: Sequence[str]) -> str:
        return hashlib.blake2b(json.dumps([*self.identity, ids], sort_keys=True).encode(), digest_size=16).hexdigest()
