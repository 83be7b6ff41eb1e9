"""Fields of answers that look personal, by their format or their name: proposed for labels, never decided."""

import re
from collections.abc import Iterator
from typing import Any, cast

from weirgate_cli.openapi.api import Api, Operation
from weirgate_cli.openapi.tree import mapping, resolve, sequence

CANDIDATES_LIMIT = 200
_NODES_LIMIT = 3000
"""Of one operation's answers: some schemas unfold without end."""
_DEPTH_LIMIT = 10
_FORMATS = {
    "email": "pii.email", "idn-email": "pii.email", "ipv4": "pii.ip", "ipv6": "pii.ip", "phone": "pii.phone",
    "credit-card": "payment.card", "iban": "payment.iban",
}  # fmt: skip
_NAMES = (
    (re.compile(r"(?:.*_)?e_?mail(?:_address)?"), "pii.email"),
    (re.compile(r"(?:.*_)?(?:phone|mobile|telephone|fax)(?:_?(?:number|no))?"), "pii.phone"),
    (re.compile(r"(?:.*_)?(?:ssn|social_security(?:_number)?)"), "pii.ssn"),
    (re.compile(r"(?:.*_)?ip(?:_?address|v4|v6)?"), "pii.ip"),
    (re.compile(r"(?:.*_)?(?:card(?:_?(?:number|no))?|pan)"), "payment.card"),
    (re.compile(r"(?:.*_)?iban"), "payment.iban"),
    (re.compile(r"(?:.*_)?(?:password|api_?key|access_token|refresh_token|client_secret|secret)"), "secret.token"),
)  # fmt: skip
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_POINTER = re.compile(r"(?:/[^/\s]+)+")


def candidates(api: Api) -> list[tuple[str, str]]:
    """Return fields as labels name them (``/pets/{id} /owner/email``) with a label each, in order."""
    found: dict[str, str] = {}
    for route in api.routes:
        for operation in route.operations:
            for pointer, label in _fields(api.root, operation):
                if len(found) >= CANDIDATES_LIMIT:
                    return list(found.items())
                found.setdefault(f"{route.template} {pointer}", label)
    return list(found.items())


def _fields(root: dict[str, Any], operation: Operation) -> Iterator[tuple[str, str]]:
    left = _NODES_LIMIT
    stack: list[tuple[str, int, object]] = [("", 0, schema) for schema in _schemas(root, operation)]
    while stack and left > 0:
        left -= 1
        pointer, depth, given = stack.pop()
        schema, wrong = resolve(root, given)
        node = mapping(schema)
        if wrong is not None or depth > _DEPTH_LIMIT:
            continue
        for alike in ("allOf", "oneOf", "anyOf"):
            stack += [(pointer, depth + 1, one) for one in sequence(node.get(alike))]
        if isinstance(node.get("items"), dict):
            stack.append((f"{pointer}/*", depth + 1, node["items"]))
        if isinstance(node.get("additionalProperties"), dict):
            stack.append((f"{pointer}/*", depth + 1, node["additionalProperties"]))
        # The last is taken first: the order of the document stands.
        members = list(mapping(node.get("properties")).items())
        stack += [(f"{pointer}/{_step(name)}", depth + 1, one) for name, one in reversed(members)]
        if members or "items" in node:
            continue
        label = _label(pointer, node)
        if label is not None and _POINTER.fullmatch(pointer):
            yield pointer, label


def _schemas(root: dict[str, Any], operation: Operation) -> Iterator[object]:
    for status, given in mapping(operation.node.get("responses")).items():
        if not str(status).startswith("2") and status != "default":
            continue
        response = mapping(resolve(root, given)[0])
        if "schema" in response:  # Swagger 2.0
            yield response["schema"]
        for media in mapping(response.get("content")).values():
            yield mapping(media).get("schema")


def _label(pointer: str, schema: dict[str, Any]) -> str | None:
    kind = schema.get("type")
    kinds = {str(one) for one in cast("list[object]", kind)} if isinstance(kind, list) else {str(kind or "")}
    if kinds & {"object", "array", "boolean"}:
        return None
    by_format = _FORMATS.get(str(schema.get("format") or ""))
    if by_format is not None:
        return by_format
    name = _CAMEL.sub("_", pointer.rpartition("/")[2]).replace("-", "_").lower()
    return next((label for pattern, label in _NAMES if pattern.fullmatch(name)), None)


def _step(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
