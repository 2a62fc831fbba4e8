from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assets.artifact import Build
from assets.graph import lineage_of
from assets.quality import quality_classifier
from hephaestus_dag.artifacts import Artifact, Report
from hephaestus_dag.documents import Document, DocumentWriter, Domain, document_id
from hephaestus_dag.retrieval.queries import QUERY_SCHEMA
from hephaestus_dag.retrieval.vectors import write_vectors
from tests.laptop import recipe

CODE = [f"def function_{n}(value): return value + {n}" for n in range(90)]
TOOLS = [f"GET /items/{n} returns the item with number {n}" for n in range(90)]
PROSE = [f"The old king walked {n} miles along the shore and sang" for n in range(90)]


def write_pages(folder: Path, *parts: tuple[list[str], Domain]) -> None:
    with DocumentWriter(folder) as writer:
        for texts, domain in parts:
            writer.write(
                Document(text=text, domain=domain, kind="page", source="web", origin=text, license="MIT") for text in texts
            )


def write_inputs(folder: Path) -> dict[str, Artifact]:
    """What the classifier reads: a seed corpus of tools and code, a web of prose, nothing of which was annotated."""
    write_pages(folder / "seed_corpus", (CODE, "code"), (TOOLS, "agent"))
    write_pages(folder / "web_corpus", (PROSE, "text"))
    for name in ("retrieved_web_shards", "quality_annotations"):
        (folder / name).mkdir()
    nothing = pa.table({"document_id": pa.array([], pa.string()), "good": pa.array([], pa.bool_())})
    pq.write_table(nothing, folder / "retrieved_web_shards" / "retrieved.parquet")
    pq.write_table(nothing, folder / "quality_annotations" / "annotations.parquet")
    ids = [document_id(text) for text in (*PROSE, TOOLS[0])]
    vectors = np.ones((len(ids), 2), dtype=np.float32)
    write_vectors(folder / "web_index", [(ids[:-1], vectors[:-1])], {}, 2)
    write_vectors(folder / "seed_queries" / "candidates", [(ids[-1:], vectors[-1:])], {}, 2)
    write_vectors(folder / "seed_queries" / "general", [], {}, 2)
    query = {"document_id": ids[-1], "row": 0, "kind": "page", "cluster_size": 1, "beginning": "GET"}
    pq.write_table(pa.Table.from_pylist([query], QUERY_SCHEMA), folder / "seed_queries" / "queries.parquet")
    return {
        name: Artifact(
            key=name, fingerprint="", path=folder / name, content="", num_bytes=0, seconds=0, report=Report(headline="")
        )
        for name in quality_classifier.inputs
    }


@pytest.mark.parametrize(("domains", "count"), [(["agent"], 90), (["agent", "code"], 180)])
def test_the_classifier_learns_from_the_domains_that_search(tmp_path: Path, domains: list[Domain], count: int) -> None:
    chosen = recipe(web_retrieval__retrieval__query_domains=domains, quality__classifier={"search": {"trials": 0}})
    options: dict[str, Any] = {
        "earlier": list,
        "cache": tmp_path,
        "log": print,
        "warn": print,
        "observe": print,
        "resources": None,
    }
    build = Build(
        key="quality_classifier",
        recipe=chosen,
        folder=tmp_path / "model",
        work=tmp_path,
        inputs=write_inputs(tmp_path),
        **options,
    )
    report = quality_classifier.function(build)
    assert sum(row["seed"] for row in report.tables["examples"]) == count


def test_the_packaged_junk_enters_the_identity_of_what_is_checked_with_it() -> None:
    assert "junk" in lineage_of(recipe()).identity("filtered_web").values
