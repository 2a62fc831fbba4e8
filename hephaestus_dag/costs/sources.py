"""What the sources of a recipe hold, before they are read: their caps, and the files of those that are folders here."""

from hephaestus_dag.costs.amount import Amount, about, at_most, unknown
from hephaestus_dag.costs.sizes import CHARACTERS_PER_TOKEN, TOKENS
from hephaestus_dag.sources.config import SourceConfig

PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip", ".parquet")
UNPACKED = 3
"""Bytes of text for a byte of a packed file."""
ROWS = (*PACKED, ".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".warc", ".arrow")
"""Files that hold many documents; any other is taken for one."""
ASSUMPTION = (
    f"own files: {CHARACTERS_PER_TOKEN} bytes a token, {UNPACKED} times as many where packed; one document each, or a row"
)


def held(sources: tuple[SourceConfig, ...], key: str) -> tuple[Amount, Amount]:
    """Return documents and tokens that the sources of an asset give; unknown where one has neither a cap nor files here."""
    documents, tokens = at_most(0.0), at_most(0.0)
    open_ended = []
    for source in sources:
        counted = _files(source, TOKENS[key])
        if source.max_documents is not None:
            most = at_most(float(source.max_documents))
            expected = most * about(TOKENS[key])
            counted = (counted[0].capped(most), counted[1].capped(expected)) if counted else (most, expected)
        if counted:
            documents, tokens = documents + counted[0], tokens + counted[1]
        else:
            open_ended.append(source.name)
    if open_ended:
        more = f" and {len(open_ended) - 3} more" if len(open_ended) > 3 else ""
        gap = unknown(f"{', '.join(open_ended[:3])}{more}: no max_documents, so only reading tells")
        return gap, gap
    return documents, tokens


def _files(source: SourceConfig, tokens_each: int) -> tuple[Amount, Amount] | None:
    """Return documents and tokens by the sizes of a source's files, where these are a folder of this machine's."""
    if source.form != "path":
        return None
    documents = tokens = 0.0
    for root in source.roots():
        for name, size in root.sizes().items():
            held = size / CHARACTERS_PER_TOKEN * (UNPACKED if name.endswith(PACKED) else 1)
            tokens += held
            documents += held / tokens_each if name.lower().endswith(ROWS) else 1
    return (about(documents), about(tokens)) if documents else None
