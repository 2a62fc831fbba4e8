"""The items: what training data never show, asked with BFCL's official prompt and judged by its official checker.

``everyday``    functions of held-out topics, with held-out values, of the packaged catalogue (``sources.synthesis.everyday``)
``service``     operations of botocore services that the training data leave out (`HELD_OUT_SERVICES`)
``written``     functions and questions written by hand (``written.jsonl``), in words that no template makes

An item's category is its source and BFCL's kind, ``written_parallel_multiple``. The official checker reads only the kind.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from random import Random
from typing import Any

from hephaestus_dag.evaluation.prompts import ChatMessage
from hephaestus_dag.mixture.tool_prompts import bfcl_functions, tool_prompt
from hephaestus_dag.sources.synthesis.everyday.calls import make_everyday
from hephaestus_dag.sources.synthesis.everyday.catalogue import load_functions
from hephaestus_dag.trajectories import Call, Trajectory

HELD_OUT_SERVICES = ("geo-places", "grafana", "groundstation", "mturk", "polly", "scheduler", "secretsmanager", "sqs")
EVERYDAY = {"single": 30, "choose": 25, "parallel": 20, "mixed": 15, "refusal": 30, "missing": 10}
"""Items of each kind of `synthesise_everyday`."""
SERVICE = {"single": 15, "choose": 15}
"""Items of each kind of `synthesise`."""
KINDS = {
    "single": "simple",
    "choose": "multiple",
    "parallel": "parallel",
    "mixed": "parallel_multiple",
    "refusal": "irrelevance",
    "missing": "irrelevance",
}
"""What BFCL calls a kind of trajectory: it judges only that no call is made where a value is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A question with functions, and the calls that answer it."""

    item_id: str
    category: str
    tools: tuple[dict[str, Any], ...]
    question: str
    calls: tuple[Call, ...]

    @property
    def kind(self) -> str:
        """The kind in BFCL's words: ``simple``, ``multiple``, ``parallel``, ``parallel_multiple`` or ``irrelevance``."""
        return self.category.partition("_")[2]

    @property
    def messages(self) -> list[ChatMessage]:
        """The official prompt."""
        return [{"role": "system", "content": tool_prompt(self.tools, "bfcl")}, {"role": "user", "content": self.question}]

    def as_line(self) -> dict[str, Any]:
        """Return the item as the checker's driver takes it."""
        schemas = {tool["name"]: tool["parameters"] for tool in self.tools}
        truth = [{call.name: allowed(call.arguments, schemas[call.name])} for call in self.calls]
        return {
            "id": self.item_id,
            "category": self.category,
            "language": "python",
            "functions": bfcl_functions(self.tools),
            "ground_truth": truth,
        }


def allowed(arguments: dict[str, Any], schema: dict[str, Any]) -> dict[str, list[Any]]:
    """Return what BFCL accepts for each parameter; one that is not asked for may be left out, or hold its default."""
    found: dict[str, list[Any]] = {}
    for name, member in schema["properties"].items():
        if name in arguments:
            found[name] = [_choices(arguments[name])]
        elif name not in schema.get("required", ()):
            found[name] = ["", *([member["default"]] if "default" in member else [])]
    return found


def _choices(value: Any) -> Any:
    return {name: [inner] for name, inner in value.items()} if isinstance(value, dict) else value


def development_items(seed: int = 0) -> list[Item]:
    """Return all items, the same ones each time with the same version of botocore."""
    return [*_everyday(seed), *_services(seed), *written_items()]


def _everyday(seed: int) -> Iterator[Item]:
    functions = load_functions(held_out=True)
    for kind, count in EVERYDAY.items():
        for number in range(count):
            rng = Random(f"development:{seed}:{kind}:{number}")
            yield _item(f"everyday_{kind}_{number}", "everyday", kind, make_everyday(kind, functions, rng, True, "development"))


def _services(seed: int) -> Iterator[Item]:
    from hephaestus_dag.sources import list_items
    from hephaestus_dag.sources.config import SourceConfig
    from hephaestus_dag.sources.operations import Operation
    from hephaestus_dag.sources.synthesis.config import Kind
    from hephaestus_dag.sources.synthesis.synthetic_calls import quoted, synthesise
    from hephaestus_dag.sources.tool_schemas import tool_with_returns
    from hephaestus_dag.sources.tools import botocore

    source = SourceConfig(name="aws", kind="botocore", location="package:botocore", domain="agent", license="Apache-2.0")
    items = [item for item in list_items(source) if item.split("/")[1] in HELD_OUT_SERVICES]
    operations = [found for item in items for found in botocore.read_operations(source, item) if isinstance(found, Operation)]
    tools = [tool_with_returns(operation, longest=1_500) for operation in operations]
    for kind, count in SERVICE.items():
        chosen: Kind = "single" if kind == "single" else "choose"
        made = (each for each in synthesise(tools, 20 * count, seed + 7, shares={chosen: 1}) if _plain(each))
        for number, each in zip(range(count), made, strict=False):
            asked = quoted(each.messages[0], Random(f"development:{number}").choice(("", "'", '"'))).content
            yield _item(f"service_{kind}_{number}", "service", kind, each, asked)


def _plain(trajectory: Trajectory) -> bool:
    """Return whether all arguments are values or lists of values, and the tools are short enough to be quick."""
    values = [value for call in trajectory.messages[-1].calls for value in call.arguments.values()]
    inner = [item for value in values for item in (value if isinstance(value, list) else [value])]
    short = len(json.dumps(trajectory.tools)) < 4_500
    return bool(values) and short and not any(isinstance(item, (dict, list)) for item in inner)


def _item(item_id: str, source: str, kind: str, trajectory: Trajectory, question: str = "") -> Item:
    """Return a trajectory's first question and what is to be answered."""
    asked, answered, *_ = trajectory.messages
    return Item(
        item_id=item_id,
        category=f"{source}_{KINDS[kind]}",
        tools=trajectory.tools,
        question=question or asked.content,
        calls=answered.calls,
    )


def written_items() -> list[Item]:
    """Return the items that were written by hand. A line gives tools as ``name(parameter: type, ...)`` and what they do."""
    lines = files("hephaestus_dag.evaluation.development").joinpath("written.jsonl").read_text(encoding="utf-8").splitlines()
    return [_written(number, json.loads(line)) for number, line in enumerate(lines)]


def _written(number: int, line: dict[str, Any]) -> Item:
    tools = tuple(_declared(*each) for each in line["functions"])
    calls = tuple(Call(name=name, arguments=arguments) for name, arguments in line["calls"])
    return Item(
        item_id=f"written_{number}",
        category=f"written_{_kind(tools, calls)}",
        tools=tools,
        question=line["question"],
        calls=calls,
    )


def _kind(tools: Sequence[dict[str, Any]], calls: Sequence[Call]) -> str:
    if not calls:
        return "irrelevance"
    if len(calls) > 1:
        return "parallel" if len({call.name for call in calls}) == 1 else "parallel_multiple"
    return "multiple" if len(tools) > 1 else "simple"


def _declared(name: str, description: str, parameters: dict[str, str]) -> dict[str, Any]:
    """Return a schema; a parameter is ``type: description``, with ``?`` behind the type of one that is optional."""
    properties: dict[str, Any] = {}
    required = []
    for parameter, text in parameters.items():
        kind, _, said = text.partition(": ")
        if not kind.endswith("?"):
            required.append(parameter)
        properties[parameter] = {**_type(kind.removesuffix("?")), "description": said}
    return {
        "name": name,
        "description": description,
        "parameters": {"type": "object", "properties": properties, "required": required},
    }


def _type(kind: str) -> dict[str, Any]:
    if kind.startswith("["):
        return {"type": "array", "items": {"type": kind.strip("[]")}}
    if "|" in kind:
        return {"type": "string", "enum": kind.split("|")}
    return {"type": kind}
