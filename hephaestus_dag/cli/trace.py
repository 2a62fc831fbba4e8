"""``hephaestus trace``: from a score, a checkpoint or a training step back to documents."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hephaestus_dag.cli.options import example, with_json, with_store
from hephaestus_dag.cli.tables import console, id_of, rows_table, short, table

if TYPE_CHECKING:
    from hephaestus_dag.provenance.item import TracedItem
    from hephaestus_dag.provenance.trace import Trace, TracedStep


@click.command(
    epilog=example(
        "hephaestus trace hephaestus/bfcl_scores",
        "hephaestus trace hephaestus/stage1_checkpoint --step 120",
        "hephaestus trace --item bfcl/simple_python_19",
    )
)
@click.argument("what", required=False, metavar="SCORE|CHECKPOINT|STEP")
@click.option("--step", type=int, help="Documents of one training step of a checkpoint; the first is 1.")
@click.option("--row", type=int, help="With a step: only this sequence of its global batch; the first is 0.")
@click.option("--rank", metavar="R/N", help="With a step: only the sequences of rank R (from 0) among N.")
@click.option("--item", help="What a model replied to a benchmark item, and the documents of its training nearest to it.")
@with_store
@with_json
def command(
    what: str | None, step: int | None, row: int | None, rank: str | None, item: str | None, store: Path, as_json: bool
) -> None:
    """Follow a score or a checkpoint back to mixtures, sources and documents, with origin and licence.

    It is named by its key (the newest counts), key@fingerprint, path, or as benchmark:model (bfcl:hephaestus). A step is a
    checkpoint with --step, or key@step=120; what it showed is read from the plan and the ledger, exactly. With --item and no
    score, the newest score that has the item counts.
    """
    from hephaestus_dag.provenance.artifact_graph import ArtifactGraph
    from hephaestus_dag.provenance.item import newest_score, trace_item
    from hephaestus_dag.provenance.question import open_database
    from hephaestus_dag.provenance.trace import trace, trace_step

    if not (what or item):
        raise click.UsageError("name a score or a checkpoint, such as hephaestus/bfcl_scores, or an item with --item")
    graph, connection = ArtifactGraph(store), open_database()
    node, named_step = graph.resolve(what) if what else (newest_score(item or "", graph), None)
    step = named_step if step is None else step
    if step is None and (row is not None or rank):
        raise click.UsageError("--row and --rank say which sequences of a step: give --step")
    if item and step is not None:
        raise click.UsageError("give --item or --step, not both")
    if item:
        found, show = trace_item(item, node, graph, connection), _show_item
    elif step is not None:
        found, show = trace_step(node, step, graph, connection, row=row, rank=_rank(rank)), _show_step
    else:
        found, show = trace(node, graph, connection), _show_trace
    if as_json:
        click.echo(json.dumps(asdict(found), indent=2, ensure_ascii=False, default=str))
    else:
        show(found)  # pyright: ignore[reportArgumentType]


def _rank(given: str | None) -> tuple[int, int] | None:
    if given is None:
        return None
    rank, _, ranks = given.partition("/")
    if not (rank.isdecimal() and ranks.isdecimal() and int(rank) < int(ranks)):
        raise click.BadParameter(f"{given!r} is no rank: write 0/4 for the first of four", param_hint="--rank")
    return int(rank), int(ranks)


def _show_trace(found: "Trace") -> None:
    out = console()
    out.print(f"[bold]{found.artifact}[/bold]  {found.headline}")
    if found.others:
        out.print(f"[dim]older ones of this name: {', '.join(found.others)}[/dim]")
    if not found.model:
        out.print("a model behind an endpoint: what it was trained on is not known here")
        return
    out.print(f"model {found.model}, trained in this order:\n")
    stages = table("checkpoint", "steps", "tokens", "shares")
    for stage in found.stages:
        shares = ", ".join(f"{share:.1%} {name}" for name, share in stage.shares.items())
        names = f"{stage.checkpoint}\n  {f'shown {stage.mixture}' if stage.mixture else 'a published model'}"
        stages.add_row(names, f"{stage.steps:,}", f"{stage.tokens:,}", shares)
    out.print(stages)
    _unknown(found.unknown)
    out.print(f"\n{found.documents:,} documents were shown, {found.tokens:,} tokens; of {', '.join(found.corpora)}:\n")
    out.print(rows_table(found.sources, "source", "domain", "license", "documents", "tokens"))
    out.print()
    out.print(rows_table(found.licenses, "license", "documents", "tokens"))
    out.print("\nthe documents with most tokens:\n")
    out.print(rows_table(_named(found.examples), "document", "source", "license", "origin", "tokens"))


def _show_step(found: "TracedStep") -> None:
    out = console()
    tokens = sum(each["tokens"] for each in found.documents)
    out.print(
        f"[bold]{found.checkpoint}[/bold], step {found.step:,} of {found.steps:,}: {len(found.documents)} parts of documents, "
        f"{tokens:,} tokens\n"
    )
    for each in found.documents:
        each["of document"] = f"{each['offset']:,}–{each['offset'] + each['tokens']:,}"
    out.print(rows_table(_named(found.documents), "row", "component", "document", "of document", "license", "origin"))
    _unknown(found.unknown)


def _show_item(found: "TracedItem") -> None:
    from rich.markup import escape

    out = console()
    out.print(f"[bold]{found.item}[/bold] of {found.score}, model {found.model or 'behind an endpoint'}")
    out.print(f"  question  {escape(short(found.question, 300))}", soft_wrap=True)
    for name, value in found.row.items():
        if value not in ("", None) and name not in ("seconds", "prompt_tokens"):
            out.print(f"  {name:9} {escape(short(str(value), 300))}", soft_wrap=True)
    clean = {True: "in the clean subset", False: "not in the clean subset", None: "whether it is clean was not measured"}
    shared = f"; {found.overlap['share']:.0%} of it is shared with {found.overlap['origin']}" if found.overlap else ""
    out.print(f"  overlap   {clean[found.clean]}{escape(shared)}", soft_wrap=True)
    if found.nearest:
        among = "the" if found.compared == found.shown else f"{found.compared:,} of the"
        out.print(f"\nnearest of {among} {found.shown:,} documents that the model was shown, by the item's words (BM25):\n")
        out.print(rows_table(_named(found.nearest), "bm25", "words", "tokens", "license", "origin", "document"))
    elif found.model:
        out.print("\nno document that the model was shown holds a word of it, or its text is not kept")
    if found.compared < found.shown:
        out.print(
            f"[yellow]not looked into[/yellow]  {found.shown - found.compared:,} documents: no corpus here holds their text"
        )


def _unknown(told: list[str]) -> None:
    from rich.markup import escape

    for each in told:
        console().print(f"[yellow]not known[/yellow]  {escape(each)}", soft_wrap=True)


def _named(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**row, "document": id_of(row["document_id"])} for row in rows]
