"""What lies in a store and what was made of what, as the manifests say. Of files only the size of tables is checked."""

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hephaestus_dag.bucket_store import BucketStore
from hephaestus_dag.manifests import CHANGED, ArtifactError, DamagedArtifactError, Report, read_manifest, report_of
from hephaestus_dag.scored_models import SCORES
from hephaestus_dag.store_contents import contents, find_artifacts, named, written

_SHARD = re.compile(r"documents/part-\d+\.parquet")
_READ = (".parquet", ".json", ".npy")
"""Files that questions are answered from."""
_FETCHED = (*_READ, ".bin", ".md")
"""What is brought here from a bucket: also tokens, whose presence a mixture checks, and what a card begins with; no weights."""


class ProvenanceError(ArtifactError):
    """A question that the store cannot answer; the message says what to ask or to build instead."""


@dataclass(frozen=True, eq=False)
class Node:
    """A finished artifact."""

    key: str
    fingerprint: str
    folder: Path
    """With the manifest; of a bucket not always with the files."""
    written: float
    """Seconds since the epoch."""
    inputs: dict[str, str]
    """Asset key -> fingerprint."""
    files: dict[str, int | None]
    """Path inside the artifact -> rows, of tables."""
    report: Report
    bucket: BucketStore | None

    @cached_property
    def path(self) -> Path:
        """The folder with the files that questions are answered from; those of a bucket are brought here at the first look."""
        if self.bucket:
            self.bucket.fetch(self.folder, _FETCHED)
        return self.folder

    @property
    def name(self) -> str:
        """The key with as much of the fingerprint as its folder bears."""
        return f"{self.key}@{self.fingerprint[:12]}"

    @property
    def shards(self) -> list[str]:
        """Its document shards; empty where it is no corpus."""
        return [str(self.path / file) for file in sorted(self.files) if _SHARD.fullmatch(file)]

    @property
    def is_score(self) -> bool:
        """Whether it holds what a benchmark says about a model."""
        return self.key.rpartition("/")[2] in SCORES

    @property
    def is_model(self) -> bool:
        """Whether it holds the weights of a model."""
        return "model/config.json" in self.files

    def holder(self, file: str) -> Path | None:
        """Return the folder in the artifact that holds a file: itself or one of its folders; None when there is none."""
        found = next((each for each in sorted(self.files) if each == file or each.endswith(f"/{file}")), None)
        return (self.path / found).parent if found else None


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What a model was shown in the training that made one checkpoint."""

    checkpoint: Node
    mixture: Path | None
    """Folder of the plan; None for a published model, of whose training nothing is known here."""
    mixture_node: Node | None
    stores: tuple[Path, ...]
    """Folders of the token stores that the mixture was planned over."""
    sequences: int
    """How many sequences of the mixture were shown, from its beginning."""
    batch: int
    """Sequences of one step."""


class ArtifactGraph:
    """All finished artifacts of a store.

    With ``only``, those with these fingerprints. Raises ArtifactError when the folder holds no artifact.
    """

    def __init__(self, root: Path, only: Collection[str] | None = None) -> None:
        self.root = root
        self.nodes: dict[str, Node] = {}
        """By fingerprint, oldest first."""
        self.damaged: list[str] = []
        """Why a folder could not be taken into account."""
        names = None if only is None else {fingerprint[:12] for fingerprint in only}
        for node in sorted(self._read(names), key=lambda node: (node.written, node.key)):
            self.nodes[node.fingerprint] = node
        if not self.nodes:
            which = "" if only is None else " of this recipe"
            raise ProvenanceError(
                f"{named(root)} holds no finished artifact{which}; run a recipe, or give another store with --store"
                + "".join(f"\n{each}" for each in self.damaged)
            )

    def inputs(self, node: Node) -> list[Node]:
        """Return the inputs of an artifact that are still in the store."""
        return [self.nodes[made] for made in node.inputs.values() if made in self.nodes]

    def gone(self, node: Node) -> list[str]:
        """Return, in words, which inputs of an artifact are no longer in the store, or are damaged."""
        return [
            f"{key}@{made[:12]} is {'damaged' if self._damage(f'{key}/{made[:12]}') else 'no longer in the store'}"
            for key, made in node.inputs.items()
            if made not in self.nodes
        ]

    @property
    def holes(self) -> list[str]:
        """What is damaged and what artifacts were made from and is no longer there: what answers may lack."""
        return [*self.damaged, *dict.fromkeys(each for node in self.nodes.values() for each in self.gone(node))]

    @cached_property
    def followers(self) -> dict[str, list[Node]]:
        """What was made of an artifact directly, by its fingerprint."""
        found: dict[str, list[Node]] = {}
        for node in self.nodes.values():
            for made in node.inputs.values():
                found.setdefault(made, []).append(node)
        return found

    def resolve(self, name: str) -> tuple[Node, int | None]:
        """Return the artifact that a name means, the newest of several, and the step that the name asks for.

        Names are those of `find_artifacts`, ``bfcl:hephaestus`` for the score of a model, and a name with a step behind it:
        ``hephaestus/stage1_checkpoint@step=120``. Raises ArtifactError with the closest names when there is none.
        """
        artifact, _, step = name.partition("@step=")
        if "@step=" in name and not step.isdecimal():
            raise ProvenanceError(f"{name!r}: write a step as a number, such as {artifact}@step=120")
        benchmark, _, model = artifact.partition(":")
        scores = [node for node in self.nodes.values() if model and node.is_score and node.key.partition("/")[0] == model]
        short = next((node.key for node in scores if benchmark in node.key.partition("/")[2].split("_")), "")
        if model and not short and "/" not in artifact:
            there = sorted({node.key for node in self.nodes.values() if node.is_score})
            raise ProvenanceError(f"{named(self.root)} holds no score {artifact}; it holds {', '.join(there) or 'none'}")
        path = find_artifacts(self.root, short or artifact)[-1]
        found = next((node for node in self.nodes.values() if node.folder.absolute() == path.absolute()), None)
        if found is None:
            raise ProvenanceError(
                self._damage(str(path)) or f"{name} is not in the store {named(self.root)}; give its store with --store"
            )
        return found, int(step) if step else None

    def model_of(self, node: Node) -> Node | None:
        """Return the artifact with the model that was scored; None for one behind an endpoint."""
        return node if node.is_model else next((each for each in self.inputs(node) if each.is_model), None)

    def stages(self, model: Node) -> list[Stage]:
        """Return the stages that led to a model, last first; those whose checkpoint is no longer there are missing."""
        found: list[Stage] = []
        node: Node | None = model
        while node is not None:
            found.append(self._stage(node))
            node = next((each for each in self.inputs(node) if each.is_model), None)
        return found

    def corpora(self, stages: Collection[Stage]) -> list[Node]:
        """Return the artifacts whose documents were tokenised for some stages, each once."""
        sources = [each for node in self._tokenised(stages) for each in self.inputs(node) if each.shards]
        return list({node.fingerprint: node for node in sources}.values())

    def corpora_gone(self, stages: Collection[Stage]) -> list[str]:
        """Return, in words, what was tokenised for some stages and is no longer there, each once."""
        return list(dict.fromkeys(each for node in self._tokenised(stages) for each in self.gone(node)))

    def _tokenised(self, stages: Collection[Stage]) -> list[Node]:
        found = [node for stage in stages for node in self._token_nodes(stage.checkpoint, stage.mixture_node)]
        return list({node.fingerprint: node for node in found}.values())

    def _damage(self, place: str) -> str:
        return next((each for each in self.damaged if place in each), "")

    def _stage(self, node: Node) -> Stage:
        within = [node, *(each for each in self.inputs(node) if not each.is_model)]
        planned = next((each for each in within if each.holder("mixture.json")), None)
        holders = [each.holder("store.json") for each in self._token_nodes(node, planned)]
        summaries = [json.loads((node.path / file).read_text()) for file in node.files if Path(file).name == "summary.json"]
        summary: dict[str, Any] = max(summaries, key=lambda each: each["sequences"], default={"sequences": 0, "steps": 1})
        return Stage(
            checkpoint=node,
            mixture=planned.holder("mixture.json") if planned else None,
            mixture_node=planned,
            stores=tuple(dict.fromkeys(holder for holder in holders if holder)),
            sequences=summary["sequences"],
            batch=summary["sequences"] // max(summary["steps"], 1),
        )

    def _token_nodes(self, node: Node, planned: Node | None) -> list[Node]:
        near = [*self.inputs(node), *([planned, *self.inputs(planned)] if planned else [])]
        return [each for each in near if each.holder("store.json")]

    def _read(self, names: Collection[str] | None) -> Iterator[Node]:
        bucket = BucketStore.of(self.root)
        for path in contents(self.root).artifacts:
            if names is None or path.name in names:
                try:
                    yield _node(path, bucket)
                except (ArtifactError, FileNotFoundError) as error:  # the latter: it went away meanwhile
                    self.damaged.append(str(error))


def _node(path: Path, bucket: BucketStore | None) -> Node:
    manifest = read_manifest(path)
    wrong = bucket.wrong_files(path, manifest) if bucket else _wrong_tables(path, manifest)
    for file, problem in wrong:
        raise DamagedArtifactError(f"{file} {problem}")
    return Node(
        key=manifest["identity"]["key"],
        fingerprint=manifest["fingerprint"],
        folder=path,
        written=written(path),
        inputs=manifest["identity"]["inputs"],
        files={each["path"]: each["rows"] for each in manifest["files"]},
        report=report_of(manifest),
        bucket=bucket,
    )


def _wrong_tables(path: Path, manifest: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    for each in manifest["files"]:
        file = path / each["path"]
        if file.suffix in _READ and not (file.is_file() and file.stat().st_size == each["size"]):
            yield file, CHANGED if file.is_file() else "is missing"
