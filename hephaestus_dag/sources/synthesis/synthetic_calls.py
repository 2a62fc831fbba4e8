"""Trajectories made from tool schemas: a request in words, the tools at hand, and the calls that answer it.

Eight kinds are made. Without results: one tool and one call (``single``); several tools, one of which fits (``choose``);
several calls for one request (``parallel``); no tool that fits, where the assistant says so (``refusal``); a request that
leaves out a required value, where the assistant asks for it (``missing``). With results: one call and the answer from its
result (``answered``); two to four calls, each with a value that an earlier one gave back (``chain``); and the same spread
over several requests (``follow_up``).

Everything is drawn by a seed and marked ``synthetic``: values and results are valid against the schemas and mean nothing else.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from hephaestus_dag.sources import list_items, load_kind
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.operations import Operation
from hephaestus_dag.sources.synthesis.config import SHARES, Kind, SyntheticCallsConfig
from hephaestus_dag.sources.synthesis.links import Links
from hephaestus_dag.sources.synthesis.multi_step import Made, make_answered, make_chain, make_follow_up
from hephaestus_dag.sources.synthesis.tasks import Task, find_tasks, shown_tools
from hephaestus_dag.sources.synthesis.values import UnfillableError
from hephaestus_dag.sources.synthesis.without_results import make_without_result
from hephaestus_dag.sources.tool_schemas import tool_with_returns
from hephaestus_dag.trajectories import Trajectory


def synthesise(
    operations: Sequence[dict[str, Any]],
    count: int,
    seed: int,
    *,
    shares: Mapping[Kind, float] = SHARES,
    longest_tool: int = 2_500,
    source: str = "synthetic_calls",
    license: str = "Apache-2.0",
) -> Iterator[Trajectory]:
    """Yield ``count`` trajectories, of kinds that are drawn by ``shares``.

    ``operations`` are tool schemas (``{"name", "description", "parameters"}``, and for the kinds with results ``returns`` and
    ``service``, see `tool_with_returns`) in any order that keeps the tools of one service together: neighbours serve as the
    harder of the wrong choices. Kinds that no operation fits are left out. Trajectory ``i`` depends on the seed, ``i``, the
    shares and the operations only, so more of them begin with the same ones.

    Raises ValueError when fewer than four operations can be used, and for a seed and operations from which no values can
    be drawn.
    """
    tasks = find_tasks(operations)
    if len({task.service for task in tasks}) < 2 or len(tasks) < 4:
        raise ValueError(f"operations: {len(tasks)} usable tools are too few; give at least 4 described ones, of 2 services")
    maker = _Maker(tasks, longest_tool)
    weights: dict[Kind, float] = {kind: share for kind, share in shares.items() if share and maker.can_make(kind)}
    if not weights:
        raise ValueError(
            f"shares: the operations fit none of {', '.join(shares)}; add single, or operations that say what they return"
        )
    for number in range(count):
        rng = Random(f"{seed}:{number}")
        kind = rng.choices(list(weights), list(weights.values()))[0]
        for _ in range(100):
            try:
                messages, tools = maker.make(kind, rng)
                break
            except UnfillableError:
                continue
        else:
            raise ValueError(f"operations: no values could be drawn for 100 tools in a row (trajectory {number}, kind {kind})")
        shown = shown_tools(tools, rng)
        yield Trajectory(
            messages=messages,
            tools=shown,
            source=source,
            origin=f"seed {seed}, number {number}, {kind}: {', '.join(tool['name'] for tool in shown)}",
            license=license,
            synthetic=True,
        )


def synthesise_from_sources(sources: Sequence[SourceConfig], config: SyntheticCallsConfig) -> Iterator[Trajectory]:
    """Yield synthetic trajectories for operations of the sources that document operations.

    Services are drawn by the seed until there are ``config.operations`` operations. Raises ValueError as `synthesise` does.
    """
    if not config.count:
        return
    readable = [source for source in sources if hasattr(load_kind(source.kind), "read_operations")]
    services = [(source, item) for source in readable for item in list_items(source)]
    Random(config.seed).shuffle(services)
    operations: list[Operation] = []
    for source, item in services:
        read: Any = load_kind(source.kind)
        operations += [found for found in read.read_operations(source, item) if isinstance(found, Operation)]
        if len(operations) >= config.operations:
            break
    tools = [tool_with_returns(operation, longest=config.longest_tool) for operation in operations]
    licenses = {tool["name"]: operation.license for tool, operation in zip(tools, operations, strict=True)}
    made = synthesise(tools, config.count, config.seed, shares=config.shares, longest_tool=config.longest_tool)
    for trajectory in made:
        shown = sorted({licenses[tool["name"]] for tool in trajectory.tools})
        yield replace(trajectory, license=" AND ".join(f"({each})" if " OR " in each else each for each in shown))


class _Maker:
    """Makes one trajectory of a kind from the tasks."""

    def __init__(self, tasks: Sequence[Task], longest_tool: int) -> None:
        self.tasks, self.longest_tool = tasks, longest_tool
        self.links = Links(tasks)

    def can_make(self, kind: Kind) -> bool:
        """Return whether there is a tool for a kind."""
        if kind in ("chain", "follow_up"):
            return any(self.links.givers)
        return kind != "answered" or any(task.returns.get("properties") for task in self.tasks)

    def make(self, kind: Kind, rng: Random) -> Made:
        """Return messages and tools. Raises UnfillableError when what was drawn does not fit the kind."""
        if kind == "chain":
            return make_chain(self.tasks, self.links, rng, self.longest_tool)
        if kind == "follow_up":
            return make_follow_up(self.tasks, self.links, rng, self.longest_tool)
        at = rng.randrange(len(self.tasks))
        if kind == "answered":
            return make_answered(at, self.tasks, rng, self.longest_tool)
        return make_without_result(kind, at, self.tasks, rng)
