"""``hephaestus find``: what was made with a document, a text, a licence or a source."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hephaestus_dag.cli.options import example, with_json, with_store
from hephaestus_dag.cli.tables import console, id_of, rows_table, short

if TYPE_CHECKING:
    import duckdb

    from hephaestus_dag.provenance.artifact_graph import ArtifactGraph
    from hephaestus_dag.provenance.found import Found, InCorpus, InModel
    from hephaestus_dag.provenance.question import Question

KINDS = ("document", "text", "license", "source", "origin")
FEW = 12
"""Models, scores and derived artifacts that are named; the rest is counted."""
FEW_REASONS = 2


def with_question(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add what documents are meant: an argument that is guessed at, or one of five options."""
    told = {
        "document": "Id of a document, or its first 8 digits.",
        "text": "A passage that documents hold, or a whole document; @FILE reads it from a file.",
        "license": "SPDX identifier: all documents whose licence names it, on either side of an AND or OR.",
        "source": "Name of a source in the recipe.",
        "origin": "How the origin of documents begins, such as botocore==1.43.8/.",
    }
    for name in reversed(KINDS):
        function = click.option(f"--{name}", help=told[name])(function)
    return click.argument("what", required=False, metavar="DOCUMENT|TEXT|LICENSE|SOURCE")(function)


def question_of(
    what: str | None, given: dict[str, str | None], graph: "ArtifactGraph", connection: "duckdb.DuckDBPyConnection"
) -> "Question":
    """Return what somebody asks for on the command line; raises UsageError unless it is exactly one thing."""
    from hephaestus_dag.provenance.question import Question, guess

    asked = {name: value for name, value in given.items() if value}
    if len(asked) + bool(what) != 1:
        raise click.UsageError("say one thing: a document, text, licence or source, or one of --" + ", --".join(KINDS))
    if what:
        return guess(what, graph, connection)
    if (text := asked.get("text", "")).startswith("@"):
        try:
            asked["text"] = Path(text[1:]).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise click.BadParameter(f"{text[1:]} cannot be read: {error}", param_hint="--text") from error
    return Question(**asked)


@click.command(
    epilog=example(
        "hephaestus find PSF-2.0",
        "hephaestus find --source readmes",
        "hephaestus find --text @LICENSE --json",
    )
)
@with_question
@click.option("--recipe", help="Only in what this recipe builds with today's code: is it gone after `hephaestus forget`?")
@with_store
@with_json
def command(what: str | None, recipe: str | None, store: Path, as_json: bool, **given: str | None) -> None:
    """Say which corpora, checkpoints and scores of a store were made with a document, text, licence or source.

    The bare argument is taken for an id (8 to 32 hexadecimal digits), a source, an SPDX licence, or else a passage of text.
    Answered from manifests, document tables and ledgers; the bytes of the files are for `hephaestus verify`. The status is 3,
    and `present` null, when nothing was found but something could not be looked into: then it may still be there.
    """
    from hephaestus_dag.provenance.artifact_graph import ArtifactGraph
    from hephaestus_dag.provenance.find import find
    from hephaestus_dag.provenance.question import open_database

    graph, connection = ArtifactGraph(store), open_database()
    question = question_of(what, given, graph, connection)
    within, unbuilt = _within(recipe, store)
    found = find(question, graph, connection, within)
    found.unknown.extend(unbuilt)
    if as_json:
        click.echo(json.dumps({**asdict(found), "present": found.present}, indent=2, ensure_ascii=False))
    else:
        show_found(found)
    if found.present is None:
        raise SystemExit(3)


def _within(recipe: str | None, store: Path) -> "tuple[ArtifactGraph | None, list[str]]":
    """Return the artifacts of a recipe, and what it has not built, in words."""
    from hephaestus_dag.provenance.artifact_graph import ArtifactGraph
    from hephaestus_dag.recipe_file import load_recipe
    from hephaestus_dag.upkeep.identities import identities

    if recipe is None:
        return None, []
    lineage = identities(load_recipe(recipe))
    made = {lineage.identity(key).fingerprint: key for key in lineage.assets}
    graph = ArtifactGraph(store, made.keys())
    missing = [key for fingerprint, key in made.items() if fingerprint not in graph.nodes]
    more = f" and {len(missing) - FEW} more" if len(missing) > FEW else ""
    return graph, [f"the recipe {recipe} has not built {', '.join(missing[:FEW])}{more}"] if missing else []


def show_found(found: "Found") -> None:
    """Print where documents went."""
    from rich.markup import escape

    out = console()
    count = "" if found.documents is None else f": {found.documents:,} document{'s' * (found.documents != 1)}"
    out.print(f"[bold]{escape(found.question)}[/bold]{count}\n")
    if found.examples:
        examples = [{**each, "document": id_of(each["id"])} for each in found.examples]
        out.print(rows_table(examples, "document", "source", "license", "origin"))
        out.print(f"[dim]{escape(short(found.examples[0]['text'], 95))}[/dim]\n")
    if not (found.corpora or found.tokens):
        known = "no table here holds this id" if found.documents else "no table here holds any of it"
        out.print(known if found.nowhere else "nothing that was looked into holds it")
    if found.corpora:
        corpora = [{"corpus": each.artifact, "kept": each.kept, **_removed(each)} for each in found.corpora]
        out.print(rows_table(corpora, "corpus", "kept", "removed", "because"))
    if found.tokens:
        tokens = [{**asdict(each), "token store": each.artifact, "held out": each.heldout} for each in found.tokens]
        out.print()
        out.print(rows_table(tokens, "token store", "documents", "held out", "tokens"))
    out.print()
    if found.models:
        models = [{**asdict(each), **_bounds(each), "model": each.artifact} for each in found.models]
        models.sort(key=lambda model: model["model"].startswith("proxy_"))
        out.print(rows_table(models[:FEW], "model", "documents", "tokens", "share", "times"))
        _rest(models)
    else:
        out.print("no model here was shown any of it" + (", as far as is known" if found.unknown else ""))
    if found.scores:
        out.print()
        scores = [
            {"score": each.artifact, "tokens": _bound(each.tokens, each.complete), "": short(each.headline, 45)}
            for each in found.scores
        ]
        out.print(rows_table(scores[:FEW], "score", "tokens", ""))
        _rest(scores)
    if found.derived:
        out.print(f"\nalso made from these corpora, whether or not it mattered: {_named(found.derived)}")
    if found.near_copies:
        out.print("\nnear-duplicates of it, which are other documents:\n")
        near = [{**each, "document": id_of(each["id"])} for each in found.near_copies]
        out.print(rows_table(near[:FEW], "document", "jaccard", "artifact"))
        _rest(near)
    for each in found.unknown:
        out.print(f"[yellow]not looked into[/yellow]  {escape(each)}", soft_wrap=True)


def _bounds(model: "InModel") -> dict[str, Any]:
    numbers = {name: _bound(getattr(model, name), model.complete) for name in ("documents", "tokens")}
    share = "" if model.share is None else f"{model.share:.2%}"
    return {**numbers, "share": share, "times": "" if model.times is None else model.times}


def _bound(count: int, complete: bool) -> int | str:
    return count if complete else f">= {count:,}"


def _removed(corpus: "InCorpus") -> dict[str, Any]:
    rows = corpus.removed
    steps = Counter[str]()
    for row in rows:
        steps[row["step"]] += row["documents"]
    told = [f"{row['step']}: {row['reason']} ({row['documents']:,})" for row in rows]
    if len(rows) > FEW_REASONS:
        told = [f"{step} ({count:,})" for step, count in steps.items()]
    return {"removed": steps.total(), "because": "; ".join(told) or ("" if corpus.curated else "as the sources hold it")}


def _rest(rows: list[Any]) -> None:
    if len(rows) > FEW:
        console().print(f"and {len(rows) - FEW} more, see --json")


def _named(names: list[str]) -> str:
    return ", ".join(names[:FEW]) + (f", and {len(names) - FEW} more" if len(names) > FEW else "")
