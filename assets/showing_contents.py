"""What an artifact's folder holds, for a person who has never seen it: its files, its main table's columns and some rows."""

from pathlib import Path
from typing import Any

import dagster as dg

from assets.showing_values import amount, table

ROWS = 5
MOST_FILES = 12
MEANINGS = {
    "id": "hash of the text",
    "document_id": "hash of the document's text",
    "text": "the document, as a model reads it",
    "domain": "agent, code or text: the three parts of the mixture",
    "kind": "what sort of document it is",
    "source": "the recipe's name of the source that it was read from",
    "origin": "where exactly it came from: package and version, or path, then the position inside",
    "license": "SPDX identifier, or unknown",
    "provider": "who publishes what it is about",
    "api": "the operation that is described, the same in all its versions",
    "signatures": "functions that are described or called, one a line",
    "format": "how it is written, where that was drawn",
    "split": "train or heldout",
    "stream": "the token stream that holds it",
    "offset": "first token in the stream",
    "length": "number of tokens",
    "item_id": "name of the benchmark item",
    "category": "part of the benchmark",
    "benchmark": "bfcl, mmlu, ...",
    "sampled": "whether models are asked this item",
    "prompt_sha": "hash of what the model was shown",
    "verdict": "whether the official checker takes the reply",
    "reason": "why it was not counted, or what the checker said",
    "prompt_tokens": "tokens shown to the model",
    "new_tokens": "tokens that the model wrote",
    "seconds": "time that the reply took",
    "bits": "loss of the reference answer, in bits",
    "bytes": "length of the reference answer, in bytes",
    "quality_score": "the classifier's probability that the page helps an agent",
    "stratum": "the part of the web corpus that the page was drawn from, by retrieval score",
    "score": "between 0 and 1, higher is better",
    "good": "whether the score is above the cut",
    "status": "ok, or what went wrong",
    "cell": "name of the training run",
    "params": "parameters without embeddings",
    "tokens": "number of tokens",
    "flops": "6 x parameters x tokens",
    "share": "part of the item's words that the document holds",
    "matched": "what they share",
    "seen": "whether training showed it to the model",
    "share_": "part of the mixture, between 0 and 1",
    "loss_": "held-out loss, in bits per byte",
    "unique_": "tokens that there are to draw from",
    "seed": "of the order of the mixture and the first weights",
    "question": "what the user asks",
    "prompt": "the whole conversation that the model is shown, as JSON",
    "functions": "what may be called, as JSON schemas",
    "reference": "the official answer",
    "reply": "what the model wrote",
    "transcript": "the conversation, where there is more than one reply",
    "raw": "what the annotator answered, before it became a score",
    "recheck_score": "the score when asked again in other words",
    "positive": "whether it is an example of a good page",
    "similarity": "to the nearest seed document",
    "heuristic": "what a filter by rules would give",
    "beginning": "how the document begins",
    "cluster_size": "candidates for which this query stands",
}


def contents_metadata(folder: Path, sampled: bool = True) -> dict[str, Any]:
    """Return the metadata: the files, and where there is a Parquet table its columns and, if wanted, some of its rows."""
    import pyarrow.parquet as pq

    found: dict[str, Any] = {"files": table(_files(folder))}
    tables = sorted(folder.rglob("*.parquet"), key=lambda path: _place(path.relative_to(folder)))
    if not tables:
        return found
    first = tables[0]
    found["dagster/column_schema"] = dg.TableSchema(
        columns=[
            dg.TableColumn(field.name, str(field.type), description=_meaning(field.name)) for field in pq.read_schema(first)
        ]
    )
    if sampled and (rows := sample_rows(first)):
        found[f"rows of {first.relative_to(folder)}"] = table(rows)
    return found


def _meaning(column: str) -> str:
    """Return what a column means: by its name, else by how it begins."""
    return MEANINGS.get(column, MEANINGS.get(column.partition("_")[0] + "_", ""))


def _place(path: Path) -> tuple[bool, int, str]:
    """Order tables: documents first, then what lies on top."""
    return path.parts[0] != "documents", len(path.parts), str(path)


def _files(folder: Path) -> list[dict[str, Any]]:
    """Return what lies on top of a folder, with the number of files in it and their size."""
    rows: list[dict[str, Any]] = []
    for entry in sorted(folder.iterdir()):
        files = [path for path in entry.rglob("*") if path.is_file()] if entry.is_dir() else [entry]
        size = sum(path.stat().st_size for path in files)
        rows.append({"name": f"{entry.name}/" if entry.is_dir() else entry.name, "files": len(files), "size": amount(size)})
    return rows[:MOST_FILES]


def sample_rows(path: Path) -> list[dict[str, Any]]:
    """Return some rows of a table, from its beginning to its end; columns that are empty in all of them are left out."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        rows: list[dict[str, Any]] = []
        wanted = sorted({i * file.metadata.num_rows // ROWS for i in range(ROWS)}) if file.metadata.num_rows else []
        first = 0
        for group in range(file.num_row_groups):
            num = file.metadata.row_group(group).num_rows
            here = [row - first for row in wanted if first <= row < first + num]
            if here:
                rows += file.read_row_group(group).take(pa.array(here)).to_pylist()
            first += num
    filled = [name for name in (rows[0] if rows else {}) if any(row[name] not in (None, "", [], b"") for row in rows)]
    return [{name: row[name] for name in filled} for row in rows]
