"""Whose description it is: provider, service, title, server and licence of an OpenAPI file."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Self
from urllib.parse import urlsplit

from hephaestus_dag.licenses import normalise_license
from hephaestus_dag.sources.openapi.files import mapping, sequence, text
from hephaestus_dag.sources.rendering.descriptions import clean_markdown

_SECOND_LEVEL = frozenset("ac co com edu gob gov gouv govt mil ne net nom or org".split())  # noqa: SIM905
"""Labels that, before a country, are not yet somebody's name: ``co.uk``."""

_VERSION = r"v(?:ersion)?[-_. ]?\d+(?:[._-]\d+)*(?:[-_]?(?:alpha|beta|preview|rc)\d*)?"
_VERSION_IN_TITLE = re.compile(rf"[\s(\[_-]+(?:{_VERSION}|\d+(?:\.\d+)+)[)\]]*(?=\s|$)", re.IGNORECASE)
_VERSION_AT_END = re.compile(rf"(?<=\w)[-_. ](?:{_VERSION}|\d+(?:\.\d+)+)$", re.IGNORECASE)
_NOISE = re.compile(r"\b(?:the|api|apis|rest|restful|http|openapi|swagger|specification|documentation)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Identity:
    """What all operations of a description share."""

    provider: str
    """Registered domain: ``stripe.com``."""
    service: str
    """Short name without a version."""
    title: str
    server: str
    """First URL of a server with its variables filled in, without a slash at the end; empty when it names no host."""
    license: str

    @classmethod
    def of(cls, model: dict[str, Any], name: str, stated: str | None, otherwise: str) -> Self:
        """Return the identity of a description.

        ``name`` is the path of its file, ``stated`` the licence that the recipe gives for all, ``otherwise`` the one that
        holds when the description names none that is known.
        Raises MalformedError.
        """
        info = mapping(model.get("info"), "info")
        server = _server(model)
        title = text(info.get("title")).strip()
        base = PurePosixPath(name)
        provider = text(info.get("x-providerName")) or _registered(_host(server))
        provider = provider or _registered(_contact(info)) or (base.parts[0] if len(base.parts) > 1 else base.stem)
        service = _VERSION_AT_END.sub("", text(info.get("x-serviceName"))) or _short(title)
        service = service or re.sub(r"^\w+://[^/]*|/", "-", server).strip("-") or provider
        title = " ".join(clean_markdown(title).split()) or provider
        return cls(provider, service, title, server, _license(info, stated, otherwise))


def derived_name(given: Any, verb: str, path: str) -> str:
    """Return the name of an operation as the vendor gives it, or one made of verb and path: ``get_pets_by_id``."""
    name = "_".join(given.split()) if isinstance(given, str) else ""
    if name and len(name) <= 120:
        return name
    steps = (f"by_{step[1:-1]}" if step[:1] == "{" else step for step in path.split("/"))
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", "_".join([verb, *steps]))
    return re.sub(r"[\W_]+", "_", words).strip("_").lower()


def _server(model: dict[str, Any]) -> str:
    if "swagger" in model:
        host, base = text(model.get("host")), text(model.get("basePath"))
        schemes = sequence(model.get("schemes"), "schemes") or ["https"]
        scheme = "https" if "https" in schemes else text(schemes[0])
        return f"{scheme}://{host}/{base.strip('/')}".rstrip("/") if host else ""
    servers = sequence(model.get("servers"), "servers")
    first = mapping(servers[0], "a server") if servers else {}
    url = text(first.get("url"))
    for name, variable in mapping(first.get("variables"), "the variables of a server").items():
        if default := text(mapping(variable, "a variable of a server").get("default")):
            url = url.replace(f"{{{name}}}", default)
    url = f"https:{url}" if url.startswith("//") else url
    return url.rstrip("/") if url.startswith(("http://", "https://", "ws://", "wss://")) else ""


def _registered(host: str) -> str:
    """Return the part of a host name that somebody registered: ``bbc.co.uk`` of ``api.bbc.co.uk``."""
    labels = [label for label in host.lower().strip(".").split(".") if label and "{" not in label and "}" not in label]
    if len(labels) < 2 or all(label.isdigit() for label in labels):
        return ""
    known = 3 if len(labels[-1]) == 2 and labels[-2] in _SECOND_LEVEL else 2
    return ".".join(labels[-known:])


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:  # what only looks like an address of IPv6
        return ""


def _contact(info: dict[str, Any]) -> str:
    contact = info.get("contact")
    contact = contact if isinstance(contact, dict) else {}
    return _host(text(contact.get("url"))) or text(contact.get("email")).rpartition("@")[2]


def _short(title: str) -> str:
    words = _NOISE.sub(" ", _VERSION_IN_TITLE.sub(" ", title))
    return "-".join(re.findall(r"\w+", words.lower()))[:60]


def _license(info: dict[str, Any], stated: str | None, otherwise: str) -> str:
    given = info.get("license")
    if stated or not isinstance(given, dict):
        return stated or otherwise

    found = normalise_license(text(given.get("identifier")) or text(given.get("name")), text(given.get("url")))
    return otherwise if found in ("", "unknown") else found
