"""API operations, whatever vendor describes them, and the documents made of them."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hephaestus_dag.documents import Document, Reject, signature

if TYPE_CHECKING:
    from hephaestus_dag.sources.config import SourceConfig


_TRAILING = re.compile(r"[ \t]+$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter, member or field of an operation."""

    name: str
    type: str
    """JSON Schema type (string, integer, number, boolean, object, array), ``map``, or ``any``."""
    required: bool = False
    description: str = ""
    items: str = ""
    """For an array the type of its elements, for a map of its values."""
    enum: tuple[str, ...] = ()
    children: tuple["Parameter", ...] = ()
    """Members of an object, or of the objects inside an array or map."""
    location: str = ""
    """Where a request carries it: ``path``, ``query``, ``header``, ``cookie``, ``body``; empty where that does not matter."""
    format: str = ""
    """What sort of string or number it is (``date-time``, ``int64``), or the media type of a body that is not JSON."""
    default: str = ""
    """The value that counts when none is given, as JSON; empty when unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One thing that an API can do."""

    name: str
    """``RunInstances``, ``compute.instances.insert``."""
    provider: str
    """Who runs the service: ``amazonaws.com``."""
    service: str
    """The service's short name, without a version: ``ec2``."""
    title: str
    """The service, as its provider calls it: ``Amazon Elastic Compute Cloud``."""
    origin: str
    license: str
    description: str = ""
    method: str = ""
    path: str = ""
    server: str = ""
    """URL that the path follows: ``https://api.example.com/v1``."""
    parameters: tuple[Parameter, ...] = ()
    returns: tuple[Parameter, ...] = ()
    """Fields of the result, or of its elements where ``result`` says that it is an array."""
    result: str = ""
    """Type of a result that is not one object: ``array of object``, ``string``."""
    response: str = ""
    """What comes back, in words."""
    errors: tuple[tuple[str, str], ...] = ()
    """Name and description of each error."""

    @property
    def api(self) -> str:
        """What tells the operation from others, the same in every version of a service's description."""
        return f"{self.provider} {self.service} " + (
            f"{self.method} {self.path}" if self.path.strip("/") else self.name  # of services that share one path
        )


def documentation(config: "SourceConfig", operations: Iterable[Operation | Reject]) -> Iterator[Document | Reject]:
    """Yield a document for each operation, in a drawn format, and pass rejects on.

    An operation without a description is set aside: a bare list of parameters teaches nobody what it is for.
    """
    for operation in operations:
        if isinstance(operation, Reject):
            yield operation
            continue
        try:
            yield _document(config, operation)
        except (AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
            # a model may hold a list where a name belongs, which shows only when it is written down
            reason = f"malformed: {type(error).__name__}: {error}"
            yield Reject(source=config.name, origin=operation.origin, position=f"operation {operation.name}", reason=reason)


def _document(config: "SourceConfig", operation: Operation) -> Document | Reject:
    from hephaestus_dag.sources.rendering.formats import choose_format, formats_of, render

    if not operation.description.strip():
        position = f"operation {operation.name}"
        return Reject(source=config.name, origin=operation.origin, position=position, reason="no description")
    form = choose_format(operation.origin, config.seed, formats_of(operation))
    text = render(operation, form)
    return Document(
        text=_TRAILING.sub("", text) if " \n" in text or "\t\n" in text else text,
        domain=config.domain,
        kind="api_documentation",
        source=config.name,
        origin=operation.origin,
        license=operation.license,
        provider=operation.provider,
        api=operation.api,
        signatures=signature(operation.name, (parameter.name for parameter in operation.parameters)),
        format=form,
    )
