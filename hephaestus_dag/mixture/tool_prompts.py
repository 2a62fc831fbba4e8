"""The system turns in which a model meets its tools: our own, BFCL's official one, and short ones.

Models that are tuned on one wording alone follow that wording. ``bfcl`` is the prompt of bfcl-eval 2026.3.23 (Apache-2.0),
word for word, with functions as it writes them: indented JSON, types in Python's words; ``bfcl_java`` and ``bfcl_javascript``
are those of its items in these languages, whose calls hold other literals. The rest is a fraction as long, which counts where
every token of a prompt costs as much as one of an answer.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, Literal

from hephaestus_dag.trajectories import Call

ToolPrompt = Literal["plain", "bfcl", "bfcl_java", "bfcl_javascript", "short", "signatures"]

_PLAIN = """You are an assistant that can call tools. These are the tools at hand, one JSON schema a line:
{tools}"""
_PLAIN_CALLS = """

Where tools are needed, reply with the calls alone, as one list of Python calls with keyword arguments:
[first_tool(count=1, name='value'), second_tool(flag=True)]
Use only the parameters of the schema, and take their values from the conversation. Reply in plain words where no tool \
fits, where a required value is missing, or once the results answer the request."""
_BFCL = """You are an expert in composing functions.You are given a question and a set of possible functions. Based on the \
question, you will need to make one or more function/tool calls to achieve the purpose. If none of the functions can be used, \
point it out. If the given question lacks the parameters required by the function, also point it out.

You should only return the function calls in your response.

If you decide to invoke any of the function(s), you MUST put it in the format of [func_name1(params_name1=params_value1, \
params_name2=params_value2...), func_name2(params)].  You SHOULD NOT include any other text in the response.

At each turn, you should try your best to complete the tasks requested by the user within the current turn. Continue to output \
functions to call until you have fulfilled the user's request to the best of your ability. Once you have no more functions to \
call, the system will consider the current turn complete and proceed to the next turn or task.

Here is a list of functions in json format that you can invoke.
{tools}
"""
_LANGUAGES = {"bfcl": "Python 3", "bfcl_java": "Java 8 SDK", "bfcl_javascript": "JavaScript"}
_SHORT = """Answer with calls of these functions, as [name(parameter=value, ...), ...], or say why none of them can be called.
{tools}"""
_SIGNATURES = """Functions that you can call:

{tools}

Reply with a list of calls such as [f(x=1, y='a')]. If nothing fits, or a value is missing, say so."""
_PYTHON_WORDS = {"object": "dict", "number": "float"}
_JAVA = {"string": "String", "number": "double", "array": "ArrayList", "object": "HashMap"}
_JAVASCRIPT = {"string": "String", "number": "float", "boolean": "Boolean", "object": "dict"}
_ANNOTATIONS = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "array": "list", "object": "dict"}


def tool_prompt(tools: Sequence[dict[str, Any]], style: ToolPrompt = "plain", instruct: bool = True) -> str:
    """Return the system turn that shows tool schemas; without ``instruct`` the plain one does not say how to write calls."""
    if style in _LANGUAGES:
        return _BFCL.format(tools=json.dumps(bfcl_functions(tools, style), indent=4))
    if style == "short":
        return _SHORT.format(tools="\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools))
    if style == "signatures":
        return _SIGNATURES.format(tools="\n\n".join(map(_signature, tools)))
    schemas = _PLAIN.format(tools="\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools))
    return schemas + _PLAIN_CALLS if instruct else schemas


def bfcl_functions(tools: Sequence[dict[str, Any]], style: ToolPrompt = "bfcl") -> list[dict[str, Any]]:
    """Return tool schemas as BFCL declares functions of a language."""
    note = f" Note that the provided function is in {_LANGUAGES[style]} syntax."
    shown = [{**_in_python_words(tool), "description": tool["description"] + note} for tool in tools]
    if style == "bfcl":
        return shown
    words = _JAVA if style == "bfcl_java" else _JAVASCRIPT
    for tool, declared in zip(tools, shown, strict=True):
        members = tool["parameters"].get("properties", {})
        declared["parameters"]["properties"] = {name: _as_text(member, style, words) for name, member in members.items()}
    return shown


def _as_text(member: dict[str, Any], style: ToolPrompt, words: dict[str, str]) -> dict[str, Any]:
    """Return a parameter as BFCL declares those of other languages: a string that holds a literal."""
    language = "Java" if style == "bfcl_java" else "JavaScript"
    kind = member.get("type", "string")
    said = (
        f"{member.get('description', '')} This is {language} {words.get(kind, kind)} type parameter in string representation."
    )
    if kind == "array":
        item = (member.get("items") or {}).get("type", "string")
        said += f" The list elements are of type {words.get(item, item)}; they are not in string representation."
    rest = {name: value for name, value in member.items() if name not in ("items", "properties")}
    return {**rest, "type": "string", "description": said.strip()}


def written_calls(calls: Sequence[Call], style: ToolPrompt = "plain") -> str:
    """Return calls as a reply holds them: a list of Python calls, with literals of another language where the style has one."""
    if style not in ("bfcl_java", "bfcl_javascript"):
        return f"[{', '.join(call.as_python() for call in calls)}]"
    literal = _java if style == "bfcl_java" else _javascript
    written = [f"{call.name}({_pairs(call, literal)})" for call in calls]
    if (
        style == "bfcl_java"
    ):  # BFCL's parser takes a call with fewer than two arguments for one only where it ends as a statement
        written = [text + ";" * (len(call.arguments) < 2) for text, call in zip(written, calls, strict=True)]
    return f"[{', '.join(written)}]"


def _pairs(call: Call, literal: Callable[[Any], str]) -> str:
    return ", ".join(f"{name}={literal(value)}" for name, value in call.arguments.items())


def _javascript(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _java(value: Any) -> str:
    if isinstance(value, list):
        return f"new ArrayList<>(Arrays.asList({', '.join(map(_java, value))}))"
    if isinstance(value, dict):
        puts = " ".join(f"put({json.dumps(name)}, {_java(inner)});" for name, inner in value.items())
        return f"new HashMap<String, Object>() {{{{ {puts} }}}}"
    return json.dumps(value, ensure_ascii=False)


def _in_python_words(schema: Any) -> Any:
    """Return a schema with ``dict`` for ``object`` and ``float`` for ``number``, at any depth."""
    if isinstance(schema, list):
        return [_in_python_words(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _in_python_words(value) for name, value in schema.items()}
    if isinstance(kind := schema.get("type"), str):
        found["type"] = _PYTHON_WORDS.get(kind, kind)
    return found


def _signature(tool: dict[str, Any]) -> str:
    parameters = tool["parameters"].get("properties", {})
    required = tool["parameters"].get("required", [])
    listed = ", ".join(_parameter(name, schema, name in required) for name, schema in parameters.items())
    said = [f"{name}: {text}" for name, schema in parameters.items() if (text := schema.get("description", "").strip())]
    lines = [f"def {tool['name']}({listed}):", f"    {tool['description'].strip()}", *(f"    {line}" for line in said)]
    return "\n".join(lines)


def _parameter(name: str, schema: dict[str, Any], required: bool) -> str:
    kind = _ANNOTATIONS.get(schema.get("type", "string"), "Any")
    if "enum" in schema:
        kind = f"Literal[{', '.join(map(repr, schema['enum']))}]"
    elif kind == "list":
        kind = f"list[{_ANNOTATIONS.get((schema.get('items') or {}).get('type', ''), 'Any')}]"
    return f"{name}: {kind}" + ("" if required else f" = {schema.get('default')!r}")
