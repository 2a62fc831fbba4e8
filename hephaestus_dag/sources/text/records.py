"""Rows with a column of text: JSON lines, JSON, CSV and Parquet files, and Hugging Face data sets, one document per row."""

from collections.abc import Iterator
from typing import Any

from hephaestus_dag.documents import Document, Reject
from hephaestus_dag.licenses import normalise_license
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.naming import site_of
from hephaestus_dag.sources.reading.distributions import locate
from hephaestus_dag.sources.reading.files import reject
from hephaestus_dag.sources.reading.record_files import Record, file_of, list_record_items, read_records

list_items = list_record_items

_KINDS = {"agent": "agent_text", "code": "source_code", "text": "prose"}
"""Domain -> kind of document."""


def read_item(config: SourceConfig, item: str) -> Iterator[Document | Reject]:
    """Yield the text of each row; a row without text is set aside with the columns that it has.

    ``config.columns`` says which column holds what. The licence of a row counts before the one of the source.
    """
    root, _ = locate(config, item)
    named = [name for name in config.columns.model_dump().values() if name]
    wanted = dict.fromkeys([*named, *(name.partition(".")[0] for name in named)])
    for found in read_records(config, item, list(wanted)):
        yield found if isinstance(found, Reject) else _document(config, file_of(item), found, root.license)


def _document(config: SourceConfig, file: str, record: Record, license: str) -> Document | Reject:
    columns, row = config.columns, record.value
    text = look_up(row, columns.text)
    origin = f"{file}/{record.position}"
    if not isinstance(text, str):
        has = f"a {type(text).__name__}" if text is not None else f"nothing; the row has {', '.join(map(str, row))[:200]}"
        return reject(config, file, record.position, f"no text: column {columns.text!r} holds {has}")
    own = _words(row, columns.license)
    place, provider = _words(row, columns.origin), _words(row, columns.provider)
    return Document(
        text=text.strip(),
        domain=config.domain,
        kind=_KINDS[config.domain],
        source=config.name,
        origin=f"{origin}/{place}" if place else origin,
        license=normalise_license(own) if own else license,
        provider=site_of(provider) or provider,
        format=_words(row, columns.language).lower(),
    )


def look_up(row: dict[str, Any], column: str) -> Any:
    """Return what a column holds; a dot leads into a column that holds an object, unless the column's name has a dot."""
    value: Any = row
    for part in [column] if column in row else column.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _words(row: dict[str, Any], column: str | None) -> str:
    """Return a column as one line that can be stored; several values, as licences often are, side by side."""
    value = look_up(row, column) if column else None
    values = value if isinstance(value, list) else [value]
    return " OR ".join(" ".join(str(each).split()) for each in values if each is not None).encode(errors="replace").decode()
