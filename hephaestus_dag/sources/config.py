"""What a recipe says about one source of documents."""

import re
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from hephaestus_dag.config import Config
from hephaestus_dag.documents import Domain
from hephaestus_dag.sources import KINDS
from hephaestus_dag.sources.reading.distributions import CHECKOUT, MissingPackageError, Root, find_roots

_SECRET = re.compile(r"://[^/]*:[^/]*@|[?&][^=&]*(?:token|signature|secret|password|credential|sig)[^=&]*=", re.IGNORECASE)
_DATASET = re.compile(r"hf:(?:\.{0,2}/.+|[\w.-]+(?:/[\w.-]+)?@[\w./-]+)")
"""A local folder, or owner, name and revision."""


class Columns(Config):
    """Which column of a row holds what; a dot leads into a column: `meta.url`."""

    text: str = Field(default="text", min_length=1, description="Column with the document")
    license: str | None = Field(default=None, description="Column with the SPDX identifier; null: the licence of the source")
    origin: str | None = Field(default=None, description="Column that says where the row came from: an id, path or URL")
    language: str | None = Field(default=None, description="Column with the programming or natural language")
    provider: str | None = Field(
        default=None, description="Column with whoever publishes the row, for caps per provider; of an address, the site"
    )


class SourceConfig(Config):
    """One source of documents: what kind it is, where it lies, and how much of it is taken."""

    name: str = Field(
        pattern=r"^[a-z0-9_.-]+$", max_length=100, description="Name, unique in a recipe; every document carries it"
    )
    kind: str = Field(description="Kind of source: a key of hephaestus_dag.sources.KINDS")
    location: str = Field(
        description="`package:<distribution>`, `packages` (those named in `packages`), `npm:<package>[@<version>]`, `stdlib`, "
        "a file, folder or glob (relative to the checkout or absolute), a URL with or without a glob (`s3://`, `https://`, "
        "`hf://datasets/<owner>/<name>@<revision>/`), or rows of a data set: `hf:<owner>/<name>@<revision>`"
    )
    domain: Domain = Field(description="Share of the mixture that the documents count towards")
    license: str | None = Field(
        default=None, description="SPDX identifier; null: from the distribution's metadata, `unknown` for plain paths"
    )
    max_documents: int | None = Field(default=None, ge=1, description="Documents to keep, by a seeded sample; null: all")
    max_characters: int = Field(default=200_000, ge=1, description="Characters above which a document is set aside")
    provider: str | None = Field(
        default=None,
        description="Who publishes what the files describe, where they do not say it; null: read off their names",
    )
    weight: float = Field(default=1.0, gt=0, description="Weight of the source beside the others of its domain (ratio)")
    columns: Columns = Field(default=Columns(), description="Which column of a row holds what, for sources of rows")
    subset: str | None = Field(default=None, description="Configuration of a data set, with location `hf:`; null: its default")
    split: str | None = Field(default=None, description="Split of a data set, with location `hf:`; null: `train`")
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
        if not self.location.removeprefix("package:").removeprefix("npm:").strip():
            raise ValueError(
                "location is empty; write package:<distribution>, packages, npm:<package>, stdlib, a path or a URL"
            )
        return self

    @model_validator(mode="after")
    def _remote_data_are_pinned_and_hold_no_secret(self) -> Self:
        if self.form == "url" and _SECRET.search(self.location):
            raise ValueError("location holds a user, password or token; remove it, credentials come from the environment")
        if self.location.startswith("hf://") and not re.search(r"^hf://[^*?\[]*@[^/]+/", f"{self.location}/"):
            raise ValueError(
                "location has no revision; write hf://datasets/<owner>/<name>@<commit>/<path>, so that it never changes"
            )
        if self.location.startswith("hf:") and re.search(r"@(?:main|master)(?:/|$)", self.location):
            raise ValueError("location names a branch, which moves; write the commit in place of main")
        if self.form == "dataset" and not _DATASET.fullmatch(self.location):
            raise ValueError(
                "location has no revision; write hf:<owner>/<name>@<commit>, or hf:./<folder> for a local data set"
            )
        if self.form != "dataset" and (self.subset or self.split):
            raise ValueError(
                "subset and split belong to a data set; write location: hf:<owner>/<name>@<commit>, or remove them"
            )
        return self

    @property
    def form(self) -> Literal["packages", "npm", "stdlib", "path", "url", "dataset"]:
        """What sort of place the location is."""
        if self.location == "packages" or self.location.startswith("package:"):
            return "packages"
        if "://" in self.location:
            return "path" if self.location.startswith("file://") else "url"
        if self.location.startswith("npm:"):
            return "npm"
        if self.location.startswith("hf:"):
            return "dataset"
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

        Raises MissingPackageError, in words that say what to do.
        """
        return find_roots(self)

    def identity(self) -> dict[str, str]:
        """Return what the input *is*: versions of packages, a revision, or a hash of the files.

        Local files count by name and content, those behind a URL by name, size and the tag that the server gives a version.
        """
        return dict(root.identity() for root in self.roots())

    def content(self) -> dict[str, Any]:
        """Return everything that decides what the source gives: its settings and its input.

        Where a folder lies is no part of that, nor is the weight, which only the mixture looks at.
        """
        return {**self.model_dump(mode="json", exclude={"location", "weight"}), "input": self.identity()}


def _place(config: SourceConfig) -> str:
    """Return where a relative path leads, since it need not be the working folder."""
    relative = config.form == "path" and not config.location.startswith(("/", "file://"))
    return f" ({CHECKOUT / config.location})" if relative else ""


def check_available(config: SourceConfig) -> list[str]:
    """Return what keeps the source from being read, in words; an empty list when nothing does. Reads no documents."""
    problems: list[str] = []
    for single in [config.model_copy(update={"packages": (name,)}) for name in config.packages] or [config]:
        try:
            if not any(root.has_files() for root in single.roots()):
                problems.append(
                    f"source {config.name!r}: {single.where} holds no files{_place(single)}; correct location or exclude"
                )
        except (MissingPackageError, OSError, ValueError) as error:  # ValueError: a glob that is none
            problems.append(f"source {config.name!r}: {error}")
    return problems
