"""Reads calls as people and models write them: Python style, JSON, and JSON in ``<tool_call>`` tags.

Python-style calls are parsed with ``ast`` and nothing is ever evaluated; names may hold spaces, dots and dashes, as
ToolACE's do. Every argument must be JSON, named once, and nested at most ``DEEPEST`` levels.
"""

import ast
import json
import math
import re
import warnings
from typing import Any

from hephaestus_dag.trajectories import Call

LONGEST = 200_000
"""Characters of text in which calls are looked for."""
DEEPEST = 50
"""Levels of nested lists and objects in an argument or a tool's schema."""

_TAG = re.compile(r"<(tool_call|function_call)>(.*?)(?:</\1>|\Z)", re.DOTALL)
_NAME = re.compile(r"""[^\s\[\](){}'",=:;<>`\\](?:[^\[\](){}'",=:;<>`\\\n]*[^\s\[\](){}'",=:;<>`\\])?""")
_CALL_LIST = re.compile(rf"\[\s*{_NAME.pattern}\s*\(.*\)\s*(?:,\s*)?\]", re.DOTALL)
_WORDS = {"true": True, "false": False, "null": None}


class MalformedError(ValueError):
    """A record that does not hold what its format promises; the category stands before the first colon."""


def parse_calls(text: str) -> tuple[Call, ...]:
    """Return the calls that a text consists of, in any of the notations.

    Raises MalformedError when the text is anything else.
    """
    text = text.strip()
    if len(text) > LONGEST:
        raise MalformedError(f"too large: calls of {len(text)} characters")
    if tags := _TAG.findall(text):
        return tuple(call for _, inside in tags for call in parse_calls(_untagged(inside)))
    if text.startswith("{") or (text.startswith("[") and not _CALL_LIST.match(text)):
        return calls_of(parse_json(text))
    return parse_python_calls(text)


def _untagged(text: str) -> str:
    if _TAG.search(text):
        raise MalformedError("calls: one tag inside another")
    return text


def split_calls(text: str) -> tuple[str, tuple[Call, ...]]:
    """Return an assistant's words and its calls: tagged ones, or a text that is as a whole a list of calls.

    Raises MalformedError for a tag or a ``[name(...)]`` that cannot be read as calls.
    """
    if len(text) > LONGEST:
        return text, ()
    if _TAG.search(text):
        return _TAG.sub("", text).strip(), parse_calls("\n".join(match[0] for match in _TAG.finditer(text)))
    if _CALL_LIST.fullmatch(text.strip()):
        return "", parse_calls(text)
    return text, ()


def parse_json(text: str) -> Any:
    """Return a JSON value of bounded depth. Raises MalformedError."""
    try:
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"not JSON: {error}: {text[:80]!r}") from None
    return bounded(value)


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is not JSON")


def bounded(value: Any) -> Any:
    """Return a JSON value as it is. Raises MalformedError when it nests too deep or holds a number that JSON cannot."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > DEEPEST:
            raise MalformedError(f"too deep: more than {DEEPEST} levels")
        inner = []
        for each in level:
            if isinstance(each, dict):
                inner += each.values()
            elif isinstance(each, list):
                inner += each
            elif isinstance(each, float) and not math.isfinite(each):
                raise MalformedError(f"not JSON: {each} is not a number of JSON")
        level = inner
    return value


def calls_of(value: Any) -> tuple[Call, ...]:
    """Return the calls that a JSON value stands for: ``{"name", "arguments"}``, OpenAI's ``{"function": ...}``, a list.

    Arguments may be called ``parameters``, and may be JSON in a string. Raises MalformedError.
    """
    if isinstance(value, list):
        if not value:
            raise MalformedError("calls: an empty list")
        return tuple(call_of(each) for each in value)
    return (call_of(value),)


def call_of(value: Any) -> Call:
    """Return one call of its JSON form. Raises MalformedError."""
    if isinstance(value, dict) and isinstance(value.get("function"), dict):
        value = value["function"]
    if not isinstance(value, dict) or not isinstance(value.get("name"), str) or not value["name"].strip():
        raise MalformedError(f"calls: not a call with a name: {_shown(value)}")
    arguments = value.get("arguments", value.get("parameters"))
    return Call(name=value["name"].strip(), arguments=arguments_of(value["name"], arguments))


def arguments_of(name: str, value: Any) -> dict[str, Any]:
    """Return arguments by name; None and the empty string stand for none. Raises MalformedError."""
    if isinstance(value, str):
        value = parse_json(value) if value.strip() else None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise MalformedError(f"arguments: those of {name} are not an object: {_shown(value)}")
    return bounded(value)


def parse_python_calls(text: str) -> tuple[Call, ...]:
    """Return the calls of ``[f(a=1), Some Name(b='x')]`` or ``f(a=1)``. Raises MalformedError."""
    text = text.strip()
    if len(text) > LONGEST:
        raise MalformedError(f"too large: calls of {len(text)} characters")
    listed = text.startswith("[")
    if listed and not text.endswith("]"):
        raise MalformedError(f"calls: the list is not closed: {text[-80:]!r}")
    if listed:
        text = text[1:-1].strip().removesuffix(",")
    calls: list[Call] = []
    at = 0
    while True:
        match = _NAME.match(text, at + _blank(text, at))
        opening = match.end() + _blank(text, match.end()) if match else at
        if not match or text[opening : opening + 1] != "(":
            raise MalformedError(f"calls: no name and parenthesis at {text[at : at + 80]!r}")
        end = closing(text, opening)
        calls.append(Call(name=match[0], arguments=_arguments(match[0], text[opening:end])))
        at = end + _blank(text, end)
        if at == len(text):
            return tuple(calls)
        if text[at] not in ",;\n" and "\n" not in text[end:at]:
            raise MalformedError(f"calls: text after a call: {text[at : at + 80]!r}")
        at += text[at] in ",;"


def _blank(text: str, at: int) -> int:
    end = at
    while end < len(text) and text[end].isspace():
        end += 1
    return end - at


def parse_literal(text: str) -> Any:
    """Return the JSON value that a Python literal stands for. Raises MalformedError."""
    return _arguments("", f"(x={text})")["x"]


def closing(text: str, opening: int) -> int:
    """Return the end of the bracket that opens at ``opening``; quoted text is passed over. Raises MalformedError."""
    depth, quote, at = 0, "", opening
    while at < len(text):
        letter = text[at]
        if quote:
            if letter == "\\":
                at += 1
            elif letter == quote:
                quote = ""
        elif letter in "'\"":
            quote = letter
        elif letter in "([{":
            depth += 1
            if depth > DEEPEST:
                raise MalformedError(f"too deep: more than {DEEPEST} levels")
        elif letter in ")]}":
            depth -= 1
            if not depth:
                return at + 1
        at += 1
    raise MalformedError(f"calls: a parenthesis or quotation is not closed: {text[opening : opening + 80]!r}")


def _arguments(name: str, written: str) -> dict[str, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an escape that Python does not know stays as it is
            call = ast.parse(f"f{written}", mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = getattr(error, "msg", None) or type(error).__name__
        raise MalformedError(f"calls: the arguments of {name} are not Python literals: {reason}: {written[:80]!r}") from None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        raise MalformedError(f"calls: not one call: {written[:80]!r}")
    if call.args:
        raise MalformedError(f"calls: {name} has an argument without a name: {written[:80]!r}")
    arguments: dict[str, Any] = {}
    for argument in call.keywords:
        value = _literal(argument.value)
        given = value if argument.arg is None else {argument.arg: value}
        if not isinstance(given, dict):
            raise MalformedError(f"calls: {name} unpacks what is no dictionary: {written[:80]!r}")
        if twice := given.keys() & arguments.keys():
            raise MalformedError(f"calls: {name} has the argument {min(twice)} twice")
        arguments |= given
    return bounded(arguments)


def _literal(node: ast.expr, depth: int = 0) -> Any:
    """Return the JSON value of a literal; tuples become lists, ``true``, ``false`` and ``null`` are read as in JSON."""
    if depth > DEEPEST:
        raise MalformedError(f"too deep: more than {DEEPEST} levels")
    match node:
        case ast.Constant(value=bool() | int() | float() | str() | None as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)) if not isinstance(value, bool):
            return -value
        case ast.Name(id=word) if word in _WORDS:
            return _WORDS[word]
        case ast.List(elts=elements) | ast.Tuple(elts=elements):
            return [_literal(element, depth + 1) for element in elements]
        case ast.Dict(keys=keys, values=values):
            names = [_literal(key, depth + 1) if key else None for key in keys]
            if not all(isinstance(name, str) for name in names):
                raise MalformedError("calls: a dictionary with a key that is no string")
            return dict(zip(names, (_literal(value, depth + 1) for value in values), strict=True))
        case _:
            raise MalformedError(f"calls: a value is not a literal: {type(node).__name__}")


def _shown(value: Any) -> str:
    return repr(value)[:80]
