"""OpenAPI descriptions, version 2 (Swagger), 3.0 and 3.1, in JSON or YAML, one file or a tree: one document per operation."""

import re
from collections.abc import Iterator
from typing import Any

from hephaestus_dag.documents import Document, Reject
from hephaestus_dag.sources.config import SourceConfig
from hephaestus_dag.sources.openapi.files import (
    SUFFIXES,
    DescriptionError,
    Files,
    MalformedError,
    UnresolvedError,
    load,
    mapping,
    sequence,
    text,
)
from hephaestus_dag.sources.openapi.identity import Identity, derived_name
from hephaestus_dag.sources.openapi.schemas import Schemas
from hephaestus_dag.sources.operations import Operation, Parameter, documentation
from hephaestus_dag.sources.phrasing import base_form
from hephaestus_dag.sources.reading.distributions import list_files, locate
from hephaestus_dag.sources.reading.files import reject
from hephaestus_dag.sources.rendering.descriptions import clean_markdown

_MALFORMED = (AttributeError, LookupError, TypeError, ValueError, RecursionError)
"""What an odd description may raise: most of it is checked and said in words, and nothing that is left may stop the run."""

_VERBS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_LEFT_TO_THE_CLIENT = ("accept", "content-type", "authorization")  # the standard ignores headers of these names
_OF_OTHERS = ("package.json", "package-lock.json", "tsconfig.json")
_SAYS_NOTHING = frozenset(
    """
    a accepted action an and api body been bool boolean code collection completed content created data default deleted
    description empty entities entity example executed for found has have if in integer is it json navigation no none not
    null object of ok operation processed property received request requests resource response responses result results
    retrieval retrieved return returned returns specified string succeeded success successful successfully that the this
    typical unknown updated valid value was were when with without
    """.split()  # noqa: SIM905
)
"""Words of descriptions of responses that say nothing, as converters write them where the standard wants one."""

_ERROR = re.compile(r"error|fail|invalid|unexpected|bad ?request|denied|exception|fault", re.IGNORECASE)


def list_items(config: SourceConfig) -> list[str]:
    """Return one item per JSON or YAML file: ``api/stripe.com.json``; what is no description is set aside when read."""
    return [item for item in list_files(config, SUFFIXES) if item.rpartition("/")[2] not in _OF_OTHERS]


def read_item(config: SourceConfig, item: str) -> Iterator[Document | Reject]:
    """Return the documentation of every operation of a description."""
    return documentation(config, read_operations(config, item))


def read_operations(config: SourceConfig, item: str) -> Iterator[Operation | Reject]:
    """Yield the operations of a description in its order; one that is malformed is set aside with its verb and path."""
    root, name = locate(config, item)
    try:
        model, doubled = load(root.folder / name)
        if not isinstance(model, dict) or not ("openapi" in model or "swagger" in model):
            yield reject(config, item, "file", "not an OpenAPI description: neither `openapi` nor `swagger` at the top")
            return
        files = Files(root.folder, name, model)
        service = _Service(model, files, Identity.of(model, name, config.license, root.license))
        paths = mapping(model.get("paths"), "paths")
    except DescriptionError as error:
        yield reject(config, item, error.position, str(error))
        return
    except OSError as error:
        yield reject(config, item, "file", f"unreadable: {error.strerror}")
        return
    except _MALFORMED as error:
        yield reject(config, item, "file", _reason(error))
        return
    for line, key in doubled:
        yield reject(config, item, f"line {line}", f"doubled key: {key!r} is given again here, which hides the first")
    for path, given in paths.items():
        if path.startswith("x-"):
            continue
        try:
            shared = service.path_item(given)
        except _MALFORMED as error:
            yield reject(config, f"{item}/{path}", f"path {path}", _reason(error))
            continue
        for verb in _VERBS:
            if verb not in shared:
                continue
            place = f"{verb.upper()} {path}"
            try:
                yield service.operation(verb, path, shared, f"{item}/{place}")
            except _MALFORMED as error:
                yield reject(config, f"{item}/{place}", f"operation {place}", _reason(error))


def _reason(error: Exception) -> str:
    if isinstance(error, UnresolvedError):
        return str(error)
    return f"malformed: {error}" if isinstance(error, MalformedError) else f"malformed: {type(error).__name__}: {error}"


class _Service:
    """Turns the operations of one description into ours."""

    def __init__(self, model: dict[str, Any], files: Files, identity: Identity) -> None:
        self.files = files
        self.schemas = Schemas(files)
        self.identity = identity
        self.v2 = "swagger" in model
        self.consumes = model.get("consumes")
        self._parameters: dict[int, Parameter] = {}  # by identity of their place in the model, which lives as long
        place = model if self.v2 else mapping(model.get("components"), "components")
        schemes = mapping(place.get("securityDefinitions" if self.v2 else "securitySchemes"), "the security schemes")
        keys = [mapping(files.resolve(scheme), "a security scheme") for scheme in schemes.values()]
        self.secrets = {(text(key.get("in")), text(key.get("name"))) for key in keys if key.get("type") == "apiKey"}

    def path_item(self, given: Any) -> dict[str, Any]:
        """Return what lies at one path, references followed."""
        beside = {word: value for word, value in mapping(given, "what lies at the path").items() if word != "$ref"}
        return {**mapping(self.files.resolve(given), "what lies at the path"), **beside}

    def operation(self, verb: str, path: str, shared: dict[str, Any], origin: str) -> Operation:
        """Return one operation; its body is a parameter called ``body``, two levels deep, like its result."""
        model = mapping(self.files.resolve(shared[verb]), "the operation")
        given = self.given(sequence(shared.get("parameters"), "parameters") + sequence(model.get("parameters"), "parameters"))
        parameters = [self.parameter(each) for each in given if each["in"] in ("path", "query", "header", "cookie")]
        parameters += self.body_v2(given, model) if self.v2 else self.body(model)
        responses = mapping(model.get("responses"), "responses")
        described, result = self.result(responses)
        description = _description(model.get("summary"), model.get("description"))
        identity = self.identity
        return Operation(
            name=derived_name(model.get("operationId"), verb, path),
            provider=identity.provider,
            title=identity.title,
            service=identity.service,
            origin=origin,
            license=identity.license,
            description=description,
            method=verb.upper(),
            path=path,
            server=identity.server,
            parameters=tuple(sorted(parameters, key=lambda parameter: not parameter.required)),
            returns=result.children if result else (),
            result=_kind_of_result(result),
            response="" if described.rstrip(".") in description else described,
            errors=tuple(self.errors(responses)),
        )

    def given(self, parameters: list[Any]) -> list[dict[str, Any]]:
        """Return the parameters of an operation: its own hide those of its path; without keys, which are security."""
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for parameter in map(self.files.resolve, parameters):
            place, name = text(mapping(parameter, "a parameter").get("in")), text(parameter.get("name"))
            if not place or not name:
                raise MalformedError("a parameter lacks `name` or `in`")
            if (place, name) not in self.secrets and not (place == "header" and name.lower() in _LEFT_TO_THE_CLIENT):
                found[place, name] = parameter
        return list(found.values())

    def parameter(self, given: dict[str, Any]) -> Parameter:
        """Return one parameter of the path, query, header or cookies."""
        if id(given) not in self._parameters:
            schema = given if self.v2 else given.get("schema")
            if schema is None and (content := given.get("content")):
                schema = _media(content)[1]
            self._parameters[id(given)] = self.schemas.parameter(
                given["name"],
                schema,
                1,
                writable=True,
                required=given.get("required") is True or given["in"] == "path",
                description=text(given.get("description")),
                location=given["in"],
            )
        return self._parameters[id(given)]

    def body(self, model: dict[str, Any]) -> Iterator[Parameter]:
        """Yield the body of a request of version 3, if it has one."""
        body = mapping(self.files.resolve(model.get("requestBody")), "the request body")
        if not (body.get("content") or body.get("description")):
            return
        media, schema = _media(body.get("content"))
        yield self._body(schema, body.get("required") is True, text(body.get("description")), media)

    def body_v2(self, given: list[dict[str, Any]], model: dict[str, Any]) -> Iterator[Parameter]:
        """Yield the body of a request of version 2: that which is called so, or the fields of a form."""
        for body in given:
            if body["in"] == "body":
                yield self._body(body.get("schema"), body.get("required") is True, text(body.get("description")), "")
        if form := [each for each in given if each["in"] == "formData"]:
            consumed = sequence(model.get("consumes") or self.consumes, "consumes")
            files = any(each.get("type") == "file" for each in form) or "multipart/form-data" in consumed
            required = [each["name"] for each in form if each.get("required") is True]
            schema = {"type": "object", "properties": {each["name"]: each for each in form}, "required": required}
            media = "multipart/form-data" if files else "application/x-www-form-urlencoded"
            yield self._body(schema, bool(required), "", media)

    def _body(self, schema: Any, required: bool, description: str, media: str) -> Parameter:
        shown = "" if "json" in media or media == "*/*" else media
        return self.schemas.parameter(
            "body", schema, 2, writable=True, required=required, description=description, location="body", format=shown
        )

    def result(self, responses: dict[str, Any]) -> tuple[str, Parameter | None]:
        """Return what a successful response means and holds."""
        described, result = "", None
        for code in sorted(code for code in responses if code[:1] == "2" or code == "default"):
            response = mapping(self.files.resolve(responses[code]), "a response")
            if code == "default" and (described or _ERROR.search(text(response.get("description")))):
                break
            described = described or _says_something(text(response.get("description")))
            schema = response.get("schema") if self.v2 else _media(response.get("content"))[1]
            if schema:
                result = self.schemas.parameter("result", schema, 2, writable=False)
                break
        return described, result

    def errors(self, responses: dict[str, Any]) -> Iterator[tuple[str, str]]:
        """Yield the status codes that say that a request is wrong, and what they mean."""
        for code in sorted(code for code in responses if code[:1] == "4"):
            response = mapping(self.files.resolve(responses[code]), "a response")
            yield code, clean_markdown(text(response.get("description")))


def _media(content: Any) -> tuple[str, Any]:
    """Return the media type and schema of a body: JSON if it may be that, else a form, else the first."""
    rank = {"application/json": 0, "multipart/form-data": 2, "application/x-www-form-urlencoded": 3}
    content = mapping(content, "the content of a body")
    for media in sorted(content, key=lambda media: rank.get(media, 1 if "json" in media else 4)):
        return media.partition(";")[0].strip(), mapping(content[media], "the content of a body").get("schema")
    return "", None


def _kind_of_result(result: Parameter | None) -> str:
    if result is None or (result.type == "object" and result.children) or result.type == "any":
        return ""
    return f"{result.type} of {result.items}" if result.items not in ("", "any") else result.type


def _description(summary: Any, description: Any) -> str:
    """Return summary and description as one text, without the first where the second repeats it."""
    short, long = clean_markdown(text(summary)), clean_markdown(text(description))
    if not long or not short:
        return long or short
    if _words(short) <= _words(long):
        return long
    if long[0].islower() and short[-1].isalnum():
        return f"{short} {long}"  # one sentence in two fields
    return f"{short}\n{long}" if short.endswith((".", "!", "?", ":")) else f"{short}.\n{long}"


def _words(text: str) -> set[str]:
    words = re.findall(r"\w+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).lower())
    return {base_form(word) for word in words if word not in ("a", "an", "the", "of", "for", "to", "by", "s")}


def _says_something(description: str) -> str:
    plain = clean_markdown(description)
    return "" if _SAYS_NOTHING.issuperset(re.findall(r"[a-z]+", plain.lower())) and plain.isascii() else plain
