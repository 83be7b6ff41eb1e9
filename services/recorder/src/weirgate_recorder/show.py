"""Pages for people: sessions, one session, the report of a proof. Pure."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from weirgate_recorder.chain import Report
from weirgate_recorder.layout import WIDTH, fit, grid, lines_of, size, span, visible

Row = dict[str, Any]
_TEXT_LINES: Final = 6
_OVER_HTTP: Final = frozenset(("http", "mcp"))


def session_table(rows: Sequence[Row], *, width: int = WIDTH) -> Iterator[str]:
    """Give the lines of a list of sessions."""
    headings = ("SESSION", "OPENED", "AGENT", "RESOURCE", "STATE", "OPS", "DENIED", "HELD")
    shown = [
        (
            row["session"],
            _when(row["opened_at"])[:16],
            row["agent"] or "",
            row["resource"] or "",
            row["refusal"] if row["state"] == "refused" else row["state"] or "",
            str(row["asked"]),
            str(row["denied"] or ""),
            str(row["held"] or ""),
        )
        for row in rows
    ]
    right = (False,) * 5 + (True,) * 3
    # An id that is cut cannot be pasted into the next command.
    yield from grid(headings, shown, right=right, limit=width, whole=2)


def session_page(
    session: Row,
    operations: Sequence[Row],
    approvals: Sequence[Row],
    recording: Row | None,
    *,
    width: int = WIDTH,
) -> Iterator[str]:
    """Give the lines of one session."""
    yield f"session   {session['session']}  {session['state'] or ''} on {session['ingress']}"
    person = f" for {visible(session['person'])}" if session["person"] else ""
    groups = f" ({', '.join(map(visible, session['groups']))})" if session["groups"] else ""
    claimed = " (claimed)" if session["state"] == "refused" else ""
    yield _cut(f"agent     {visible(session['agent'] or '?')}{claimed}{groups}{person}", width)
    for name in ("run", "tool"):
        if session[name]:
            yield _cut(f"{name:<9} {visible(session[name])}", width)
    yield _cut(
        f"resource  {visible(session['resource'] or '?')} over {session['protocol'] or '?'}, from "
        f"{visible(session['peer'] or '?')}, {session['tls'] or 'no TLS'}"
        + (f", says it is {visible(session['application'])}" if session["application"] else ""),
        width,
    )
    closed = (
        f", closed {_when(session['closed_at'])} ({visible(session['reason'] or '')})"
        if session["closed_at"]
        else ""
    )
    yield _cut(f"opened    {_when(session['opened_at'])}{closed}", width)
    if session["refusal"]:
        yield f"refusal   {session['refusal']}"
    if session["killed_by"]:
        yield _cut(f"killed by {visible(session['killed_by'])}", width)
    if recording is not None:
        lost = f", {recording['unreadable']} do not open" if recording["unreadable"] else ""
        yield (
            f"recording {recording['frames']} frames in {recording['messages']} messages, "
            f"{size(recording['size_bytes'])}{lost}"
        )
    for operation in operations:
        yield ""
        yield from _operation(operation, width)
    for approval in approvals:
        yield ""
        yield from _approval(approval, width)


def _operation(row: Row, width: int) -> Iterator[str]:
    verdict = row["verdict"] or "no verdict"
    outcome = "" if row["outcome"] is None else f" → {row['outcome']}"
    if row["sqlstate"]:
        outcome += f" {row['sqlstate']}"
    facts = [_when(row["at"])]
    if row["duration_us"]:
        facts.append(span(row["duration_us"]))
    if row["tags"]:
        facts.append("; ".join(map(visible, row["tags"])))
    if row.get("status") is not None:
        facts.append(f"{row['status']} {visible(row['response_type'] or '')}".rstrip())
    if row["rows"]:
        facts.append(f"{row['rows']} rows")
    if row["bytes_out"]:
        facts.append(size(row["bytes_out"]))
    yield _cut(f"#{row['operation']:<4} {verdict}{outcome}  {', '.join(facts)}", width)
    lines = lines_of(row["text"] or "")
    for line in lines[:_TEXT_LINES]:
        yield _cut(f"      {line}", width)
    if len(lines) > _TEXT_LINES:
        yield f"      … {len(lines) - _TEXT_LINES} more lines"
    yield from _facts(
        width,
        model=_model(row),
        calls=" ".join(row.get("tools_called") or ()),
        does=" ".join(row["verbs"] or ()),
        rules=" ".join(row["rules"] or ()),
        masks=_masks(row),
        refusal=row["refusal"],
        reason=row["reason"],
        approval=row["request"],
        judged=_revisions(row),
    )


def _facts(width: int, **facts: str | None) -> Iterator[str]:
    for name, value in facts.items():
        if value:
            yield _cut(f"      {name:<9} {visible(value)}", width)


def _model(row: Row) -> str:
    counted = [
        f"{row[name]} tokens {way}"
        for name, way in (("input_tokens", "in"), ("output_tokens", "out"))
        if row.get(name) is not None
    ]
    return ", ".join(([row["model"]] if row.get("model") else []) + counted)


def _masks(row: Row) -> str:
    clear = set(row["unmask"] or ())
    masked = [label for label in row["masked"] or () if label not in clear]
    parts: list[str] = []
    if masked:
        parts.append(" ".join(masked))
    if row["cells_masked"]:
        parts.append(f"{row['cells_masked']} {'values' if row['protocol'] in _OVER_HTTP else 'cells'}")
    if clear:
        parts.append(f"in clear: {' '.join(sorted(clear))}")
    return ", ".join(parts)


def _revisions(row: Row) -> str:
    if row["policy_revision"] is None:
        return ""
    catalog = "" if row["protocol"] in _OVER_HTTP else f"catalog {row['catalog_revision']}, "
    return (
        f"policy {row['policy_revision']}, masking {row['masking_revision'] or '-'}, "
        f"{catalog}log {row['sequence']}"
    )


def _approval(row: Row, width: int) -> Iterator[str]:
    yield _cut(f"approval {row['request']} of #{row['operation']}: {row['state'] or '?'}", width)
    asked = f"{', '.join(map(visible, row['groups'] or ()))}, {row['quorum'] or 1} of each"
    decided = ", ".join(map(visible, row["decided_by"] or ()))
    yield from _facts(
        width,
        asked=f"{asked}, {_when(row['requested_at'])}",
        because=row["reason"],
        agreed=", ".join(map(visible, row["endorsed_by"] or ())),
        decided=f"{decided} {_when(row['decided_at'])}".strip() if row["decided_at"] else "",
        saying=row["decision"],
    )


def report_page(report: Report, *, without: str | None) -> Iterator[str]:
    """Give the lines of the report of a proof."""
    if report.sound:
        yield f"sound: {report.messages} messages, up to {report.last}"
    else:
        yield f"NOT SOUND: first wrong at {report.first_wrong}, {report.faults} findings"
    yield f"chain        {report.chain.hex()}"
    yield f"checkpoints  {report.checkpoints} compared, the log is covered up to {report.covered}"
    if without is None:
        yield f"read model   {report.witnessed} messages compared, one by one"
    else:
        yield f"read model   not compared ({visible(without)})"
    for found in report.findings:
        where = f"{found.first}" if found.first == found.last else f"{found.first} to {found.last}"
        yield f"  {found.fault.value:<10} {where}: {visible(found.text)}"
    if report.faults > len(report.findings):
        yield f"  … and {report.faults - len(report.findings)} more"


def report_document(report: Report, *, without: str | None) -> Row:
    """Return the report of a proof as a JSON object."""
    return {
        "sound": report.sound,
        "messages": report.messages,
        "last": report.last,
        "chain": report.chain.hex(),
        "checkpoints": report.checkpoints,
        "covered": report.covered,
        "witnessed": report.witnessed,
        "read_model": without is None,
        "first_wrong": report.first_wrong,
        "faults": report.faults,
        "findings": [
            {"fault": each.fault.value, "first": each.first, "last": each.last, "text": each.text}
            for each in report.findings
        ],
    }


def _when(at: datetime | None) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S") if at is not None else "?"


def _cut(line: str, width: int) -> str:
    return fit(line, width).rstrip()
