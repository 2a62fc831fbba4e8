"""The artifact store as a Dagster resource."""

from pathlib import Path

import dagster as dg
from pydantic import Field

from hephaestus_dag.artifacts import Store
from hephaestus_dag.store_location import store_folder


class ArtifactStore(dg.ConfigurableResource):
    """A folder or a bucket of artifacts: ``$HEPHAESTUS_STORE``, or ``store`` in the current folder."""

    root: str = Field(
        default="", description="Folder or URL (s3://bucket/prefix) of the store; empty: $HEPHAESTUS_STORE, else ./store."
    )

    @property
    def path(self) -> Path:
        """The folder, absolute; of a bucket the folder that caches it."""
        return store_folder(self.root)

    @property
    def store(self) -> Store:
        """The library's view of it."""
        return Store(self.path)

    @property
    def cache(self) -> Path:
        """Where converted models and environments are kept: made from packages, not part of any lineage."""
        folder = self.path / ".cache"
        folder.mkdir(parents=True, exist_ok=True)
        return folder
