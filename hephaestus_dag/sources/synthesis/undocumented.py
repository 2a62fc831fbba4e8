"""Public Python functions and classes whose source says nothing, or little, about how they are used."""

import ast
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from typing import Literal

from hephaestus_dag.documents import Reject
from hephaestus_dag.sources.code.python_code import parse
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.reading.distributions import locate
from hephaestus_dag.sources.reading.files import read_text
from hephaestus_dag.sources.synthesis.config import SyntheticDocumentationConfig
from hephaestus_dag.sources.tools.python_modules import LARGEST_MODULE, list_items, module_name

CHARACTERS_PER_TOKEN = 4
SHORTEST_SOURCE = 160
"""Characters of source below which there is nothing to write about."""

_Node = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True, kw_only=True)
class Undocumented:
    """A function or class that a model is to document."""

    name: str
    """With the module: ``json.decoder.scan``."""
    thing: Literal["function", "class"]
    signature: str
    """``scan(text, *, strict=True)``."""
    parameters: tuple[str, ...]
    """Names in the order of the signature, without ``self``."""
    code: str
    """The whole source of it, without decorators' context."""
    source: str
    """Name of the source in the recipe."""
    origin: str
    license: str
    provider: str

    @property
    def key(self) -> str:
        """What tells it from others and from other versions of itself."""
        return hashlib.sha256(f"{self.origin}\0{self.code}".encode()).hexdigest()[:32]


def undocumented_functions(
    config: SourceConfig, items: Sequence[str] | None = None, *, longest_docstring: int = 40, longest_source: int = 4_000
) -> Iterator[Undocumented]:
    """Yield the undocumented functions and classes of the public modules of a source of Python code, in order.

    Taken are those on the top level of a module that have parameters, a docstring of less than ``longest_docstring``
    characters, and a source of at most ``longest_source``. Files that do not parse are passed over: reading the code
    itself sets them aside. ``items`` are modules of `list_items`; None: all.
    """
    for item in list_items(config) if items is None else items:
        text = read_text(config, item, LARGEST_MODULE)
        if isinstance(text, Reject):
            continue
        tree = parse(config, item, text)
        if isinstance(tree, Reject):
            continue
        root = locate(config, item)[0]
        for node in tree.body:
            called = _called(node)
            if called is None or not isinstance(node, ast.ClassDef | _Node) or node.name.startswith("_"):
                continue
            code = ast.get_source_segment(text, node) or ""
            given = _parameters(called)
            short = len(ast.get_docstring(node) or "") < longest_docstring
            if given and short and SHORTEST_SOURCE <= len(code) <= longest_source:
                name = f"{module_name(item)}.{node.name}"
                yield Undocumented(
                    name=name,
                    thing="class" if isinstance(node, ast.ClassDef) else "function",
                    signature=_signature(node.name, called),
                    parameters=given,
                    code=code,
                    source=config.name,
                    origin=f"{item}/{name}",
                    license=root.license,
                    provider=root.label.partition("==")[0],
                )


def undocumented_in(sources: Sequence[SourceConfig], config: SyntheticDocumentationConfig) -> list[Undocumented]:
    """Return the undocumented functions and classes of all sources of Python code, as short as the model may be shown."""
    longest_source = CHARACTERS_PER_TOKEN * config.annotator.max_tokens
    return [
        found
        for source in sources
        if source.kind == "python_code"
        for found in undocumented_functions(source, longest_docstring=config.longest_docstring, longest_source=longest_source)
    ]


def draw_functions(found: Sequence[Undocumented], count: int, seed: int) -> list[Undocumented]:
    """Return ``count`` of them by a seeded hash of origin and source: a larger draw holds the smaller one, in its order."""
    distinct = {each.key: each for each in sorted(found, key=lambda each: each.origin)}
    return nsmallest(count, distinct.values(), key=lambda each: hashlib.sha256(f"{seed}:{each.key}".encode()).digest())


def _called(node: ast.stmt) -> _Node | None:
    """Return the function that a call runs: itself, or the ``__init__`` of a class."""
    if isinstance(node, ast.ClassDef):
        return next((m for m in node.body if isinstance(m, _Node) and m.name == "__init__"), None)
    return node if isinstance(node, _Node) else None


def _parameters(node: _Node) -> tuple[str, ...]:
    given = node.args
    names = [*given.posonlyargs, *given.args, *([given.vararg] if given.vararg else []), *given.kwonlyargs]
    names += [given.kwarg] if given.kwarg else []
    return tuple(argument.arg for argument in names if argument.arg not in ("self", "cls"))


def _signature(name: str, node: _Node) -> str:
    arguments = ast.unparse(node.args)
    for own in ("self", "cls"):
        if arguments == own or arguments.startswith(f"{own}, "):
            arguments = arguments[len(own) + 2 :]
    return f"{name}({arguments})"
