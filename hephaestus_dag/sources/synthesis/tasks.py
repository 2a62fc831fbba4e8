"""Tools that can be asked for: the words of a request, and the arguments of a call that are drawn by a seed."""

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from keyword import iskeyword
from random import Random
from typing import Any

from hephaestus_dag.sources.phrasing import base_form, capitalised, first_sentence, imperative, in_words, plain
from hephaestus_dag.sources.synthesis.values import PLUMBING, UnfillableError, draw_members, fits
from hephaestus_dag.sources.synthesis.wording import is_limit, label, singular, spoken, words

LONGEST_ARGUMENTS = 400
"""Characters of a call's arguments as JSON above which another operation is drawn."""

_ASIDE = re.compile(
    r" \([^()]*\)|,? (?:using|with|based on|to) the (?:data|parameters)(?: that (?:is|are))? included in the request"
)
"""What a vendor's sentence says and a request does not."""

ENDING = frozenset(
    """
    abort cancel delete deregister detach disassociate purge reject release remove revoke stop terminate
    """.split()  # noqa: SIM905
)
"""Verbs of operations after which a thing is no more, or no more at its place."""

READING = frozenset(
    """
    check count describe discover download export fetch find get list preview query read retrieve search show view
    """.split()  # noqa: SIM905
)
"""Verbs of operations that change nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """A tool that can be asked for, and the words to ask for it."""

    tool: dict[str, Any]
    """The schema as a model sees it: name, description and parameters."""
    returns: dict[str, Any]
    """JSON Schema of type object of what a call gives back."""
    service: str
    action: str
    """What the tool does, as an imperative without capital or full stop."""
    verb: str
    """``create`` of ``ec2_create_vpc``."""
    noun: str
    """What the tool works on, in the singular: ``vpc`` of ``ec2_create_vpc``, ``instance`` of ``compute_instances_list``."""

    @property
    def name(self) -> str:
        """The tool's name."""
        return self.tool["name"]

    @property
    def parameters(self) -> dict[str, Any]:
        """JSON Schemas of the parameters by name."""
        return self.tool["parameters"].get("properties", {})

    @property
    def required(self) -> list[str]:
        """Names of the parameters that a call cannot do without."""
        return [name for name in self.tool["parameters"].get("required", []) if name in self.parameters]


def find_tasks(operations: Sequence[dict[str, Any]]) -> list[Task]:
    """Return what can be asked for, in order; a tool without a verb in description or name cannot be put into words."""
    found: dict[str, Task] = {}
    for operation in operations:
        service = operation.get("service") or operation["name"].partition("_")[0]
        name = operation["name"].removeprefix(re.sub(r"\W+", "_", in_words(service)) + "_").split("_")
        action = _described(operation["description"]) or _named(operation.get("operation", ""), name)
        if action:
            verb, noun = _verb_and_noun(operation.get("operation", ""), name)
            found.setdefault(
                operation["name"],
                Task(
                    tool={part: operation[part] for part in ("name", "description", "parameters")},
                    returns=operation.get("returns", {}),
                    service=service,
                    action=action,
                    verb=verb,
                    noun=noun,
                ),
            )
    return list(found.values())


def _described(description: str) -> str | None:
    action = imperative(_ASIDE.sub("", first_sentence(plain(description))))
    return None if not action or len(action) > 160 or ":" in action or "deprecated" in action.lower() else action.rstrip(".,; ")


def _named(operation: str, name: Sequence[str]) -> str | None:
    """Return ``list the backup plans`` for ``list_backup_plans``, ``backup_plans_list`` and ``x.backupPlans.list``."""
    *outer, last = operation.split(".")
    if len(outer) > 1:
        does, thing = words(last), label(outer[-1])
        return f"{does} the {thing if does == 'list' else singular(thing)}" if " " not in does else None
    for order in (name, [name[-1], *name[:-1]]):
        if len(order) > 1 and imperative(" ".join(order)):
            return f"{order[0]} the {' '.join(label(word) for word in order[1:])}"
    return None


def _verb_and_noun(operation: str, name: Sequence[str]) -> tuple[str, str]:
    """Return ``list`` and ``target pool`` for ``compute.targetPools.list``, ``create`` and ``vpc`` for ``CreateVpc``."""
    *outer, last = operation.split(".")
    if len(outer) > 1:
        verb, *thing = words(last).split(" ")
        return verb, singular(" ".join(thing) if thing and verb in READING else words(outer[-1]))
    for at, word in enumerate(name):
        if imperative(word) == word and (at == 0 or at >= len(name) - 3):
            return word, singular(" ".join(name[:at] or name[at + 1 :]))
    return base_form(name[-1]), singular(" ".join(name[:-1]))


def near(at: int, tasks: Sequence[Task]) -> list[int]:
    """Return the places of the tasks beside one: tools of the same service, which are the harder of the wrong choices."""
    return [n for n in range(max(0, at - 5), min(len(tasks), at + 6)) if n != at]


def draw_arguments(task: Task, rng: Random, least: int = 0, given: dict[str, Any] | None = None) -> dict[str, Any]:
    """Draw all required arguments and up to two optional ones, besides those that are ``given``.

    Raises UnfillableError when a value cannot be drawn, a name cannot be written in Python, or the arguments are too long.
    """
    given = given or {}
    required = [name for name in task.required if name not in given]
    optional = [n for n, schema in task.parameters.items() if n not in (*task.required, *given) and can_ask_for(n, schema)]
    wanted = max(rng.choice((0, 0, 1, 1, 2)), least - len(required))
    chosen = [*required, *rng.sample(optional, min(wanted, len(optional)))]
    arguments = {**given, **draw_members(task.tool["parameters"], chosen, rng, service=task.service)}
    if isinstance(body := arguments.get("body"), dict):  # what stands in the path of a request and in its body is one value
        members = task.parameters["body"].get("properties", {})
        body.update({n: arguments[n] for n in body if n in arguments and n in members and fits(arguments[n], members[n])})
    if not all(name.isidentifier() and not iskeyword(name) for name in arguments):
        raise UnfillableError(f"{task.name}: a parameter is no Python name")
    if len(arguments) < least or len(json.dumps(arguments)) > LONGEST_ARGUMENTS:
        raise UnfillableError(f"{task.name}: {len(arguments)} arguments")
    return {name: arguments[name] for name in task.parameters if name in arguments}


def can_ask_for(name: str, schema: dict[str, Any]) -> bool:
    """Return whether somebody would mention a parameter that is not required: no plumbing, and no list of loose objects."""
    items = schema.get("items") or {}
    loose = items.get("type") == "object" and not items.get("required")
    return name.isidentifier() and not iskeyword(name) and not PLUMBING.search(words(name)) and not loose


def request(task: Task, arguments: dict[str, Any], rng: Random) -> str:
    """Return the request in words; every argument's value stands in it."""
    opening = rng.choice(("{}.", "Please {}.", "I need to {}.", "Can you {}?", "I want to {}."))
    said = capitalised(opening.format(task.action))
    stated = {name: value for name, value in arguments.items() if not is_limit(name, value)}
    if stated:
        listed = spoken(stated)
        said += " " + rng.choice((f"Use {listed}.", f"{capitalised(listed)}.", f"Please use {listed}."))
    limits = [value for name, value in arguments.items() if name not in stated]
    return said + "".join(f" I want at most {limit} results." for limit in limits)


def shown_tools(tools: Collection[dict[str, Any]], rng: Random) -> tuple[dict[str, Any], ...]:
    """Return each tool once, in a drawn order."""
    shown = list({tool["name"]: tool for tool in tools}.values())
    rng.shuffle(shown)
    return tuple(shown)
