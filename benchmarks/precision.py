"""How precise retrieval is: labels of pages drawn from the first 1,000, and pages planted to be found.

    .venv/bin/python benchmarks/precision.py store --draw pages.jsonl       # 200 pages to label, without their scores
    .venv/bin/python benchmarks/precision.py store                          # with the labels of benchmarks/labels
    .venv/bin/python benchmarks/precision.py store --plant                  # 200 agent pages hidden in the web corpus

``store`` holds a run of `make documentation`; of several runs the last one counts. A line of labels is an object with
document_id, origin, label (true or false) and labeller; lines that several labellers wrote about a page measure their
agreement. A page is right when an agent could work with it: it documents what can be called, with what arguments, or shows how
(functions, endpoints, commands, options, messages, queries). Prose, changes, lists of links and notes for authors are wrong.

Printed are precision@1,000 with its 95% interval (Wilson, with the correction for a finite population), by source, and before
and after the quality filter, which is measured on the labelled pages. Planted pages describe modules of Python packages, which
the seed corpus of that recipe lacks; they are encoded, added to the web corpus, and everything is retrieved again.
"""

import argparse
import hashlib
import json
import math
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

LABELS = Path(__file__).parent / "labels" / "documentation.jsonl"
TOP, DRAWN, SHOWN_CHARACTERS = 1_000, 200, 600
NORMAL_95 = 1.959964
PLANTED_PACKAGES = ("click", "httpx", "jinja2", "networkx", "numpy", "scipy", "sqlalchemy", "sympy")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--draw", type=Path, metavar="FILE", help="write the pages to label")
    parser.add_argument("--labels", type=Path, default=LABELS)
    parser.add_argument("--plant", action="store_true", help="measure the recall of planted pages")
    parser.add_argument("--planted", type=int, default=200, help="pages to plant")
    parser.add_argument("--recipe", default="documentation", help="recipe of the run, for --plant")
    options = parser.parse_args()
    run = last_run(options.store)
    if options.draw:
        draw(run, options.draw)
    elif options.plant:
        plant(run, options.recipe, options.planted)
    elif not options.labels.is_file():
        sys.exit(f"{options.labels} is not there; write it with --draw, fill in label and labeller, and leave out the text")
    else:
        report(run, [json.loads(line) for line in options.labels.read_text(encoding="utf-8").splitlines()])


def last_run(store: Path) -> dict[str, Path]:
    """Return the folders of the last run's artifacts by asset key."""
    for last in ("filtered_web", "retrieved_web_shards"):
        if found := list((store / last).glob("[0-9a-f]*/manifest.json")):
            return with_inputs(store, last, max(found, key=lambda path: path.stat().st_mtime).parent)
    sys.exit(f"{store} holds no retrieved pages; run `make documentation`")


def with_inputs(store: Path, key: str, folder: Path) -> dict[str, Path]:
    """Return an artifact's folder and those that it was made from, by asset key."""
    manifest = json.JSONDecoder().raw_decode((folder / "manifest.json").read_text(encoding="utf-8"))[0]
    folders = {key: folder}
    for name, fingerprint in manifest["identity"]["inputs"].items():
        below = store / name / fingerprint[:12]
        if below.exists():  # what has no part in retrieval may be gone
            folders |= with_inputs(store, name, below)
    return folders


def top_ids(run: dict[str, Path]) -> list[str]:
    """Return the ids of the pages with the best scores."""
    return pq.read_table(run["retrieved_web_shards"] / "retrieved.parquet")["document_id"].to_pylist()[:TOP]


def documents(folder: Path, ids: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return id -> row of the documents named."""
    from hephaestus_dag.documents import read_documents

    wanted = set(ids)
    rows = (row for batch in read_documents(folder, ["id", "origin", "source", "text"]) for row in batch.to_pylist())
    return {row["id"]: row for row in rows if row["id"] in wanted}


def draw(run: dict[str, Path], path: Path) -> None:
    """Write the pages to label, in an order that says nothing about their scores."""
    top = top_ids(run)
    order = sorted(top, key=lambda i: hashlib.blake2b(f"precision:{i}".encode(), digest_size=8).digest())[:DRAWN]
    pages = documents(run["retrieved_web_shards"], order)
    lines = [
        {
            "document_id": i,
            "origin": pages[i]["origin"],
            "source": pages[i]["source"],
            "text": pages[i]["text"][:SHOWN_CHARACTERS],
            "label": None,
            "labeller": "",
        }
        for i in order
    ]
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    print(f"{len(lines)} of the first {len(top):,} pages written to {path}")


def report(run: dict[str, Path], lines: Sequence[dict[str, Any]]) -> None:
    """Print what the labels say."""
    top = set(top_ids(run))
    labelled = {line["document_id"] for line in lines if line["label"] is not None}
    print(f"{len(labelled & top)} of {len(labelled)} labelled pages are among the first {len(top):,} of this run")
    by_labeller: defaultdict[str, dict[str, bool]] = defaultdict(dict)
    for line in lines:
        if line["label"] is not None and line["document_id"] in top:
            by_labeller[line.get("labeller", "")][line["document_id"]] = bool(line["label"])
    source = {line["document_id"]: line["origin"].partition("/")[0] for line in lines}
    for labeller, labels in by_labeller.items():
        print(f"\nlabeller {labeller or '?'}")
        show(f"precision@{len(top):,}", list(labels.values()), len(top))
        if "filtered_web" in run:
            after_filter(run, labels, top)
        for name in sorted({source[i] for i in labels}):
            show(f"  {name}", [label for i, label in labels.items() if source[i] == name])
    for (one, first), (other, second) in combinations(by_labeller.items(), 2):
        agreement(one, first, other, second)


def show(name: str, labels: Sequence[bool], population: int | None = None) -> None:
    low, high = wilson(sum(labels), len(labels), population)
    print(f"{name:32} {sum(labels):4} of {len(labels):4}  {sum(labels) / len(labels):6.1%}  ({low:.1%} to {high:.1%})")


def wilson(right: int, drawn: int, population: int | None = None) -> tuple[float, float]:
    """Return Wilson's 95% interval of a share. ``population``: how many there are, when ``drawn`` come without replacement.

    A sample from a finite population tells as much as one of n (N - 1) / (N - n) from an infinite one.
    """
    share = right / drawn
    if population is not None and drawn >= population:
        return share, share
    size = drawn * (population - 1) / (population - drawn) if population else drawn
    z = NORMAL_95**2 / size
    middle, half = (share + z / 2) / (1 + z), math.sqrt(z * share * (1 - share) + z * z / 4) / (1 + z)
    return max(0.0, middle - half), min(1.0, middle + half)


def after_filter(run: dict[str, Path], labels: dict[str, bool], top: set[str]) -> None:
    """Print the precision of what the quality filter keeps of the first pages, and how much it keeps of each sort."""
    kept = set(documents(run["filtered_web"], top))
    show("  kept by the quality filter", [label for i, label in labels.items() if i in kept], len(kept))
    for value, name in ((True, "right"), (False, "wrong")):
        of_value = [i in kept for i, label in labels.items() if label is value]
        if of_value:
            show(f"  {name} pages kept", of_value)


def agreement(one: str, first: dict[str, bool], other: str, second: dict[str, bool]) -> None:
    """Print how often two labellers agree, and Cohen's kappa: agreement beyond that of chance, 0 to 1."""
    both = sorted(set(first) & set(second))
    if both:
        a, b = np.array([first[i] for i in both]), np.array([second[i] for i in both])
        same = float((a == b).mean())
        chance = float(a.mean() * b.mean() + (1 - a.mean()) * (1 - b.mean()))
        kappa = f"{(same - chance) / (1 - chance):.2f}" if chance < 1 else "undefined, one label only"
        print(f"\n{one} and {other} agree on {same:.1%} of {len(both)} pages, kappa {kappa}")
        print(*(f"  differ: {i}" for i in np.array(both)[a != b]), sep="\n")


def plant(run: dict[str, Path], recipe_name: str, number: int) -> None:
    """Add agent pages to the web corpus, retrieve again, and print how many of them are found."""
    from hephaestus_dag.documents import SCHEMA, DocumentWriter, document_batch, read_documents
    from hephaestus_dag.models import resolve_model
    from hephaestus_dag.recipe_file import load_recipe
    from hephaestus_dag.retrieval.embeddings import embed_documents
    from hephaestus_dag.retrieval.encoder import Encoder
    from hephaestus_dag.retrieval.search import retrieve

    config = load_recipe(recipe_name).web_retrieval.retrieval
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        hidden = pages_to_plant(run, number)
        with DocumentWriter(folder / "web") as writer:
            for batch in read_documents(run["web_corpus"], SCHEMA.names):
                writer.write_batch(batch)
            writer.write_batch(document_batch(hidden))
        encoder = Encoder(config.encoder, resolve_model(config.encoder.model, folder / "cache"))
        embed_documents(folder / "web", encoder, folder / "index", folder / "work", earlier=[run["web_index"]])
        found = retrieve(run["seed_queries"], folder / "web", folder / "index", config, folder / "retrieved")
        order = pq.read_table(folder / "retrieved" / "retrieved.parquet")["document_id"].to_pylist()
    ids = {page.id for page in hidden}
    ranks = np.array([rank for rank, i in enumerate(order, 1) if i in ids])
    print(f"{len(ids)} pages planted among {found['web_documents'] - len(ids):,}; {len(order):,} retrieved")
    for k in sorted({min(k, len(order)) for k in (len(ids), TOP, 2 * TOP, len(order))}):
        found_in_k = int((ranks <= k).sum())
        show(f"recall in the first {k:,}", [True] * found_in_k + [False] * (len(ids) - found_in_k))


def pages_to_plant(run: dict[str, Path], number: int) -> list[Any]:
    """Return descriptions of Python functions and classes that neither the seed corpus nor the web corpus holds."""
    from hephaestus_dag.documents import Document, read_document_table
    from hephaestus_dag.sources import list_items, read_items
    from hephaestus_dag.sources.config import SourceConfig

    source = SourceConfig(name="planted", kind="python_modules", location="packages", packages=PLANTED_PACKAGES, domain="agent")
    known = {i for key in ("seed_corpus", "web_corpus") for i in read_document_table(run[key], ["id"])["id"].to_pylist()}
    items = sorted(list_items(source), key=lambda item: hashlib.blake2b(item.encode(), digest_size=8).digest())
    pages: dict[str, Document] = {}
    for item in items:
        new = [page for page in read_items(source, [item]) if isinstance(page, Document) and page.id not in known]
        pages |= {page.id: page for page in new[:3]}  # of many modules
        if len(pages) >= number:
            break
    return list(pages.values())[:number]


if __name__ == "__main__":
    main()
