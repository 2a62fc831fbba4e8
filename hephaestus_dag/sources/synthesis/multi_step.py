"""Conversations in which calls give results back: one call, chains of two to four, and what a user asks for next."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from hephaestus_dag.sources.phrasing import capitalised, enumeration, value_in_words
from hephaestus_dag.sources.synthesis.links import MAKING, Link, Links
from hephaestus_dag.sources.synthesis.results import GENERIC, Path, answer, draw_result, value_at
from hephaestus_dag.sources.synthesis.tasks import ENDING, READING, Task, draw_arguments, near, request
from hephaestus_dag.sources.synthesis.values import UnfillableError
from hephaestus_dag.sources.synthesis.wording import label, singular, spoken_parts, words
from hephaestus_dag.sources.tool_schemas import trim_tool
from hephaestus_dag.trajectories import Call, Message

_JOB = {"get": "look up the operation", "wait": "wait for the operation to finish"}

LONGEST_RESULT = 1_200
"""Characters of a result as JSON above which another operation is drawn."""

Made = tuple[tuple[Message, ...], list[dict[str, Any]]]
"""Messages, and the tools at hand."""


@dataclass(frozen=True, slots=True)
class _Step:
    task: Task
    arguments: dict[str, Any]
    said: dict[str, Any]
    """The arguments that the user states; the others are known already."""
    result: dict[str, Any]
    link: Link | None = None

    def turns(self) -> tuple[Message, Message]:
        """Return the call and what it gives back."""
        call = Call(name=self.task.name, arguments=self.arguments)
        content = json.dumps(self.result, ensure_ascii=False)
        return Message(role="assistant", calls=(call,)), Message(role="tool", content=content)


def make_answered(at: int, tasks: Sequence[Task], rng: Random, longest: int) -> Made:
    """Return a request, the call, its result, and the answer in words; one or two other tools lie beside."""
    task = tasks[at]
    if not task.returns.get("properties"):
        raise UnfillableError(f"{task.name}: what it returns is not described")
    arguments = draw_arguments(task, rng)
    step = _Step(task, arguments, arguments, _result(task, arguments, rng))
    asked = Message(role="user", content=request(task, arguments, rng))
    told = Message(role="assistant", content=answer(task, arguments, step.result, rng))
    others = [tasks[rng.choice(near(at, tasks))] for _ in range(rng.randint(0, 2))]
    return (asked, *step.turns(), told), _tools([step], others, longest)


def make_chain(tasks: Sequence[Task], links: Links, rng: Random, longest: int) -> Made:
    """Return one request for a goal that takes two to four calls, each with a value that an earlier one gave back."""
    steps = _steps(tasks, links, rng, rng.choice((2, 2, 2, 3, 3, 4)))
    parts = [request(steps[0].task, steps[0].said, rng)]
    parts += [rng.choice(("Then {}.", "After that, {}.", "Next, {}.")).format(_wish(step, rng)) for step in steps[1:]]
    asked = Message(role="user", content=" ".join(parts))
    turns = [turn for step in steps for turn in step.turns()]
    told = Message(role="assistant", content=_told(steps, rng))
    return _sound((asked, *turns, told), steps), _tools(steps, _others(steps, tasks, rng), longest)


def make_follow_up(tasks: Sequence[Task], links: Links, rng: Random, longest: int) -> Made:
    """Return a conversation of two or three requests; the later ones need what an earlier result gave."""
    steps = _steps(tasks, links, rng, rng.choice((2, 2, 3)))
    turns: list[Message] = []
    for step in steps:
        wish = rng.choice(("Thanks. Now {}.", "Good. Now {}, please.", "Next, {}.", "And please {}.")).format(_wish(step, rng))
        asked = wish if step.link else request(step.task, step.said, rng)
        told = answer(step.task, step.arguments, step.result, rng)
        turns += [Message(role="user", content=asked), *step.turns(), Message(role="assistant", content=told)]
    return _sound(tuple(turns), steps), _tools(steps, _others(steps, tasks, rng), longest)


def _steps(tasks: Sequence[Task], links: Links, rng: Random, count: int) -> list[_Step]:
    """Draw calls that follow from each other. Raises UnfillableError when the drawn ones do not."""
    things, jobs = links.givers
    followed = [rng.choice(things if things and (not jobs or rng.random() < 0.9) else jobs)]  # most jobs look the same
    chosen: list[Link] = []
    for _ in range(count - 1):
        following = [link for giver in followed[-2:] for link in links.after(giver) if link.taker not in followed]
        following = [link for link in following if not any(tasks[link.taker].action == tasks[n].action for n in followed)]
        if not following:
            break
        taker = rng.choice(sorted({link.taker for link in following}))
        chosen.append(rng.choice([link for link in following if link.taker == taker]))
        followed.append(taker)
        if tasks[taker].verb in ENDING:
            break
    if not chosen:
        raise UnfillableError(f"{tasks[followed[0]].name}: nothing follows")
    needed: dict[int, Path] = {}
    for link in chosen:
        if needed.setdefault(link.giver, link.path) != link.path:
            raise UnfillableError("two values of one result are wanted")
    steps: dict[int, _Step] = {}
    for place, link in zip(followed, [None, *chosen], strict=True):
        steps[place] = _step(tasks[place], link, steps, needed.get(place, ()), rng)
    return list(steps.values())


def _step(task: Task, link: Link | None, before: dict[int, _Step], path: Path, rng: Random) -> _Step:
    given: dict[str, Any] = {}
    known = dict(_known(before.values()))
    for name in task.required:
        own = task.verb in MAKING and words(name).endswith(f"{task.noun.split(' ')[-1]} name")  # a new thing gets a new name
        if (
            not own
            and words(name) in known
            and task.parameters[name].get("type", "string") == "string"
            and "enum" not in task.parameters[name]
        ):
            given[name] = known[words(name)]
    if link:
        given[link.parameter] = value_at(before[link.giver].result, link.path)
    arguments = draw_arguments(task, rng, given=given)
    said = {name: value for name, value in arguments.items() if name not in given}
    if link and len(said) > 3:
        raise UnfillableError(f"{task.name}: too much to say beside what is known")
    if not task.returns.get("properties") and task.verb in READING:
        raise UnfillableError(f"{task.name}: what it returns is not described")
    same = dict(_same_thing(before[link.giver], link)) if link and task.verb not in MAKING else {}
    return _Step(task, arguments, said, _result(task, arguments, rng, path, same), link)


def _same_thing(step: _Step, link: Link) -> Iterator[tuple[str, Any]]:
    """Yield what is known, by name in words, of the thing that a link hands on: a later result must not say otherwise."""
    thing = value_at(step.result, link.path[:-1]) if link.path[1:] else step.result
    noun = singular(words(link.path[-2])) if link.path[1:] and not link.from_list else step.task.noun
    for name, value in thing.items():
        said = words(name)
        if isinstance(value, (str, int, float)) and not said.endswith(("status", "state")):
            yield (f"{noun} {said}" if said in GENERIC else said), value


def _known(steps: Any) -> Iterator[tuple[str, Any]]:
    """Yield what was said so far, by name in words: a later call for the same project needs it not again."""
    for step in steps:
        for name, value in step.arguments.items():
            if isinstance(value, str) and words(name) not in ("id", "name", "type", "description", "body"):
                yield words(name), value


def _result(
    task: Task, arguments: dict[str, Any], rng: Random, path: Path = (), before: dict[str, Any] | None = None
) -> dict[str, Any]:
    result = draw_result(task, arguments, rng, path, before)
    if len(json.dumps(result)) > LONGEST_RESULT:
        raise UnfillableError(f"{task.name}: the result is too long")
    return result


def _wish(step: _Step, rng: Random) -> str:
    """Return what to do next, without the value that an earlier result holds."""
    wish = _JOB.get(step.task.verb, "") if step.task.noun.endswith("operation") else ""
    parts = spoken_parts(step.said)
    if step.link and step.link.from_list:
        parts.insert(0, f"the {label(step.link.parameter)} of the first one")
    elif step.link and rng.random() < 0.4:
        parts.insert(0, f"the {label(step.link.parameter)} that you got")
    return (wish or step.task.action) + (f", with {enumeration(parts)}" if parts else "")


def _told(steps: Sequence[_Step], rng: Random) -> str:
    """Return the answer to a chain: the value that was handed on, and what the last call gave."""
    last = answer(steps[-1].task, steps[-1].arguments, steps[-1].result, rng)
    link = steps[1].link
    if not link or value_in_words(value := value_at(steps[0].result, link.path)) in last or rng.random() < 0.3:
        return last
    handed = f"the {label(link.parameter)} is {value_in_words(value)}"
    if last.startswith("Done"):
        return f"Done; {handed}." if last.startswith("Done;") or last == "Done." else f"{capitalised(handed)}. {last[6:]}"
    return f"{capitalised(handed)}. {last.removeprefix('That worked. ')}"


def _sound(messages: tuple[Message, ...], steps: Sequence[_Step]) -> tuple[Message, ...]:
    """Return the messages. Raises UnfillableError when the user says a value that a result is to give."""
    said = " ".join(message.content for message in messages if message.role == "user")
    for step in steps:
        if step.link and value_in_words(step.arguments[step.link.parameter]) in said:
            raise UnfillableError(f"{step.task.name}: the user knows the value already")
    return messages


def _others(steps: Sequence[_Step], tasks: Sequence[Task], rng: Random) -> list[Task]:
    at = tasks.index(steps[-1].task)
    return [tasks[rng.choice(near(at, tasks))] for _ in range(rng.randint(0, 1))]


def _tools(steps: Sequence[_Step], others: Sequence[Task], longest: int) -> list[dict[str, Any]]:
    """Return the tools at hand with what they return, each trimmed to its share of twice the longest."""
    share = min(longest, 2 * longest // (len(steps) + len(others)))
    used = {step.task.name: (step.arguments, step.result) for step in steps}
    tools = [*(step.task for step in steps), *(other for other in others if other.name not in used)]
    return [trim_tool({**task.tool, "returns": task.returns}, *used.get(task.name, ((), ())), share) for task in tools]
