"""Python source files: one document per file that is UTF-8, not empty, not too large, and parses."""

import ast
import warnings
from collections.abc import Iterator

from hephaestus_dag.documents import Document, Reject
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.reading.distributions import list_files, locate
from hephaestus_dag.sources.reading.files import read_text, reject


def list_items(config: SourceConfig) -> list[str]:
    """Return one item per file: ``cpython==3.11.7/Lib/json/decoder.py``."""
    return list_files(config, (".py",))


def read_item(config: SourceConfig, item: str) -> Iterator[Document | Reject]:
    """Yield the file, or the reason why it is set aside."""
    text = read_text(config, item)
    if isinstance(text, Reject):
        yield text
        return
    tree = parse(config, item, text)
    if isinstance(tree, Reject):
        yield tree
        return
    yield Document(
        text=text,
        domain=config.domain,
        kind="python_code",
        source=config.name,
        origin=item,
        license=locate(config, item)[0].license,
    )


def parse(config: SourceConfig, item: str, text: str) -> ast.Module | Reject:
    """Return the syntax tree of a file, or the line at which it is broken. Nothing is executed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in somebody else's code
            return ast.parse(text, filename=item)
    except SyntaxError as error:
        return reject(config, item, f"line {error.lineno or 1}", f"not Python: {error.msg}")
    except (MemoryError, RecursionError, ValueError) as error:
        return reject(config, item, "file", f"not Python: {type(error).__name__}: {error}")
