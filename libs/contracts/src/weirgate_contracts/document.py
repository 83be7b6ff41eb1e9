"""Reading a configuration document as somebody wrote it: what is wrong, where, and what would be right. Pure.

:func:`read_document` gives the model of :mod:`weirgate_contracts.config`, or every problem at once. The
command reads files with it, the console reads what is sent to it, so both say the same.
"""

import difflib
import types
from collections.abc import Iterable, Mapping
from typing import Any, Union, cast, get_args, get_origin

from pydantic import BaseModel, ValidationError

from weirgate_contracts.config import (
    LabelsDocument,
    MaskingDocument,
    PolicyDocument,
    ResourceDocument,
    ReviewersDocument,
    ToolsDocument,
)
from weirgate_contracts.events.config import ConfigKind
from weirgate_contracts.scrutiny import Complaint as Complaint
from weirgate_contracts.scrutiny import Path as Path
from weirgate_contracts.scrutiny import scrutinise

Document = (
    ResourceDocument | LabelsDocument | MaskingDocument | PolicyDocument | ReviewersDocument | ToolsDocument
)

DOCUMENTS: Mapping[ConfigKind, type[Document]] = {
    "labels": LabelsDocument,
    "masking": MaskingDocument,
    "reviewers": ReviewersDocument,
    "tools": ToolsDocument,
    "policy": PolicyDocument,
    "resource": ResourceDocument,
}
"""Every kind, in the order they are published: what protects before what opens. Who has heard half of a
change knows the labels and masks of a resource before anybody may reach it."""

_PATTERNS = {
    "resource": "1 to 63 of a-z, 0-9 and '-', beginning and ending in a letter or digit",
    "name": "1 to 63 of a-z, 0-9 and '-', beginning and ending in a letter or digit",
    "label": "a label in lower case, its families joined by dots, such as pii.email; or pii.* for a family",
    "columns": "a label in lower case, its families joined by dots, such as pii.email",
    "fields": "a label in lower case, its families joined by dots, such as pii.email",
    "request_fields": "a label in lower case, its families joined by dots, such as pii.email",
}


class BadDocument(ValueError):
    """A document cannot be read; ``complaints`` says all that is wrong."""

    def __init__(self, complaints: Iterable[Complaint]) -> None:
        self.complaints = tuple(complaints)
        super().__init__("; ".join(complaint.what for complaint in self.complaints))


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that was probably meant."""
    found = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.6)
    return found[0] if found else None


def meant(word: str, known: Iterable[str]) -> str:
    """Say what was probably meant, or else everything that could be."""
    names = sorted(known)
    near = nearest(word, names)
    if near:
        return f"did you mean {near!r}?"
    return f"one of {', '.join(names)}" if names else "there is none yet"


def place(path: Path) -> str:
    """Write a path as one text: the key under which a sender says on which line it stands."""
    return "/".join(str(part) for part in path)


def name_of(document: Document) -> str:
    """Return the name a document is published under."""
    return document.resource if isinstance(document, LabelsDocument | ToolsDocument) else document.name


def read_kind(kind: object) -> ConfigKind:
    """Read the kind of a document.

    Raises:
        BadDocument: there is no such kind.
    """
    for known in DOCUMENTS:
        if kind == known:
            return known
    if not isinstance(kind, str):
        every = f"one of {', '.join(sorted(DOCUMENTS))}"
        raise BadDocument([Complaint(path=("kind",), what="'kind' is missing", right=every)])
    raise BadDocument(
        [Complaint(path=("kind",), what=f"there is no kind {kind!r}", right=meant(kind, DOCUMENTS))]
    )


def read_document(kind: ConfigKind, body: Mapping[str, Any]) -> Document:
    """Read one document.

    Raises:
        BadDocument: with everything that is wrong.
    """
    model = DOCUMENTS[kind]
    complaints = list(scrutinise(kind, body))
    try:
        document = model.model_validate(dict(body))
    except ValidationError as error:
        said = [complaint.path for complaint in complaints]
        for details in error.errors(include_url=False):
            complaint = _translate(model, cast(dict[str, Any], details))
            if not any(path[: len(complaint.path)] == complaint.path for path in said):
                complaints.append(complaint)
        raise BadDocument(complaints) from None
    if complaints:
        raise BadDocument(complaints)
    return document


def _translate(model: type[BaseModel], details: dict[str, Any]) -> Complaint:
    """Say one finding of pydantic in our words. A value is quoted only where it cannot be a secret."""
    path: Path = tuple(part for part in details["loc"] if part != "[key]")
    field = next((part for part in reversed(path) if isinstance(part, str)), "")
    label = ".".join(str(part) for part in path)
    match details["type"]:
        case "extra_forbidden":
            return Complaint(
                path=path, what=f"unknown field {field!r}", right=meant(field, _fields(model, path[:-1]))
            )
        case "missing":
            return Complaint(path=path, what=f"{label!r} is missing", right=_example(field))
        case "literal_error":
            expected = str(details.get("ctx", {}).get("expected", ""))
            words = [word.strip(" '") for word in expected.replace(" or ", ",").split(",")]
            given = str(details["input"])[:64]
            return Complaint(path=path, what=f"{label}: {given!r} is not known", right=meant(given, words))
        case "string_pattern_mismatch":
            what = f"{label}: {str(details['input'])[:64]!r} cannot stand here"
            return Complaint(
                path=path, what=what, right=_PATTERNS.get(str(path[0]) if field not in _PATTERNS else field)
            )
        case "string_type":
            given = type(details["input"]).__name__
            right = "put it in quotes" if given in ("bool", "int", "float") else "write a text"
            return Complaint(path=path, what=f"{label} must be text, not {given}", right=right)
        case "value_error":
            what, _, right = details["msg"].removeprefix("Value error, ").partition("; ")
            what = f"{label}: {what}" if label else what
            return Complaint(path=path, what=what, right=right or _example(field))
        case _:
            message = details["msg"]
            return Complaint(
                path=path, what=f"{label}: {message[:1].lower()}{message[1:]}", right=_example(field)
            )


_EXAMPLES = {
    "name": "for instance 'name: shop'",
    "protocol": "write 'protocol: postgres', 'protocol: http' or 'protocol: mcp'",
    "upstream": "write 'upstream: postgresql://user@host:5432/database', or 'upstream: https://host:port/base'",
    "credential": "write 'credential: env:NAME' or 'credential: file:/path'",
    "inject": "write 'inject: bearer', or basic, header:NAME, query:NAME, oauth2, sigv4",
    "oauth2": "write 'oauth2: {token_url: \"https://host/path\", client_id: NAME}'",
    "token_url": "write 'token_url: https://host/path'",
    "client_id": "write 'client_id: NAME', as the authorization server knows the gateway",
    "scope": "write scopes with one space between: 'scope: read write'",
    "audience": "write 'audience: https://api.internal'",
    "auth": "write 'auth: basic' or 'auth: post'",
    "sigv4": "write 'sigv4: {region: eu-central-1, service: s3, access_key_id: ID}'",
    "region": "write 'region: eu-central-1'",
    "service": "write 'service: s3', or execute-api, dynamodb, …",
    "access_key_id": "write the id of the access key, or env:NAME, or file:/path",
    "session_token": "write 'session_token: env:NAME' or 'session_token: file:/path'",
    "client_cert": "write 'client_cert: file:/path' or 'client_cert: env:NAME'",
    "client_key": "write 'client_key: file:/path' or 'client_key: env:NAME'",
    "http2": "write 'http2: false' to speak HTTP/1.1 only",
    "ca": "write 'ca: /path/to/certificates.pem'",
    "routes": "write a list: 'routes: [\"/v1/customers/{id}\"]'",
    "hosts": "write a list: 'hosts: [api.internal, \"api.internal:8443\"]'",
    "unread": "write 'unread: refuse' or 'unread: pass'",
    "hold_wait_s": "write 'hold_wait_s: 30', whole seconds from 0 (at once) to 3600",
    "api": "write 'api: openai' or 'api: anthropic'",
    "mask_requests": "write 'mask_requests: true' or 'mask_requests: false'",
    "columns": "write 'columns: {public.customers.email: pii.email}'",
    "fields": "write 'fields: {\"/v1/customers/{id} /email\": pii.email}'",
    "request_fields": "write 'request_fields: {\"* /messages/*/name\": pii.name}'",
    "rules": "write a list: '- {label: \"pii.*\", transform: redact}'",
    "transform": "write 'transform: redact', or partial, null, generalise, pseudonym, format",
    "kind": "redact, partial, null, generalise, pseudonym or format",
    "tools": "write 'tools: {lookup_customer: 9f86…}' as 'weirgate tools pin' prints it",
    "reviewers": "write a list: 'reviewers: [dba]'",
    "groups": "write a list: 'groups: [dba]'",
    "cedar": "write 'file: NAME.cedar'",
    "resource": "name a registered resource: 'resource: shop'",
}


def _example(field: str) -> str | None:
    return _EXAMPLES.get(field)


def _fields(model: type[BaseModel], path: Path) -> set[str]:
    """Return the fields that may stand at a path, and those one below: files may write them flat."""
    for part in path:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(part)
        inner = _model_in(field.annotation) if field is not None else None
        if inner is None:
            return set()
        model = inner
    names = set(model.model_fields)
    for field in model.model_fields.values():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            names |= set(field.annotation.model_fields) - {"kind"}
    return names


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, types.UnionType, tuple, list):
        return next((model for arg in get_args(annotation) if (model := _model_in(arg))), None)
    return None
