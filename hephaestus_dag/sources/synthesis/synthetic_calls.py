"""Trajectories made from tool schemas: a request in words, the tools at hand, and the calls that answer it.

Eight kinds are made. Without results: one tool and one call (``single``); several tools, one of which fits (``choose``);
several calls for one request (``parallel``); no tool that fits, where the assistant says so (``refusal``); a request that
leaves out a required value, where the assistant asks for it (``missing``). With results: one call and the answer from its
result (``answered``); two to four calls, each with a value that an earlier one gave back (``chain``); and the same spread
over several requests (``follow_up``).

Everything is drawn by a seed and marked ``synthetic``: values and results are valid against the schemas and mean nothing else.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from hephaestus_dag.sources import list_items, load_kind
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.operations import Operation
from hephaestus_dag.sources.synthesis.config import SHARES, Kind, SyntheticCallsConfig
from hephaestus_dag.sources.synthesis.everyday.calls import synthesise_everyday
from hephaestus_dag.sources.synthesis.links import Links
from hephaestus_dag.sources.synthesis.multi_step import Made, make_answered, make_chain, make_follow_up
from hephaestus_dag.sources.synthesis.tasks import Task, find_tasks, shown_tools
from hephaestus_dag.sources.synthesis.values import UnfillableError
from hephaestus_dag.sources.synthesis.without_results import make_without_result
from hephaestus_dag.sources.tool_schemas import tool_with_returns
from hephaestus_dag.trajectories import Message, Trajectory


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
    """Yield synthetic trajectories for operations of the sources that document operations, then those of everyday functions.

    Services are drawn by the seed until there are ``config.operations`` operations. Raises ValueError as `synthesise` does.
    """
    if config.count:
        operations = draw_operations(sources, config.operations, config.seed, lambda name: name not in config.held_out_services)
        yield from synthesise_operations(operations, config)
    yield from synthesise_everyday(config.everyday, config.seed, conversations=config.everyday_conversations)


def draw_operations(
    sources: Sequence[SourceConfig], count: int, seed: int, wanted: Callable[[str], bool] = lambda name: True
) -> list[Operation]:
    """Return the operations of services that are drawn by a seed, whole services until there are ``count`` operations.

    ``wanted`` says of a service's name whether its operations may be drawn.
    """
    readable = [source for source in sources if hasattr(load_kind(source.kind), "read_operations")]
    services = [(source, item) for source in readable for item in list_items(source)]
    Random(seed).shuffle(services)
    operations: list[Operation] = []
    for source, item in services:
        read: Any = load_kind(source.kind)
        found = [each for each in read.read_operations(source, item) if isinstance(each, Operation)]
        operations += [each for each in found if wanted(each.service)]
        if len(operations) >= count:
            break
    return operations


def synthesise_operations(operations: Sequence[Operation], config: SyntheticCallsConfig) -> Iterator[Trajectory]:
    """Yield ``config.count`` trajectories for operations, with the licences of the tools that they show."""
    tools = [tool_with_returns(operation, longest=config.longest_tool) for operation in operations]
    licenses = {tool["name"]: operation.license for tool, operation in zip(tools, operations, strict=True)}
    made = synthesise(tools, config.count, config.seed, shares=config.shares, longest_tool=config.longest_tool)
    for trajectory in made:
        shown = sorted({licenses[tool["name"]] for tool in trajectory.tools})
        license = " AND ".join(f"({each})" if " OR " in each else each for each in shown)
        mark = Random(f"quotes:{trajectory.origin}").choice(config.quotes)
        yield replace(trajectory, license=license, messages=tuple(quoted(message, mark) for message in trajectory.messages))


def quoted(message: Message, mark: str) -> Message:
    """Return a user's message with another mark around the values in it."""
    if message.role != "user" or mark == "`":
        return message
    return replace(message, content=re.sub(r"`([^`]*)`", lambda found: f"{mark}{found[1]}{mark}", message.content))


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
