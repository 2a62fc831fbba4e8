"""YAML as OpenAPI uses it: JSON's values, written with YAML 1.2's core schema, with text for every key."""

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

MOST_NODES = 5_000_000
"""Values of a file, counted as if every alias were written out, above which it is set aside."""

_DEEPEST = 200
_STR = "tag:yaml.org,2002:str"
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]{1,3})?")
_WORDS = {"": None, "~": None, "null": None, "Null": None, "NULL": None}
_WORDS |= {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


class YamlError(ValueError):
    """A file is not the YAML of a description."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not been read yet."""

    value: list[Any] | dict[str, Any]
    anchor: str | None = None
    key: str | None = None
    nodes: int = 1
    merged: list[Any] = field(default_factory=list)


def load_yaml(content: bytes) -> tuple[Any, list[tuple[int, str]]]:
    """Return the value of a YAML file, and its doubled keys (line from 1, and key; the last one counts, as in JSON).

    Dates, ``on`` and ``1:30`` stay text, and so does every key (``200``). An aliased value is one object, however often it
    is used, so a file that expands a billionfold costs nothing before it is found out.
    Raises YamlError with the line.
    """
    try:
        return _build(content)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise YamlError(line, f"malformed YAML: {error.problem or error.context}") from None
    except yaml.reader.ReaderError as error:
        raise YamlError(content.count(b"\n", 0, error.position) + 1, f"malformed YAML: {error.reason}") from None


def _build(content: bytes) -> tuple[Any, list[tuple[int, str]]]:
    documents: list[Any] = []
    stack = [_Open(documents)]
    anchors: dict[str, tuple[Any, int]] = {}
    doubled: list[tuple[int, str]] = []
    for event in yaml.parse(content, Loader=yaml.CSafeLoader):
        line = event.start_mark.line + 1
        if isinstance(event, yaml.ScalarEvent):
            top = stack[-1]
            value = _scalar(event)
            if event.anchor:
                anchors[event.anchor] = value, 1
            if isinstance(top.value, dict) and top.key is None:
                top.key = event.value
            else:
                _add(top, value, 1, line, doubled)
        elif isinstance(event, (yaml.SequenceStartEvent, yaml.MappingStartEvent)):
            if len(stack) > _DEEPEST:
                raise YamlError(line, f"malformed YAML: nested more than {_DEEPEST} levels deep")
            if isinstance(stack[-1].value, dict) and stack[-1].key is None:
                raise YamlError(line, "malformed YAML: a list or mapping where a key belongs")
            stack.append(_Open([] if isinstance(event, yaml.SequenceStartEvent) else {}, event.anchor))
        elif isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
            closed = stack.pop()
            _merge(closed, line)
            if closed.anchor:
                anchors[closed.anchor] = closed.value, closed.nodes
            _add(stack[-1], closed.value, closed.nodes, line, doubled)
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in anchors:
                raise YamlError(line, f"malformed YAML: alias *{event.anchor} is undefined, or inside what it stands for")
            value, nodes = anchors[event.anchor]
            if isinstance(stack[-1].value, dict) and stack[-1].key is None:
                stack[-1].key = str(value)[:200] if isinstance(value, str | int | float) else ""
            else:
                _add(stack[-1], value, nodes, line, doubled)
    if len(documents) != 1:
        raise YamlError(1, f"malformed YAML: {len(documents)} documents in one file")
    return documents[0], doubled


def _add(top: _Open, value: Any, nodes: int, line: int, doubled: list[tuple[int, str]]) -> None:
    top.nodes += nodes
    if top.nodes > MOST_NODES:
        raise YamlError(line, f"too large: more than {MOST_NODES} values with every alias written out")
    if isinstance(top.value, list):
        top.value.append(value)
        return
    key, top.key = top.key or "", None
    if key == "<<":
        top.merged += value if isinstance(value, list) else [value]
        return
    if key in top.value:
        doubled.append((line, key))
    top.value[key] = value


def _merge(closed: _Open, line: int) -> None:
    for given in closed.merged:
        if not isinstance(given, dict) or not isinstance(closed.value, dict):
            raise YamlError(line, "malformed YAML: << takes a mapping or a list of mappings")
        for key, value in given.items():
            closed.value.setdefault(key, value)


def _scalar(event: yaml.ScalarEvent) -> Any:
    text: str = event.value
    if event.style or event.tag == _STR or (event.tag and event.tag[:18] != _STR[:18]):
        return text
    if text in _WORDS:
        return _WORDS[text]
    if text[0] in "-+.0123456789":
        if _INTEGER.fullmatch(text):
            return int(text)
        if _FLOAT.fullmatch(text):
            return float(text)
    return text
