"""What the formats of a document share: how much detail they show, and how they say what a parameter may be."""

import keyword
import re
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

from hephaestus_dag.sources.operations import Operation, Parameter

Members = tuple[Parameter, ...]
_Rest = ParamSpec("_Rest")
_Result = TypeVar("_Result")

_MOST_VALUES = 24
"""Values of an enumeration that prose lists."""

_REMEMBERED = 2_000


class Detail(NamedTuple):
    """How much of an operation is written down."""

    depth: int
    """Levels of members inside parameters."""
    longest: int
    """Characters of a parameter's description."""
    most: int
    """Parameters; of the members inside one, a quarter of that."""

    def inside(self) -> "Detail":
        """Return the detail of members one level down."""
        return Detail(self.depth - 1, self.longest // 3, max(self.most // 4, 3))

    def of_result(self) -> "Detail":
        """Return the detail of what comes back, which is told in fewer words than what is given."""
        return Detail(max(self.depth - 1, 0), self.longest // 3, self.most)


def once_per_members(
    write: Callable[Concatenate[Members, _Rest], _Result],
) -> Callable[Concatenate[Members, _Rest], _Result]:
    """Remember results by the identity of the members: the operations of a service share the schemas they are made of.

    Hashing members by value would cost more than writing them.
    """
    memory: dict[tuple[Any, ...], tuple[Members, _Result]] = {}

    @wraps(write)
    def remembered(members: Members, *args: _Rest.args, **kwargs: _Rest.kwargs) -> _Result:
        key = id(members), *args
        if key not in memory:
            if len(memory) >= _REMEMBERED:
                memory.clear()
            memory[key] = members, write(members, *args, **kwargs)  # holds the members, so that their id stays theirs
        return memory[key][1]

    return remembered


def label(member: Parameter) -> str:
    """Return type, format, place and need of a parameter: ``string, date-time, in query, required``."""
    words = [f"{member.type} of {member.items}" if member.items not in ("", "any") else member.type]
    if shown := shown_format(member):
        words.append(shown)
    if member.location not in ("", "body"):
        words.append(f"in {member.location}")
    if member.required:
        words.append("required")
    return ", ".join(words)


def shown_format(member: Parameter) -> str:
    """Return a format where it tells a reader something: not the width of a number, nor what the name already says."""
    numeric = {member.type, member.items} & {"integer", "number", "boolean"}
    return "" if numeric or member.format in ("string", member.name, "password") else member.format


def allowed(member: Parameter) -> str:
    """Return the values that a parameter takes and the one it has by default, as sentences, or nothing."""
    said: list[str] = []
    if member.enum:
        shown, left = member.enum[:_MOST_VALUES], len(member.enum) - _MOST_VALUES
        values = ", ".join(value if len(value) <= 80 else f"{value[:77]}..." for value in shown)
        said.append(f"One of: {values} and {left} more." if left > 0 else f"One of: {values}.")
    if member.default and "default" not in member.description.lower():
        said.append(f"Default: {member.default}.")
    return " ".join(said)


def with_allowed(text: str, member: Parameter) -> str:
    """Return a description followed by the values that are allowed."""
    values = allowed(member)
    if not text or not values:
        return text or values
    return f"{text} {values}" if text.endswith((".", "!", "?", ":", ";")) else f"{text}. {values}"


def identifier(name: str) -> str:
    """Return a name as Python allows it: ``X-Request-Id`` as ``X_Request_Id``, ``from`` as ``from_``."""
    if name.isidentifier() and not keyword.iskeyword(name):
        return name
    made = re.sub(r"\W+", "_", name).strip("_") or "value"
    return f"_{made}" if made[0].isdigit() else f"{made}_" if keyword.iskeyword(made) else made


def call(operation: Operation) -> str:
    """Return verb and path, or nothing for an operation that has none. What follows a ``#`` is never sent, and not told."""
    return f"{operation.method} {operation.path.partition('#')[0]}".strip() if operation.path else ""


def indented(text: str, width: int = 4) -> Iterator[str]:
    """Yield the lines of a text, moved right."""
    for line in text.split("\n"):
        yield " " * width + line if line else ""


def required_first(members: Members) -> Members:
    """Return members in their order, required ones before the others."""
    if all(member.required for member in members) or not any(member.required for member in members):
        return members
    return tuple(sorted(members, key=lambda member: not member.required))
