"""The version of a piece of code: a hash of what it does, not of how it is laid out.

It covers the syntax tree of a function and of every module of the library that it reaches by imports, without
comments, docstrings and formatting. Editing a filter therefore rebuilds what the filter made, and nothing else.
"""

import ast
import hashlib
import inspect
from collections.abc import Callable, Iterator
from copy import copy
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

PACKAGE = "hephaestus_dag"
_ROOT = Path(__file__).parent
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_READ: dict[Path, tuple[int, int] | None] = {}
"""What `_state` said of a file when it was read."""
_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")


class _Code(NamedTuple):
    """A piece of code, read."""

    digest: bytes
    imports: frozenset[str]
    """Modules of the library."""
    names: frozenset[str]
    """Every name in it."""


def function_version(function: Callable[..., Any], programs: tuple[str, ...] = ()) -> str:
    """Return the code version of a function, as 16 hex digits.

    `programs` names modules that the function runs by name, in a process of their own, and so does not import.
    """
    functions, modules = _reached(function, programs)
    digest = hashlib.sha256()
    for code in [*map(_function, functions), *map(_module, modules)]:
        digest.update(code.digest)
    return digest.hexdigest()[:16]


def edited_since(function: Callable[..., Any], programs: tuple[str, ...] = ()) -> list[str]:
    """Return the files of a code version that were edited since this process read them.

    A module that is imported only now may hold other code than the version says.
    """
    functions, modules = _reached(function, programs)
    files = {*(Path(helper.__code__.co_filename) for helper in functions), *filter(None, map(_path, modules))}
    return sorted(str(file) for file in files if _READ[file] != _state(file))


def _reached(function: Callable[..., Any], programs: tuple[str, ...]) -> tuple[list[Callable[..., Any]], list[str]]:
    """Return the functions and the modules of the library that make up a code version."""
    functions = _with_helpers(function)
    roots = {name for helper in functions for name in _function(helper).imports} | set(programs)
    return functions, sorted(_closure(roots))


def _with_helpers(function: Callable[..., Any]) -> list[Callable[..., Any]]:
    """Return a function and the functions of its own package that it names, reached one from another."""
    package = function.__module__.split(".")[0]
    found = [inspect.unwrap(function)]
    for current in found:
        for name in sorted(_function(current).names):
            # Of a context manager, for example, the code is that of contextlib's wrapper.
            value = inspect.unwrap(current.__globals__.get(name))  # pyright: ignore[reportArgumentType]
            if inspect.isfunction(value) and value.__module__.split(".")[0] == package and value not in found:
                found.append(value)
    return found


def _closure(roots: set[str]) -> set[str]:
    found: set[str] = set()
    waiting = set(roots)
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting |= _module(module).imports - found
    return found


@cache
def _function(function: Callable[..., Any]) -> _Code:
    """Read a function without its decorators, which say where it stands in the graph and not what it does."""
    code = function.__code__
    definition = copy(_definitions(code.co_filename)[code.co_firstlineno])
    definition.decorator_list = []
    return _read(definition)


@cache
def _definitions(file: str) -> dict[int, ast.FunctionDef]:
    """Return the functions of a file by the line that they begin at, decorators included."""
    found = (node for node in ast.walk(_parse(Path(file))) if isinstance(node, ast.FunctionDef))
    return {min([node.lineno, *(each.lineno for each in node.decorator_list)]): node for node in found}


@cache
def _module(name: str) -> _Code:
    path = _path(name)
    if path is None:
        raise ModuleNotFoundError(f"no module {name} in {PACKAGE}")
    return _read(_parse(path))


def _parse(path: Path) -> ast.Module:
    _READ[path] = _state(path)
    return ast.parse(path.read_bytes())


def _state(path: Path) -> tuple[int, int] | None:
    """Return when a file was written last and its size in bytes; None when it is gone."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_size


def _read(tree: ast.AST) -> _Code:
    imports: set[str] = set()
    for node in _statements(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            imports.update(_imports(node))
    parts: list[str] = []
    names: set[str] = set()
    _write(tree, parts, names)
    text = "\0".join(parts).encode("utf-8", "surrogatepass")
    return _Code(hashlib.sha256(text).digest(), frozenset(imports), frozenset(names))


def _statements(tree: ast.AST) -> list[ast.AST]:
    """Return a tree's statements, however deep, and what holds them; expressions, most of the nodes, are not looked through."""
    found: list[ast.AST] = [tree]
    for node in found:
        for block in _BLOCKS:
            inner = getattr(node, block, None)
            if isinstance(inner, list):  # a lambda's body and those of a conditional expression are expressions
                found += inner
    return found


def _write(node: ast.AST, parts: list[str], names: set[str]) -> None:
    """Write a tree as a list of words, each list in it closed by one of its own, so that no two trees are written alike.

    What is empty is left out, as versions of Python add such fields, and so is whether a name is read or written.
    """
    parts.append(node.__class__.__name__)
    if isinstance(node, ast.Name):
        names.add(node.id)
        parts.append(node.id)
        return
    for field in node._fields:
        value = getattr(node, field, None)
        if isinstance(value, ast.AST):
            if field != "ctx":
                parts.append(field)
                _write(value, parts, names)
        elif isinstance(value, list):
            if field == "body" and isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
                value = value[1:]
            if value:
                parts.append(field)
                for item in value:
                    if isinstance(item, ast.AST):
                        _write(item, parts, names)
                    else:
                        parts.append(repr(item))
                parts.append("]")
        elif value is not None:
            parts += (field, repr(value))
    parts.append(")")


def _imports(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    names = [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        names = [node.module, *(f"{node.module}.{name}" for name in names)] if node.module else []
    yield from (name for name in names if name.split(".")[0] == PACKAGE and _path(name))


@cache
def _path(name: str) -> Path | None:
    base = _ROOT.joinpath(*name.split(".")[1:])
    candidates = (base.with_suffix(".py"), base / "__init__.py") if base != _ROOT else (base / "__init__.py",)
    return next((path for path in candidates if path.is_file()), None)
