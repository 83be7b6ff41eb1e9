"""``weirgate approvals``: what waits for people."""

from typing import Annotated, Any

import typer

from weirgate_cli.gateway import Failed, Misused, find
from weirgate_cli.option import DataDir, Json, answering
from weirgate_cli.say import DONE, give, give_fields, give_json, give_table, one_line, tell, until

STATES = ("open", "granted", "refused", "expired", "withdrawn", "unreadable")
Request = Annotated[str, typer.Argument(help="Id of the request, as listed.")]
ReasonText = Annotated[str | None, typer.Option("--reason", "-r", help="Why; it stands in the log.")]


def list_approvals(
    state: Annotated[
        list[str] | None, typer.Option(help="Only requests in this state; may be repeated. Default: open.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Open and recent ones, whatever their state.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many, newest first.")] = 100,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """List operations that wait for a person."""
    with answering():
        for one in state or ():
            if one not in STATES:
                raise Misused(f"there is no state {one!r}", f"one of {', '.join(STATES)}")
        wanted: list[str] = list(STATES) if every else state or ["open"]
        found = find(data_dir).call("GET", "/v1/approvals", params={"state": wanted, "limit": limit})
        approvals: list[dict[str, Any]] = found["approvals"]
        if as_json:
            give_json(approvals)
            return
        if not approvals:
            tell("nothing is waiting" if wanted == ["open"] else "there is no such request")
            return
        rows = [
            (
                one["id"],
                one["state"],
                one["resource"],
                one["agent"],
                _seats(one),
                until(one["expires_at"]) if one["state"] == "open" else "",
                one_line(one["text"], 60),
            )
            for one in approvals
        ]
        give_table(("REQUEST", "STATE", "RESOURCE", "AGENT", "ASKS", "EXPIRES", "WHAT"), rows)


def show_approval(request: Request, as_json: Json = False, data_dir: DataDir = None) -> None:
    """Show one request: what would be done, who asks, who decides."""
    with answering():
        one = find(data_dir).call("GET", f"/v1/approvals/{_id(request)}")
        if as_json:
            give_json(one)
            return
        give_fields(
            {
                "request": one["id"],
                "state": one["state"],
                "resource": one["resource"],
                "agent": one["agent"],
                "for": one["user"],
                "run": one["run"],
                "why": one["reason"],
                "asks": _seats(one),
                "agreed": "\n".join(_endorsed(each) for each in one["endorsements"]),
                "decided by": ", ".join(one["decided_by"]),
                "reason": one["decided_reason"],
                "asked at": one["requested_at"],
                "expires": f"{one['expires_at']} ({until(one['expires_at'])})",
                "ended at": one["ended_at"],
                "usable until": one["usable_until"],
                "session": f"{one['ingress']}/{one['session']} operation {one['operation']}",
                "touches": "\n".join(_touched(each) for each in one["touched"]),
                "digest": one["digest"],
                "what": one["text"],
            }
        )


def grant(
    request: Request, reason: ReasonText = None, as_json: Json = False, data_dir: DataDir = None
) -> None:
    """Agree. The operation runs once enough people have."""
    _decide(request, "grant", reason, as_json, data_dir)


def refuse(
    request: Request, reason: ReasonText = None, as_json: Json = False, data_dir: DataDir = None
) -> None:
    """Refuse. One person is enough, and it is over."""
    _decide(request, "refuse", reason, as_json, data_dir)


def _decide(request: str, decision: str, reason: str | None, as_json: bool, data_dir: DataDir) -> None:
    with answering():
        done = find(data_dir).call("POST", f"/v1/approvals/{_id(request)}/{decision}", {"reason": reason})
        if as_json:
            give_json(done)
        approval = done["approval"]
        text = {
            "granted": f"granted; usable once, until {approval['usable_until']}",
            "endorsed": f"recorded; others must agree too: {_seats(approval)}",
            "refused": "refused; it is over",
        }.get(done["outcome"])
        if text is None:
            raise Failed(
                "the decision is in the log, but approval has not answered",
                f"see what became of it: weirgate approvals show {approval['id']}",
            )
        if not as_json:
            give(f"{approval['id']}: {text}")
        raise typer.Exit(DONE)


def _id(request: str) -> str:
    wanted = request.strip().upper()
    if len(wanted) != 26 or not wanted.isalnum():
        hint = "ids have 26 characters: weirgate approvals list"
        raise Failed(f"there is no approval request {request!r}", hint)
    return wanted


def _endorsed(one: dict[str, Any]) -> str:
    return f"{one['by']} for {', '.join(one['groups'])}" + (f": {one['reason']}" if one["reason"] else "")


def _touched(one: dict[str, Any]) -> str:
    return f"{one['verb']} {', '.join((*one['writes'], *one['reads']))}"


def _seats(one: dict[str, Any]) -> str:
    return ", ".join(f"{seat['group']} {seat['agreed']}/{seat['needed']}" for seat in one["seats"])


def register(app: typer.Typer) -> None:
    """Add the commands."""
    approvals = typer.Typer(
        help="Operations that wait for a person: list, show, grant, refuse.", no_args_is_help=True
    )
    approvals.command("list")(list_approvals)
    approvals.command("show")(show_approval)
    approvals.command("grant")(grant)
    approvals.command("refuse")(refuse)
    app.add_typer(approvals, name="approvals")
