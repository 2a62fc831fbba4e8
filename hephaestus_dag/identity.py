"""What an artifact is: everything that decides its content, and the fingerprint over it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


def canonical_json(value: Any) -> str:
    """Return the one JSON text of a value.

    Raises TypeError for anything but JSON values, so that no path, callable or default representation
    slips into an identity.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Everything that decides the content of an artifact."""

    key: str
    """Asset key, parts joined by ``/``."""
    code: str
    """Version of the code that makes it."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """Recipe values and versions of outside inputs, by dotted name."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Fingerprints of the input artifacts, by asset key."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the canonical JSON of all fields, as hex."""
        return hashlib.sha256(canonical_json(asdict(self)).encode()).hexdigest()


def differences(before: Any, after: Any, name: str = "") -> list[str]:
    """Return the leaves in which two identities differ, as ``name: old → new``."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        found = []
        for key in sorted({*before, *after}):
            child = key if name in ("", "values") else f"{name}.{key}"
            found += differences(before.get(key, "absent"), after.get(key, "absent"), child)
        return found
    if isinstance(before, (list, tuple)) and isinstance(after, (list, tuple)) and len(before) == len(after):
        return [line for i, (a, b) in enumerate(zip(before, after, strict=True)) for line in differences(a, b, f"{name}[{i}]")]
    if before == after:
        return []
    if name == "code" or name.startswith("inputs."):
        return [f"{name.replace('inputs.', 'input ')} changed"]
    for whole, other, word in ((after, before, "is new"), (before, after, "is gone")):
        if isinstance(whole, Mapping) and other == "absent":
            return [f"{name} {word}"]
    return [f"{name}: {_short(before)} → {_short(after)}"]


def _short(value: Any, most: int = 40) -> str:
    """Return a value without the marks of JSON, cut in the middle, since the ends tell two apart."""
    if isinstance(value, Mapping):
        text = ", ".join(f"{name} {_short(each)}" for name, each in value.items() if each is not None) or "{}"
    elif isinstance(value, (list, tuple)):
        text = ", ".join(map(_short, value)) or "[]"
    else:
        text = value if isinstance(value, str) else canonical_json(value)
    return text if len(text) <= most else f"{text[: most // 2]}…{text[-(most // 2) :]}"
