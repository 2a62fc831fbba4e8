"""API documentation of Python modules, parsed and never imported: one document per public class, function and module."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from hephaestus_dag.documents import Document, Reject, signature
from hephaestus_dag.sources.code.python_code import parse
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.reading.distributions import list_files, locate
from hephaestus_dag.sources.reading.files import read_text
from hephaestus_dag.sources.rendering.descriptions import shorten
from hephaestus_dag.sources.rendering.formats import Format, choose_format

_NOT_FOR_USERS = ("test", "tests", "testing", "idlelib", "idle_test", "lib2to3", "turtledemo", "conftest", "setup", "__main__")
LARGEST_MODULE = 2_000_000
"""Characters of a source file above which it is not parsed; it becomes many documents."""

_SHORTEST_DOCSTRING = 40
_SHORTEST_MODULE_DOCSTRING = 200

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Entry:
    """One documented thing of a module."""

    name: str
    """With the module: ``json.decoder.JSONDecoder``."""
    signature: str
    """``class JSONDecoder(*, object_hook=None)``; empty for a module."""
    docstring: str
    members: tuple[tuple[str, str], ...] = ()
    """Signature and first sentence of the public methods of a class, or functions and classes of a module."""
    parameters: tuple[str, ...] = ()
    """Names of the parameters of a function, or of a class's ``__init__``."""


def list_items(config: SourceConfig) -> list[str]:
    """Return one item per public module: ``cpython==3.11.7/Lib/json/decoder.py``."""
    return [item for item in list_files(config, (".py",)) if _public_path(item)]


def read_item(config: SourceConfig, item: str) -> Iterator[Document | Reject]:
    """Yield a document for each public class and function that has a docstring, and for the module's own docstring.

    A module without any docstring yields nothing: it is code, not documentation.
    """
    text = read_text(config, item, LARGEST_MODULE)
    if isinstance(text, Reject):
        if text.reason != "empty":  # an empty __init__.py documents nothing
            yield text
        return
    tree = parse(config, item, text)
    if isinstance(tree, Reject):
        yield tree
        return
    root = locate(config, item)[0]
    package = root.label.partition("==")[0]
    for entry in entries(tree, module_name(item)):
        origin = f"{item}/{entry.name}"
        form = choose_format(origin, config.seed)
        yield Document(
            text=render_entry(entry, form),
            domain=config.domain,
            kind="api_documentation",
            source=config.name,
            origin=origin,
            license=root.license,
            provider=package,
            api=f"{package} {entry.name}" if entry.signature else "",
            signatures=signature(entry.name.rpartition(".")[2], entry.parameters) if entry.signature else "",
            format=form,
        )


def module_name(item: str) -> str:
    """Return the dotted name of the module that an item holds."""
    parts = item.removesuffix(".py").split("/")[1:]
    if parts and parts[0] in ("Lib", "src"):
        parts = parts[1:]
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def entries(tree: ast.Module, module: str) -> Iterator[Entry]:
    """Yield what a module documents, in the order of the source."""
    public = [
        node
        for node in tree.body
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_") and ast.get_docstring(node)
    ]
    docstring = ast.get_docstring(tree) or ""
    if len(docstring) >= _SHORTEST_MODULE_DOCSTRING:
        yield Entry(module, "", docstring, tuple((_signature(node), _summary(node)) for node in public))
    for node in public:
        docstring, members = ast.get_docstring(node) or "", ()
        if isinstance(node, ast.ClassDef):
            methods = [m for m in node.body if isinstance(m, Function) and not m.name.startswith("_")]
            members = tuple((_signature(method), _summary(method)) for method in methods)
        if len(docstring) + sum(len(summary) for _, summary in members) >= _SHORTEST_DOCSTRING:
            yield Entry(f"{module}.{node.name}", _signature(node), docstring, members, _parameters(node))


def render_entry(entry: Entry, form: Format) -> str:
    """Return the documentation of one entry: as prose, as a stub (``signature``), or as a listing (``schema``)."""
    if form == "signature" and entry.signature:
        module, _, _ = entry.name.rpartition(".")
        kind = "" if entry.signature.startswith(("class ", "async ")) else "def "
        lines = [f"# {module}", f"{kind}{entry.signature}:", *_quoted(entry.docstring)]
        for signature, summary in entry.members:
            kind = "" if signature.startswith(("class ", "async ")) else "def "
            lines += ["", f"    {kind}{signature}: ...", *([f"        # {summary}"] if summary else [])]
        return "\n".join(lines)
    heading = f"# {entry.name}" if form == "reference" else entry.name
    parts = [heading, f"`{entry.signature}`" if form == "reference" and entry.signature else entry.signature, entry.docstring]
    if entry.members:
        inside = (f"- `{signature}`: {summary}" if summary else f"- `{signature}`" for signature, summary in entry.members)
        parts += ["## Methods" if entry.signature else "## Contents", "\n".join(inside)]
    return "\n\n".join(part for part in parts if part)


def _quoted(docstring: str) -> list[str]:
    lines = f'"""{docstring}'.split("\n")
    return [f"    {line}" if line else "" for line in lines[:-1]] + [f'    {lines[-1]}"""']


def _summary(node: Function | ast.ClassDef) -> str:
    docstring = ast.get_docstring(node) or ""
    return shorten(" ".join(docstring.partition("\n\n")[0].split()), 160)


def _signature(node: Function | ast.ClassDef) -> str:
    if isinstance(node, ast.ClassDef):
        made = _init(node)
        bases = ", ".join(ast.unparse(base) for base in node.bases)
        return f"class {node.name}({_arguments(made) if made else bases})"
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{'async def ' if isinstance(node, ast.AsyncFunctionDef) else ''}{node.name}({_arguments(node)}){returns}"


def _parameters(node: Function | ast.ClassDef) -> tuple[str, ...]:
    made = _init(node) if isinstance(node, ast.ClassDef) else node
    given = [*made.args.posonlyargs, *made.args.args, *made.args.kwonlyargs] if made else []
    return tuple(argument.arg for argument in given if argument.arg not in ("self", "cls"))


def _init(node: ast.ClassDef) -> Function | None:
    return next((m for m in node.body if isinstance(m, Function) and m.name == "__init__"), None)


def _arguments(node: Function) -> str:
    text = ast.unparse(node.args)
    for own in ("self", "cls"):
        if text == own or text.startswith(f"{own}, "):
            return text[len(own) + 2 :]
    return text


def _public_path(item: str) -> bool:
    parts = item.removesuffix(".py").split("/")[1:]
    return not any(part in _NOT_FOR_USERS or (part.startswith("_") and part != "__init__") for part in parts)
