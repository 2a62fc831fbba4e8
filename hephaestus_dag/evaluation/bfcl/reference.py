"""BFCL's answers written as the reply that a perfect model would give: targets for the benchmark loss.

The answers of the package list the allowed values of each parameter; the reply needs one of them, as a literal of the
category's language. Held against the official checker: every answer is right but for a few items that no reply satisfies.
"""

import json
import re
from typing import Any

CODE = re.compile(r"[A-Za-z_$][\w.$]*")
MISSING = object()


def render_answer(ground_truth: list[dict[str, dict[str, list[Any]]]], functions: list[dict[str, Any]], language: str) -> str:
    """Return the answer calls as one reply, ``[name(parameter=value, ...), ...]``.

    ``ground_truth`` holds one ``{name: {parameter: [allowed values]}}`` per call, ``functions`` the schemas of the item.
    """
    schemas = {function["name"]: function["parameters"] for function in functions}
    calls = []
    for truth in ground_truth:
        ((name, allowed),) = truth.items()
        schema = schemas.get(name, {"properties": {}})
        arguments = {}
        for parameter, values in allowed.items():
            value = pick(values, required=parameter in schema.get("required", ()))
            if parameter in schema["properties"] and value is not MISSING:
                arguments[parameter] = literal(value, schema["properties"][parameter], language)
        call = f"{name}({', '.join(f'{parameter}={text}' for parameter, text in arguments.items())})"
        # The official Java parser takes a call with fewer than two arguments for an error unless it ends as a statement.
        calls.append(call + ";" if language == "java" and len(arguments) < 2 else call)
    return f"[{', '.join(calls)}]"


def pick(values: list[Any], required: bool) -> Any:
    """Return the first allowed value that is not the empty string, which stands for "may be left out", or MISSING."""
    given = [value for value in values if value != ""]
    if given:
        return concrete(given[0])
    return "" if required else MISSING


def concrete(value: Any) -> Any:
    """Return an allowed value with the lists of choices inside its dictionaries resolved."""
    if isinstance(value, dict):
        chosen = {key: pick(inner, False) if isinstance(inner, list) else inner for key, inner in value.items()}
        return {key: inner for key, inner in chosen.items() if inner is not MISSING}
    if isinstance(value, list):
        return [concrete(inner) for inner in value]
    return value


def literal(value: Any, schema: dict[str, Any], language: str) -> str:
    """Return a value as a literal of the language, of the type that the parameter's schema names."""
    if language == "java":
        return java_literal(value, schema["type"], schema.get("items", {}).get("type", ""))
    if language == "javascript":
        return javascript_literal(value, schema["type"])
    return repr(value)


def java_literal(value: Any, kind: str, element: str = "") -> str:
    """Return a Java literal of a BFCL type (``String``, ``long``, ``ArrayList``, ``any``, ...)."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        inner = ", ".join(java_literal(v, element or guess_java(v)) for v in value)
        if kind == "ArrayList":
            return f"new ArrayList<>(Arrays.asList({inner}))" if value else "new ArrayList<>()"
        return f"new {element or 'Object'}[]{{{inner}}}"
    if isinstance(value, dict):
        puts = " ".join(f"put({json.dumps(k)}, {java_literal(v, guess_java(v))});" for k, v in value.items())
        return f"new HashMap<String, Object>() {{{{ {puts} }}}}" if value else "new HashMap<>()"
    if isinstance(value, str):
        return text_literal(value, kind)
    return f"{value}{ {'long': 'L', 'float': 'f'}.get(kind, '') }"


def guess_java(value: Any) -> str:
    """Return the Java type of a value that no schema describes."""
    return "String" if isinstance(value, str) else "integer" if isinstance(value, int) else "double"


def javascript_literal(value: Any, kind: str) -> str:
    """Return a JavaScript literal."""
    return text_literal(value, kind) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def text_literal(value: str, kind: str) -> str:
    """Return text as a quoted string, or bare where it is code that stands for an object of any type."""
    quoted = '"' in value or "\\" in value or "\n" in value
    return value if kind.lower() != "string" and quoted else f'"{value}"'
