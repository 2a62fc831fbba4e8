"""Trajectories made from tool schemas: a request in words, the tools at hand, and the call that answers it.

Five kinds are made: one tool and one call; several tools, one of which fits; several calls for one request; no tool that
fits, where the assistant says so; and a request that leaves out a required value, where the assistant asks for it.
Everything is drawn by a seed and marked ``synthetic``; no result is invented.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

from hephaestus_dag.sources import list_items, load_kind
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.operations import Operation
from hephaestus_dag.sources.phrasing import (
    capitalised,
    enumeration,
    first_sentence,
    imperative,
    in_words,
    plain,
    value_in_words,
)
from hephaestus_dag.sources.synthesis.config import SyntheticCallsConfig
from hephaestus_dag.sources.synthesis.values import UnfillableError, draw_members
from hephaestus_dag.sources.tool_schemas import tool_schema
from hephaestus_dag.trajectories import Call, Message, Trajectory

Kind = Literal["single", "choose", "parallel", "refusal", "missing"]
SHARES: dict[Kind, float] = {"single": 0.25, "choose": 0.35, "parallel": 0.15, "refusal": 0.15, "missing": 0.1}
"""Share of each kind among the trajectories."""

LONGEST_ARGUMENTS = 400
"""Characters of a call's arguments as JSON above which another operation is drawn."""

_PLUMBING = ("dryrun", "clienttoken", "clientrequesttoken", "nexttoken", "pagetoken", "prettyprint", "quotauser", "fields")


@dataclass(frozen=True, slots=True)
class _Task:
    """A tool that can be asked for, and the words to ask for it."""

    tool: dict[str, Any]
    action: str
    """What the tool does, as an imperative without capital or full stop."""

    @property
    def name(self) -> str:
        return self.tool["name"]

    @property
    def service(self) -> str:
        return self.name.partition("_")[0]


def synthesise(
    operations: Sequence[dict[str, Any]], count: int, seed: int, *, source: str = "synthetic_calls", license: str = "Apache-2.0"
) -> Iterator[Trajectory]:
    """Yield ``count`` trajectories, cycling through kinds by ``SHARES``.

    ``operations`` are tool schemas (``{"name", "description", "parameters"}``) in any order that keeps the tools of one
    service together: neighbours serve as the harder of the wrong choices. Trajectory ``i`` depends on the seed, ``i`` and
    the operations only, so more of them begin with the same ones.

    Raises ValueError when fewer than four operations can be used, and for a seed and operations from which no values can
    be drawn.
    """
    tasks = _tasks(operations)
    if len({task.service for task in tasks}) < 2 or len(tasks) < 4:
        raise ValueError(f"operations: {len(tasks)} usable tools are too few; give at least 4 described ones, of 2 services")
    for number in range(count):
        rng = Random(f"{seed}:{number}")
        kind = rng.choices(list(SHARES), list(SHARES.values()))[0]
        for _ in range(50):
            try:
                messages, tools = _make(kind, tasks, rng)
                break
            except UnfillableError:
                continue
        else:
            raise ValueError(f"operations: no values could be drawn for 50 tools in a row (trajectory {number}, kind {kind})")
        yield Trajectory(
            messages=messages,
            tools=tools,
            source=source,
            origin=f"seed {seed}, number {number}, {kind}: {', '.join(tool['name'] for tool in tools)}",
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
    schemas = [tool_schema(operation, longest=config.longest_tool) for operation in operations]
    license = " AND ".join(sorted({operation.license for operation in operations}))
    yield from synthesise(schemas, config.count, config.seed, license=license)


def _tasks(operations: Sequence[dict[str, Any]]) -> list[_Task]:
    """Return what can be asked for; a tool without a verb in description or name cannot be put into words."""
    found: dict[str, _Task] = {}
    for tool in operations:
        described = imperative(first_sentence(plain(tool["description"])))
        if not described or len(described) > 160 or ":" in described:
            words = in_words(tool["name"]).split(" ")
            described = imperative(" ".join(words[1:])) or imperative(" ".join([words[-1], *words[1:-1]]))
        if described:
            found.setdefault(tool["name"], _Task(tool, described.rstrip(".,; ")))
    return list(found.values())


def _make(kind: Kind, tasks: list[_Task], rng: Random) -> tuple[tuple[Message, ...], tuple[dict[str, Any], ...]]:
    at = rng.randrange(len(tasks))
    task = tasks[at]
    if kind == "parallel":
        return _parallel(task, tasks[rng.choice(_near(at, tasks))], rng)
    arguments = _arguments(task, rng)
    asked = Message(role="user", content=_request(task, arguments, rng))
    call = Message(role="assistant", calls=(Call(name=task.name, arguments=arguments),))
    if kind == "single":
        return (asked, call), (task.tool,)
    if kind == "choose":
        others = [tasks[rng.choice(_near(at, tasks))], *(rng.choice(tasks) for _ in range(rng.randint(0, 2)))]
        return (asked, call), _shuffled([task, *others], rng)
    if kind == "refusal":
        others = [other for other in rng.sample(tasks, min(12, len(tasks))) if other.service != task.service][
            : rng.randint(1, 3)
        ]
        if not others or any(other.action == task.action for other in others):
            raise UnfillableError("only tools of the same service were drawn")
        return (asked, Message(role="assistant", content=_refusal(task, others, rng))), _shuffled(others, rng)
    return _missing(task, arguments, call, rng), (task.tool,)


def _parallel(task: _Task, other: _Task, rng: Random) -> tuple[tuple[Message, ...], tuple[dict[str, Any], ...]]:
    """Return one request that takes two or three calls, of one tool or of two."""
    wanted = [task] * rng.randint(2, 3) if rng.random() < 0.6 else [task, other]
    drawn = [(each, _arguments(each, rng, least=1)) for each in wanted]
    calls = tuple(Call(name=each.name, arguments=arguments) for each, arguments in drawn)
    if any(call in calls[:n] for n, call in enumerate(calls)):
        raise UnfillableError("the same call was drawn twice")
    steps = [f"{each.action} with {_spoken(arguments)}" for each, arguments in drawn]
    if len(set(map(id, wanted))) == 1:
        steps = [steps[0], *(f"do the same with {_spoken(arguments)}" for _, arguments in drawn[1:])]
    request = rng.choice(("Please ", "I need you to ", "Can you ")) + "; then ".join(steps)
    asked = Message(role="user", content=request + ("?" if request.startswith("Can") else "."))
    return (asked, Message(role="assistant", calls=calls)), _shuffled(wanted, rng)


def _missing(task: _Task, arguments: dict[str, Any], call: Message, rng: Random) -> tuple[Message, ...]:
    """Return a request that leaves out a required value, the question for it, and half of the time answer and call."""
    required = [name for name in task.tool["parameters"].get("required", []) if name in arguments]
    if not required:
        raise UnfillableError(f"{task.name}: nothing is required")
    absent = rng.choice(required)
    given = {name: value for name, value in arguments.items() if name != absent}
    described = plain(task.tool["parameters"]["properties"][absent].get("description", ""))
    hint = f" ({first_sentence(described)})" if 0 < len(first_sentence(described)) < 120 else ""
    question = rng.choice(("Which {} should I use{}?", "I can do that. What is the {}{}?", "Please tell me the {}{}."))
    turns = [
        Message(role="user", content=_request(task, given, rng)),
        Message(role="assistant", content=question.format(in_words(absent), hint)),
    ]
    if rng.random() < 0.5:
        answer = rng.choice(("{}", "It is {}.", "Use {}.")).format(value_in_words(arguments[absent]))
        turns += [Message(role="user", content=answer), call]
    return tuple(turns)


def _refusal(task: _Task, others: list[_Task], rng: Random) -> str:
    can = [f"`{other.name}`" for other in others]
    return rng.choice(
        (
            f"I cannot do that: none of the tools that I have can {task.action}. I only have {enumeration(can)}.",
            f"None of my tools fits this request. With {enumeration(can)} I could {others[0].action}, but not {task.action}.",
            f"I have no tool to {task.action}, so I make no call.",
        )
    )


def _near(at: int, tasks: list[_Task]) -> list[int]:
    return [n for n in range(max(0, at - 5), min(len(tasks), at + 6)) if n != at]


def _shuffled(tasks: list[_Task], rng: Random) -> tuple[dict[str, Any], ...]:
    tools = list({task.name: task.tool for task in tasks}.values())
    rng.shuffle(tools)
    return tuple(tools)


def _arguments(task: _Task, rng: Random, least: int = 0) -> dict[str, Any]:
    """Draw all required arguments and up to two optional ones. Raises UnfillableError."""
    schema = task.tool["parameters"]
    properties = schema.get("properties", {})
    required = [name for name in schema.get("required", []) if name in properties]
    optional = [n for n in properties if n not in required and n.replace("_", "").replace(".", "").lower() not in _PLUMBING]
    wanted = max(rng.choice((0, 0, 1, 1, 2)), least - len(required))
    chosen = [*required, *rng.sample(optional, min(wanted, len(optional)))]
    arguments = draw_members(schema, chosen, rng)
    if len(arguments) < least or len(json.dumps(arguments)) > LONGEST_ARGUMENTS:
        raise UnfillableError(f"{task.name}: {len(arguments)} arguments")
    return arguments


def _spoken(arguments: dict[str, Any]) -> str:
    return enumeration([f"{in_words(name)} {value_in_words(value)}" for name, value in arguments.items()])


def _request(task: _Task, arguments: dict[str, Any], rng: Random) -> str:
    """Return the request in words; every argument's value stands in it."""
    spoken = _spoken(arguments) if arguments else ""
    opening = rng.choice(("{}.", "Please {}.", "I need to {}.", "Can you {}?", "I want to {}."))
    said = capitalised(opening.format(task.action))
    if not spoken:
        return said
    return said + " " + rng.choice((f"Use {spoken}.", f"{capitalised(spoken)}.", f"Please use {spoken}."))
