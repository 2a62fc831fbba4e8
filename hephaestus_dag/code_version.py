"""The version of a piece of code: a hash of what it does, not of how it is laid out.

It covers the syntax tree of a function and of every module of the library that it reaches by imports, without
comments, docstrings and formatting. Editing a filter therefore rebuilds what the filter made, and nothing else.
"""

import ast
import hashlib
import inspect
import textwrap
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = "hephaestus_dag"
_ROOT = Path(__file__).parent


def function_version(function: Callable[..., Any], programs: tuple[str, ...] = ()) -> str:
    """Return the code version of a function, as 16 hex digits.

    `programs` names modules that the function runs by name, in a process of their own, and so does not import.
    """
    trees = [_function_tree(helper) for helper in _with_helpers(function)]
    roots = {name for tree in trees for name in _imports(tree)} | set(programs)
    digest = hashlib.sha256()
    for text in [_dump(tree) for tree in trees] + [_module(module)[0] for module in sorted(_closure(roots))]:
        digest.update(text.encode() + b"\0")
    return digest.hexdigest()[:16]


def _with_helpers(function: Callable[..., Any]) -> list[Callable[..., Any]]:
    """Return a function and the functions of its own package that it names, reached one from another."""
    package = function.__module__.split(".")[0]
    found = [function]
    for current in found:
        names = {node.id for node in ast.walk(_function_tree(current)) if isinstance(node, ast.Name)}
        for name in sorted(names):
            value = current.__globals__.get(name)
            if inspect.isfunction(value) and value.__module__.split(".")[0] == package and value not in found:
                found.append(value)
    return found


def _function_tree(function: Callable[..., Any]) -> ast.Module:
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    definition = tree.body[0]
    assert isinstance(definition, ast.FunctionDef)
    definition.decorator_list = []
    return tree


def _closure(roots: set[str]) -> set[str]:
    found: set[str] = set()
    waiting = set(roots)
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting |= _module(module)[1] - found
    return found


@cache
def _module(name: str) -> tuple[str, frozenset[str]]:
    path = _path(name)
    if path is None:
        raise ModuleNotFoundError(f"no module {name} in {PACKAGE}")
    tree = ast.parse(path.read_text())
    imports = frozenset(_imports(tree))
    return _dump(tree), imports


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        yield from (name for name in names if name.split(".")[0] == PACKAGE and _path(name))


def _path(name: str) -> Path | None:
    base = _ROOT.joinpath(*name.split(".")[1:])
    candidates = (base.with_suffix(".py"), base / "__init__.py") if base != _ROOT else (base / "__init__.py",)
    return next((path for path in candidates if path.is_file()), None)


def _dump(tree: ast.AST) -> str:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if (
            isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
            and isinstance(body[0].value.value, str)
        ):
            node.body = body[1:]
    return ast.unparse(tree)
