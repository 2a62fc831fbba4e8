"""What a call gives back: a value drawn by the schema of the result, in agreement with the arguments, and said in words."""

import re
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

from hephaestus_dag.sources.phrasing import capitalised, enumeration, value_in_words
from hephaestus_dag.sources.synthesis.tasks import ENDING, READING, Task
from hephaestus_dag.sources.synthesis.values import PLUMBING, UnfillableError, draw, fits
from hephaestus_dag.sources.synthesis.wording import label, plural, singular, words

GENERIC = frozenset(
    ("arn", "description", "id", "identifier", "kind", "key", "name", "status", "state", "type", "value", "version")
)
"""Names of fields that mean something else in every object."""

NEVER = re.compile(
    r"truncated$|\bmarkers?$|\btokens?$|etag|self link|^kind$|fingerprint|metadata|request id$|http|response|"
    r"error|fail|unprocessed|unreachable|not found|warning|unsuccessful|invalid|reject|exception|delet|terminat|cancel|"
    r"stopped|expir|deprecat|"
    r"^(?:status |state )?(?:message|reason|detail)s?$|reason$|message$|\b(?:count|total|size estimate)$"
)
"""Fields that a small result that went well does not have: pages, bookkeeping, errors, ends, and counts."""

_BAD_NEWS = re.compile(
    r"fail|error|delet|deprov|disassoc|detach|revok|reject|invalid|cancel|terminat|unavail|stopp|inactive|disabl|expir|unspec|"
    r"unknown|unhealthy|suspend",
    re.IGNORECASE,
)
_JOB = {"wait": ("DONE",), "get": ("RUNNING", "DONE")}
"""States of a job after verbs that look at it; a call that starts one finds it pending or running."""

_ENDED = re.compile(
    r"delet|terminat|cancel|releas|remov|revok|reject|stop|detach|disassociat|deregister|shutting", re.IGNORECASE
)
_TELLING = re.compile(r"(?:^|\b)(?:id|identifier|arn|name|status|state|title|ur[li]|email)$")
_MOST = 4
"""Fields of one object of a result, at most, besides those that must be there."""

Path = tuple[str, ...]
"""Names of fields, from the outside in; a list on the way stands for its first item."""


def draw_result(
    task: Task, arguments: dict[str, Any], rng: Random, path: Path = (), before: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return a result that is valid against ``task.returns`` and holds a value at ``path``.

    A field that is named as an argument repeats its value, and so do fields that ``before`` holds by name in words. Lists
    hold one or two items, or one for each value of an argument that lists them. There are no tokens of pages, no errors
    and no bookkeeping.
    Raises UnfillableError when a required field, or what is at ``path``, cannot be drawn.
    """
    given = dict(_flat(arguments))
    named = next((name for name in given if f" {task.noun}".endswith(f" {name}")), "")  # `policy` names a region's policy
    if isinstance(given.get(named), str):
        given.setdefault("name", given[named])
    for name in [name for name in given if name.startswith(("target ", "new "))]:
        given.setdefault(name.partition(" ")[2], given[name])
    result = _Drawing(given, before or {}, task, rng).object(task.returns, task.noun, path, level=0)
    if not result and task.verb in READING:
        raise UnfillableError(f"{task.name}: nothing of what it returns can be drawn")
    return result


def value_at(result: Any, path: Path) -> Any:
    """Return the value at a path of a result."""
    for name in path:
        result = (result[0] if isinstance(result, list) else result)[name]
    return result[0] if isinstance(result, list) else result


def is_job(returns: dict[str, Any]) -> bool:
    """Return whether a result is Google's record of a job that runs on, and not the thing itself."""
    fields = returns.get("properties", {})
    return "operationType" in fields or {"done", "response"} <= set(fields)


def _flat(arguments: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield names in words and scalar values, or lists of them, of arguments and of the members of objects in them."""
    for name, value in arguments.items():
        if isinstance(value, dict):
            yield from _flat(value)
            continue
        yield words(name), value
        if isinstance(value, list):
            members = sorted({member for item in value if isinstance(item, dict) for member in item})
            yield from ((plural(words(member)), [item[member] for item in value if member in item]) for member in members)


class _Drawing:
    """Draws one result."""

    def __init__(self, given: dict[str, Any], before: dict[str, Any], task: Task, rng: Random) -> None:
        self.given, self.known, self.task, self.rng = given, {**before, **given}, task, rng

    def object(self, schema: dict[str, Any], noun: str, path: Path, level: int, most: int = _MOST) -> dict[str, Any]:
        members = schema.get("properties", {})
        musts = {*schema.get("required", []), *path[:1]}
        if level == 0 and is_job(schema):
            members = {name: members[name] for name in members if name in (*musts, "name", "status", "done")}
            musts.add("name")
        drawn: dict[str, Any] = {}
        for name in self.ranked(members, musts, noun):
            if name not in musts and (len(drawn) >= most or NEVER.search(words(name)) or PLUMBING.search(words(name))):
                continue
            try:
                inner = path[1:] if path[:1] == (name,) else ()
                drawn[name] = self.value(members[name], words(name), noun, inner, level)
            except UnfillableError:
                if name in musts:
                    raise
        return {name: drawn[name] for name in members if name in drawn}

    def ranked(self, members: dict[str, Any], musts: set[str], noun: str) -> list[str]:
        """Return names, the more worth telling the earlier: what must be there, the thing itself, what was asked about."""

        def rank(name: str) -> tuple[bool, bool, bool, bool, float]:
            said, schema = words(name), members[name]
            content = schema.get("properties") or (schema.get("items") or {}).get("properties")
            thing = bool(content) and (singular(said) == noun or singular(said) in noun or said in ("items", "results"))
            return name not in musts, not thing, said not in self.known, not _TELLING.search(said), self.rng.random()

        return sorted(members, key=rank)

    def value(self, schema: dict[str, Any], name: str, noun: str, path: Path, level: int) -> Any:
        kind = schema.get("type", "string")
        if level == 0 and is_job(self.task.returns) and kind == "string" and "enum" not in schema:
            return self.known.get("operation") or draw(schema, "operation id", self.rng)  # the job's name, not the thing's
        known = self.repeated(name, noun, level)
        if known is not None and not path and fits(known, schema):
            return known
        if self.task.verb in ENDING and name.endswith(("status", "state")):
            schema = {**schema, "enum": [value for value in schema.get("enum", ()) if _ENDED.search(str(value))]}
            return draw(schema, name, self.rng)
        if kind == "boolean" and name in ("return", "success", "succeeded", "ok"):
            return True
        if kind == "object":
            if level > 1 or not schema.get("properties"):
                raise UnfillableError(f"{name}: an object whose members are not described")
            return self.filled(self.object(schema, singular(name), path, level + 1), name)
        if kind == "array":
            return self.list(schema, name, path, level)
        if "enum" in schema:
            good = [value for value in schema["enum"] if not _BAD_NEWS.search(str(value))]
            if is_job(self.task.returns):
                good = [value for value in good if value in _JOB.get(self.task.verb, ("PENDING", "RUNNING"))]
            schema = {**schema, "enum": good or schema["enum"]}
        parent = self.known.get("parent")
        if name == "name" and isinstance(parent, str) and "/" in parent and kind == "string":
            first, *others = plural(noun).split(" ")
            return f"{parent}/{first}{''.join(map(capitalised, others))}/{draw(schema, name, self.rng)}"
        full = f"{noun} {name}" if name in ("arn", "id", "identifier") else name
        return draw(schema, full, self.rng, service=self.task.service)

    def list(self, schema: dict[str, Any], name: str, path: Path, level: int) -> list[Any]:
        items = schema.get("items") or {}
        noun = self.task.noun if name in ("items", "results") else singular(name)
        count = self.rng.choice((1, 2, 2))
        if items.get("type") != "object":
            drawn = [self.value(items, singular(name), singular(name), path, 2) for _ in range(count)]
            return [item for n, item in enumerate(drawn) if item not in drawn[:n]]
        if level > 0 or not items.get("properties"):
            raise UnfillableError(f"{name}: a list of objects this deep")
        for member in items["properties"]:
            listed = self.known.get(plural(words(member)))
            if isinstance(listed, list) and listed and all(fits(value, items["properties"][member]) for value in listed):
                drawn = [self.object(items, noun, path or (member,), 2, 3) for _ in listed]
                return [{**item, member: value} for item, value in zip(drawn, listed, strict=True)]
        return [self.filled(self.object(items, noun, path, 2, 3), name) for _ in range(count)]

    def filled(self, value: dict[str, Any], name: str) -> dict[str, Any]:
        if not value:
            raise UnfillableError(f"{name}: nothing of it is drawn")
        return value

    def repeated(self, name: str, noun: str, level: int) -> Any:
        """Return the argument that a field repeats, if there is one."""
        if name in GENERIC:
            return self.given.get(name) if level < 2 and name in self.given else self.known.get(f"{noun} {name}")
        return self.known.get(name)


def answer(task: Task, arguments: dict[str, Any], result: dict[str, Any], rng: Random) -> str:
    """Return what an assistant says about a result: each value that is stated stands in it."""
    if is_job(task.returns) and "name" in result:
        status = f", and its status is {value_in_words(result['status'])}" if "status" in result else ""
        return f"The operation is {value_in_words(result['name'])}{status}."
    given = {value_in_words(value) for _, value in _flat(arguments)}
    facts = sorted((fact for fact in _facts(result) if value_in_words(fact[1]) not in given), key=_not_telling)
    lists = [(name, items) for name, items in _lists(result) if items]
    if lists:
        name, items = lists[0]
        noun = task.noun if words(name) == "items" and task.name.endswith("_list") else singular(words(name))
        said = _listed(label(noun), items, given=given, reads=task.verb in READING, rng=rng)
    elif facts:
        told = [_stated(name, value) for name, value in facts[: rng.choice((1, 2, 2, 3))]]
        said = capitalised(enumeration(told)) + "."
    else:
        return "Done." if result else "Done; the call returned no data."
    return said if task.verb in READING else rng.choice(("Done. ", "That worked. ", "")) + said


def _stated(name: str, value: Any) -> str:
    if isinstance(value, list) and len(value) > 1:
        return f"the {label(name)} are {value_in_words(value)}"
    return f"the {label(singular(name) if isinstance(value, list) else name)} is {value_in_words(value)}"


def _facts(result: dict[str, Any], outer: str = "") -> Iterator[tuple[str, Any]]:
    """Yield names in words and values of scalars and lists of them; a name that says little follows that of its object."""
    for name, value in result.items():
        said = words(name)
        if isinstance(value, dict):
            yield from _facts(value, said)
        elif said in ("return", "success", "succeeded", "ok"):
            continue
        elif not isinstance(value, list) or (value and not isinstance(value[0], dict)):
            inside = outer and said in GENERIC
            yield (
                (outer if inside and (said == "value" or outer.endswith(said)) else f"{outer} {said}" if inside else said),
                value,
            )


def _lists(result: dict[str, Any]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    for name, value in result.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            yield name, value


def _not_telling(fact: tuple[str, Any]) -> bool:
    return not _TELLING.search(fact[0]) or "owner" in fact[0] or "account" in fact[0]


def _listed(noun: str, items: Sequence[dict[str, Any]], *, given: set[str], reads: bool, rng: Random) -> str:
    """Return ``There are 2 clusters: `a` (status `ACTIVE`) and `b` (status `ACTIVE`).``."""
    facts = [sorted(_facts(item), key=_not_telling) for item in items]
    new = [[fact for fact in each if value_in_words(fact[1]) not in given] or each for each in facts]
    told = [_item(each) for each in new]
    if len(set(told)) < len(told):
        raise UnfillableError(f"{noun}: the items do not differ in what is told of them")
    number = f"one {noun}" if len(items) == 1 else f"{len(items)} {plural(noun)}"
    there = "There is" if len(items) == 1 else "There are"
    opening = rng.choice(("I found", there)) if reads else "The result has"
    return f"{opening} {number}: {enumeration(told)}."


def _item(facts: Sequence[tuple[str, Any]]) -> str:
    (name, value), *others = facts
    first = value_in_words(value)
    if not _TELLING.search(name) or not isinstance(value, str):
        first = f"{label(name)} {first}"
    return first + (f" ({label(others[0][0])} {value_in_words(others[0][1])})" if others else "")
