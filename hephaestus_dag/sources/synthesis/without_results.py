"""Requests that end with the calls, or with the assistant's words, before anything comes back."""

import re
from collections.abc import Sequence
from random import Random
from typing import Any

from hephaestus_dag.sources.phrasing import enumeration, first_sentence, plain, value_in_words
from hephaestus_dag.sources.synthesis.config import Kind
from hephaestus_dag.sources.synthesis.multi_step import Made
from hephaestus_dag.sources.synthesis.tasks import Task, draw_arguments, near, request
from hephaestus_dag.sources.synthesis.values import UnfillableError
from hephaestus_dag.sources.synthesis.wording import label, spoken
from hephaestus_dag.trajectories import Call, Message


def make_without_result(kind: Kind, at: int, tasks: Sequence[Task], rng: Random) -> Made:
    """Return messages and tools of one of the five kinds that end with calls or words, before anything comes back.

    Raises UnfillableError when the drawn tools do not fit the kind.
    """
    task = tasks[at]
    if kind == "parallel":
        return _parallel(task, tasks[rng.choice(near(at, tasks))], rng)
    arguments = draw_arguments(task, rng)
    asked = Message(role="user", content=request(task, arguments, rng))
    call = Message(role="assistant", calls=(Call(name=task.name, arguments=arguments),))
    if kind == "single":
        return (asked, call), [task.tool]
    if kind == "choose":
        others = [tasks[rng.choice(near(at, tasks))], *(rng.choice(tasks) for _ in range(rng.randint(0, 2)))]
        return (asked, call), [each.tool for each in (task, *others)]
    if kind == "refusal":
        others = [other for other in rng.sample(tasks, min(12, len(tasks))) if other.service != task.service][
            : rng.randint(1, 3)
        ]
        if not others or any(other.action == task.action for other in others):
            raise UnfillableError("only tools of the same service were drawn")
        return (asked, Message(role="assistant", content=_refusal(task, others, rng))), [other.tool for other in others]
    return _missing(task, arguments, call, rng), [task.tool]


def _parallel(task: Task, other: Task, rng: Random) -> Made:
    """Return one request that takes two or three calls, of one tool or of two."""
    wanted = [task] * rng.randint(2, 3) if rng.random() < 0.6 else [task, other]
    drawn = [(each, draw_arguments(each, rng, least=1)) for each in wanted]
    calls = tuple(Call(name=each.name, arguments=arguments) for each, arguments in drawn)
    if any(call in calls[:n] for n, call in enumerate(calls)):
        raise UnfillableError("the same call was drawn twice")
    steps = [f"{each.action} with {spoken(arguments)}" for each, arguments in drawn]
    if len(set(map(id, wanted))) == 1:
        steps = [steps[0], *(f"do the same with {spoken(arguments)}" for _, arguments in drawn[1:])]
    said = rng.choice(("Please ", "I need you to ", "Can you ")) + "; then ".join(steps)
    asked = Message(role="user", content=said + ("?" if said.startswith("Can") else "."))
    return (asked, Message(role="assistant", calls=calls)), [each.tool for each in wanted]


def _missing(task: Task, arguments: dict[str, Any], call: Message, rng: Random) -> tuple[Message, ...]:
    """Return a request that leaves out a required value, the question for it, and half of the time answer and call."""
    required = [name for name in task.required if not isinstance(arguments[name], (dict, bool))]
    if not required:
        raise UnfillableError(f"{task.name}: nothing is required that somebody could be asked for")
    absent = rng.choice(required)
    given = {name: value for name, value in arguments.items() if name != absent}
    described = re.sub(
        r"^(?:(?:required|optional|immutable|identifier)\. *)+",
        "",
        plain(task.parameters[absent].get("description", "")),
        flags=re.IGNORECASE,
    )
    hint = f" ({first_sentence(described)})" if 0 < len(first_sentence(described)) < 120 else ""
    question = rng.choice(("Which {} should I use{}?", "I can do that. Which {} is it{}?", "Please tell me the {}{}."))
    turns = [
        Message(role="user", content=request(task, given, rng)),
        Message(role="assistant", content=question.format(label(absent), hint)),
    ]
    if rng.random() < 0.5:
        answer = rng.choice(("{}", "It is {}.", "Use {}.")).format(value_in_words(arguments[absent]))
        turns += [Message(role="user", content=answer), call]
    return tuple(turns)


def _refusal(task: Task, others: list[Task], rng: Random) -> str:
    can = [f"`{other.name}`" for other in others]
    return rng.choice(
        (
            f"I cannot do that: none of the tools that I have can {task.action}. I only have {enumeration(can)}.",
            f"None of my tools fits this request. With {enumeration(can)} I could {others[0].action}, but not {task.action}.",
            f"I have no tool to {task.action}, so I make no call.",
        )
    )
