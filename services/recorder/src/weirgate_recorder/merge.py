"""The statements that write the read model, made from one list of columns a table. Pure."""

from typing import Final

OPERATION_COLUMNS: Final = {
    "ingress": "text", "resource": "text", "agent": "text", "protocol": "text", "intercepted": "text",
    "at": "timestamptz", "digest": "text", "text": "text", "verbs": "text[]", "verdict": "text",
    "refusal": "text", "reason": "text", "rules": "text[]", "unmask": "text[]", "masked": "text[]",
    "request": "text", "policy_revision": "bigint", "masking_revision": "bigint", "catalog_revision": "text",
    "outcome": "text", "sqlstate": "text", "tags": "text[]", "rows": "bigint", "bytes_in": "bigint",
    "bytes_out": "bigint", "cells_masked": "bigint", "duration_us": "bigint", "sha256": "text",
    "ended_at": "timestamptz", "status": "integer", "response_type": "text", "model": "text", "input_tokens": "bigint",
    "output_tokens": "bigint", "tools_called": "text[]",
}  # fmt: skip
SESSION_COLUMNS: Final = {
    "ingress": "text", "state": "text", "protocol": "text", "resource": "text", "agent": "text",
    "person": "text", "groups": "text[]", "run": "text", "tool": "text", "issuer": "text",
    "token_id": "text", "peer": "text", "tls": "text", "application": "text", "opened_at": "timestamptz",
    "closed_at": "timestamptz", "reason": "text", "refusal": "text", "killed_by": "text",
    "operations": "bigint", "bytes_in": "bigint", "bytes_out": "bigint",
}  # fmt: skip
APPROVAL_COLUMNS: Final = {
    "session": "text", "ingress": "text", "operation": "integer", "digest": "text", "state": "text",
    "resource": "text", "agent": "text", "person": "text", "groups": "text[]", "quorum": "integer",
    "reason": "text", "text": "text", "requested_at": "timestamptz", "expires_at": "timestamptz",
    "decided_at": "timestamptz", "decided_by": "text[]", "decision": "text",
}  # fmt: skip
EVENT_COLUMNS: Final = (
    "sequence", "subject", "message_id", "kind", "session", "operation", "at", "body", "link",
)  # fmt: skip


OPERATION_KEYS: Final = {"session": "text", "operation": "integer", "sequence": "bigint"}
PATCHES: Final = "operation_patches"
"""Where patches of operations wait: they are many, so they come by COPY, which is cheaper than arrays."""


def _type_sent(kind: str) -> str:
    """Arrays go as text in PostgreSQL's own notation: arrays of arrays cannot be unnested."""
    return "text" if kind == "text[]" else kind


def _merge_sql(table: str, source: str, keys: dict[str, str], columns: dict[str, str], keep: str = "") -> str:
    """Return the statement that merges rows: what is new counts where there is something new.

    Args:
        table: Where the rows are.
        source: Where the patches are.
        keys: Columns that are only ever set once; all of them but ``sequence`` are the primary key.
        columns: Columns that are merged.
        keep: The one column whose first value counts.
    """
    every = keys | columns
    names = ", ".join(every)
    picked = ", ".join(f"{name}::text[]" if kind == "text[]" else name for name, kind in every.items())
    unique = ", ".join(name for name in keys if name != "sequence")
    merged = ", ".join(
        f"{name} = coalesce(stored.{name}, excluded.{name})"
        if name == keep
        else f"{name} = coalesce(excluded.{name}, stored.{name})"
        for name in columns
    )
    return (
        f"insert into {table} as stored ({names}) select {picked} from {source} "  # noqa: S608  (our own names)
        f"on conflict ({unique}) do update set {merged}"
    )


def _unnest_sql(columns: dict[str, str]) -> str:
    sent = ", ".join(f"${n}::{_type_sent(kind)}[]" for n, kind in enumerate(columns.values(), 1))
    return f"unnest({sent}) as t({', '.join(columns)})"


MERGE_OPERATIONS: Final = _merge_sql("operations", PATCHES, OPERATION_KEYS, OPERATION_COLUMNS, keep="at")
MAKE_PATCHES: Final = (
    f"create temporary table {PATCHES} ("
    + ", ".join(f"{name} {_type_sent(kind)}" for name, kind in (OPERATION_KEYS | OPERATION_COLUMNS).items())
    + ") on commit delete rows"
)
SESSION_KEYS: Final = {"session": "text"}
MERGE_SESSIONS: Final = _merge_sql(
    "sessions",
    _unnest_sql(SESSION_KEYS | SESSION_COLUMNS),
    SESSION_KEYS,
    SESSION_COLUMNS,
    keep="opened_at",
)
APPROVAL_KEYS: Final = {"request": "text"}
MERGE_APPROVALS: Final = _merge_sql(
    "approvals", _unnest_sql(APPROVAL_KEYS | APPROVAL_COLUMNS), APPROVAL_KEYS, APPROVAL_COLUMNS
)
READ_POSITION: Final = "select sequence, link, checkpointed, fresh from position where stream = $1"
LOCK_POSITION: Final = READ_POSITION + " for update"
