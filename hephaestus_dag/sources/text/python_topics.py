"""The chapters of Python's own manual that ``help()`` shows: one document per topic."""

import ast
from collections.abc import Iterator

from hephaestus_dag.documents import Document, Reject
from hephaestus_dag.sources.code.python_code import parse
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.reading.distributions import list_files, locate
from hephaestus_dag.sources.reading.files import read_text, reject
from hephaestus_dag.sources.tools.python_modules import LARGEST_MODULE


def list_items(config: SourceConfig) -> list[str]:
    """Return the one file of the standard library that holds the topics."""
    return [item for item in list_files(config, (".py",)) if item.endswith("pydoc_data/topics.py")]


def read_item(config: SourceConfig, item: str) -> Iterator[Document | Reject]:
    """Yield each topic. The dictionary is read as a literal; nothing is executed."""
    text = read_text(config, item, LARGEST_MODULE)
    tree = text if isinstance(text, Reject) else parse(config, item, text)
    if isinstance(tree, Reject):
        yield tree
        return
    tables = [node.value for node in tree.body if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict)]
    if not tables:
        yield reject(config, item, "file", "holds no dictionary of topics")
    license = locate(config, item)[0].license
    for table in tables:
        for topic, page in sorted(ast.literal_eval(table).items()):
            yield Document(
                text=page.strip(),
                domain=config.domain,
                kind="prose",
                source=config.name,
                origin=f"{item}/{topic}",
                license=license,
            )
