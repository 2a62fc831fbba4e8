"""Options that several subcommands share."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


def _store(_context: click.Context, _parameter: click.Parameter, given: str | None) -> Path:
    if given == "":
        raise click.BadParameter("it is empty; write the folder or URL of the store, or . for this folder")
    from hephaestus_dag.store_location import mirror, store_folder

    store = store_folder(given or "")
    if store.exists() and not store.is_dir():
        raise click.BadParameter(f"{store} is a file; a store is a folder or a URL such as s3://bucket/prefix")
    mirror(store)
    return store


def with_store(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--store``, passed on as an absolute ``store: Path``; for a bucket its cache, with the bucket's manifests."""
    return click.option(
        "--store",
        type=click.Path(),
        callback=_store,
        help="Folder or URL (s3://bucket/prefix) of artifacts [$HEPHAESTUS_STORE or ./store].",
    )(function)


def with_json(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--json``, passed on as ``as_json: bool``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")(function)


def with_recipe(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the argument RECIPE, passed on as ``recipe: str``, a packaged name or a path."""
    return click.argument("recipe", default=lambda: os.environ.get("HEPHAESTUS_RECIPE", "laptop"))(function)


def example(*lines: str) -> str:
    """Return an epilog that shows how a subcommand is used, one command a line."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)
