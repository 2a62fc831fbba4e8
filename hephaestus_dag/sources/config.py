"""What a recipe says about one source of documents."""

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from hephaestus_dag.config import Config
from hephaestus_dag.documents import Domain
from hephaestus_dag.sources import KINDS
from hephaestus_dag.sources.distributions import MissingPackageError, Root, find_roots


class SourceConfig(Config):
    """One source of documents: what kind it is, where it lies, and how much of it is taken."""

    name: str = Field(pattern=r"^[a-z0-9_.-]+$", description="Name, unique in a recipe; every document carries it")
    kind: str = Field(description="Kind of source: a key of hephaestus_dag.sources.KINDS")
    location: str = Field(
        description="`package:<distribution>`, `packages` (those named in `packages`), `stdlib`, or a file, folder or glob, "
        "relative to the checkout or absolute"
    )
    domain: Domain = Field(description="Share of the mixture that the documents count towards")
    license: str | None = Field(
        default=None, description="SPDX identifier; null: from the distribution's metadata, `unknown` for plain paths"
    )
    max_documents: int | None = Field(default=None, ge=1, description="Documents to keep, by a seeded sample; null: all")
    max_characters: int = Field(default=200_000, ge=1, description="Characters above which a document is set aside")
    seed: int = Field(default=0, ge=0, description="Seed of the sample of max_documents, and of drawn formats")
    packages: tuple[str, ...] = Field(default=(), description="Installed distributions to read, with location `packages`")
    exclude: tuple[str, ...] = Field(
        default=(), description="Globs over paths inside the location; a match is left out (`*` also crosses `/`)"
    )

    @field_validator("kind")
    @classmethod
    def _known_kind(cls, kind: str) -> str:
        if kind not in KINDS:
            raise ValueError(f"kind {kind!r} is not known; write one of {', '.join(sorted(KINDS))}")
        return kind

    @model_validator(mode="after")
    def _packages_are_named(self) -> Self:
        if (self.location == "packages") != bool(self.packages):
            raise ValueError("packages and location belong together: write `location: packages` and list the distributions")
        if not all(name.strip() for name in self.packages):
            raise ValueError("packages holds an empty name; remove it")
        if not self.location.removeprefix("package:").strip():
            raise ValueError("location is empty; write package:<distribution>, packages, stdlib or a path")
        return self

    @property
    def form(self) -> Literal["packages", "stdlib", "path"]:
        """What sort of place the location is."""
        if self.location == "packages" or self.location.startswith("package:"):
            return "packages"
        return "stdlib" if self.location == "stdlib" else "path"

    @property
    def distributions(self) -> tuple[str, ...]:
        """Names of the distributions that are read."""
        return self.packages or ((self.location.removeprefix("package:"),) if self.form == "packages" else ())

    @property
    def where(self) -> str:
        """The location in words, for messages."""
        return ", ".join(self.distributions) or self.location

    def roots(self) -> list[Root]:
        """Return the folders that the location stands for.

        Raises MissingPackageError or FileNotFoundError, in words that say what to do.
        """
        return find_roots(self)

    def identity(self) -> dict[str, str]:
        """Return what the input *is*: package versions, the Python version, or a hash of the files' paths and contents."""
        return dict(root.identity() for root in self.roots())


def check_available(config: SourceConfig) -> list[str]:
    """Return what keeps the source from being read, in words; an empty list when nothing does. Reads no documents."""
    problems: list[str] = []
    for single in [config.model_copy(update={"packages": (name,)}) for name in config.packages] or [config]:
        try:
            if not any(root.has_files() for root in single.roots()):
                problems.append(f"source {config.name!r}: {single.where} holds no files; correct location or exclude")
        except (MissingPackageError, OSError, ValueError) as error:  # ValueError: a glob that is none
            problems.append(f"source {config.name!r}: {error}")
    return problems
