"""Which call can follow which: a field of one result is a required argument of another call of the same service.

Names decide, as in real interfaces: ``CreateCluster`` gives back ``cluster.clusterArn``, ``DescribeServices`` takes ``cluster
ARN``. A bare ``id``, ``name`` or ``arn`` counts as that of the object it stands in, so it never fits another resource.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from hephaestus_dag.sources.synthesis.results import NEVER, Path, is_job
from hephaestus_dag.sources.synthesis.tasks import ENDING, READING, Task
from hephaestus_dag.sources.synthesis.values import PLUMBING
from hephaestus_dag.sources.synthesis.wording import singular, words

_IDENTITY = re.compile(r"(?:^|\b)(?:id|identifier|arn|name|handle|url|token)$")
_BARE = ("id", "identifier", "arn", "name", "handle", "url")
MAKING = frozenset(
    "add allocate create copy import insert launch put register request run start submit".split()  # noqa: SIM905
)
"""Verbs of operations that make something new."""

_ANYWHERE = re.compile(r"^(?:(?:aws |cloud )?account|availability zone|owner|parent|project|region|resource|zone)\b")
"""What identifies a place or an owner, or anything at all: equal names do not mean the same thing."""

_VAGUE = re.compile(r"^(?:association|entity|item|job|member|object|request|run|task|type|version)\b")
"""What many things of a service have: it is the same only where the calls work on the same thing."""

_ENTRY = re.compile(r"^(?:item|resource|result|results|.* list|.* summar(?:y|ies)|.* set|.* details?)$")


@dataclass(frozen=True, slots=True)
class Link:
    """A value that one call gives back and another one takes."""

    giver: int
    """Place of the task whose result holds the value."""
    taker: int
    """Place of the task that takes it."""
    path: Path
    """Where the value stands in the result."""
    parameter: str
    """The parameter of the taker."""
    from_list: bool
    """Whether it is that of the first of several things."""


class Links:
    """The links among tasks."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.tasks = tasks
        self._takers: dict[tuple[str, str], list[tuple[int, str]]] = defaultdict(list)
        for place, task in enumerate(tasks):
            for name in task.required:
                if key := _taken(task, name):
                    self._takers[task.service, key].append((place, name))

    @cached_property
    def givers(self) -> tuple[list[int], list[int]]:
        """Places of the tasks that something can follow: those that give back a thing, and those that start a job."""
        places = [place for place in range(len(self.tasks)) if next(self.after(place), None)]
        jobs = {place for place in places if is_job(self.tasks[place].returns)}
        return [place for place in places if place not in jobs], sorted(jobs)

    def after(self, giver: int) -> Iterator[Link]:
        """Yield what can follow a task."""
        task = self.tasks[giver]
        for key, path, from_list in _given(task):
            for taker, parameter in self._takers.get((task.service, key), ()):
                if (
                    taker != giver
                    and self._sensible(task, taker, parameter)
                    and words(path[-1]) not in map(words, task.required)
                ):
                    yield Link(giver, taker, path, parameter, from_list)

    def _sensible(self, giver: Task, place: int, parameter: str) -> bool:
        """Return whether somebody would ask for both in this order: not to make a thing and end it, nor to look twice."""
        taker = self.tasks[place]
        if giver.action == taker.action or giver.verb in ENDING:
            return False
        if "project" in _scope(giver) and _scope(giver) != _scope(taker):
            return False
        if taker.noun.endswith("operation"):
            return is_job(giver.returns) and not giver.noun.endswith("operation") and taker.verb in ("get", "wait")
        said, last = words(parameter), taker.noun.split(" ")[-1]
        if _VAGUE.search(said) and giver.noun not in taker.noun and taker.noun not in giver.noun:
            return False
        if taker.verb in MAKING and said in (
            taker.noun,
            *_BARE,
            *(f"{noun} {bare}" for noun in (taker.noun, last) for bare in _BARE),
        ):
            return False  # a new thing gets a name of its own
        if giver.verb in READING and taker.verb in READING and giver.noun == taker.noun:
            return giver.verb in ("list", "search", "find") and taker.verb not in ("list", "search", "find")
        return not (giver.verb in MAKING and (taker.verb in ENDING or (taker.verb in MAKING and taker.noun == giver.noun)))


def _taken(task: Task, name: str) -> str | None:
    """Return the key of what a parameter identifies; None when it identifies nothing that a call gives back."""
    schema, said = task.parameters[name], words(name)
    if schema.get("type", "string") != "string" or "enum" in schema or PLUMBING.search(said):
        return None
    if said in _BARE:
        return f"{task.noun} {said}" if task.noun else None
    return said if _IDENTITY.search(said) or task.noun.endswith(said) else None


def _given(task: Task) -> Iterator[tuple[str, Path, bool]]:
    """Yield key, path, and whether it lies in a list, of what the result of a task identifies."""
    job = is_job(task.returns)
    for name, schema in task.returns.get("properties", {}).items():
        if NEVER.search(words(name)):
            continue
        said = singular(words(name))
        inner, listed = schema, schema.get("type") == "array"
        if listed:
            inner = schema.get("items") or {}
        if inner.get("type", "string") == "string" and "enum" not in inner:
            noun = "operation" if job else task.noun
            yield from ((key, (name,), listed) for key in _keys(said, noun))
        for member, leaf in inner.get("properties", {}).items() if not job else ():
            if leaf.get("type", "string") == "string" and "enum" not in leaf:
                noun = task.noun if _ENTRY.search(said) else said
                yield from ((key, (name, member), listed) for key in _keys(words(member), noun))


def _scope(task: Task) -> set[str]:
    """Return the places that a call names: what is in a zone is not found among what is in a region."""
    return {words(name) for name in task.required} & {"organization", "project", "region", "zone"}


def _keys(said: str, noun: str) -> list[str]:
    if PLUMBING.search(said) or _ANYWHERE.search(said) or not _IDENTITY.search(said):
        return []
    if said not in _BARE:
        return [said]
    return [f"{noun} {said}", *([noun] if said == "name" else [])]
