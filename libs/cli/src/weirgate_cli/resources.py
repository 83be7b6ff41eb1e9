"""``weirgate resources``: documents of resources, made out of what is there already. Needs no running gateway."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from weirgate_cli.gateway import Failed, Misused
from weirgate_cli.option import answering
from weirgate_cli.say import REFUSED, give, one_line, tell

if TYPE_CHECKING:
    from weirgate_cli.openapi.api import Api, Server

_LEFT_OUT_SHOWN = 50


def import_openapi(
    file: Annotated[
        Path, typer.Argument(help="OpenAPI 3.0 or 3.1, or Swagger 2.0; YAML or JSON, a local file.")
    ],
    resource: Annotated[str, typer.Option("--resource", "-r", help="Name of the resource.")],
    upstream: Annotated[
        str | None,
        typer.Option("--upstream", help="Address of the API; without it the document's first server."),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            "--base", help="What stands before every path, below the upstream's own base; '/' for nothing."
        ),
    ] = None,
    into: Annotated[
        Path | None, typer.Option("--into", help="Put the routes into the resource's document in this file.")
    ] = None,
    prune: Annotated[
        bool, typer.Option("--prune", help="With --into: drop routes the document does not name.")
    ] = False,
) -> None:
    """Name the routes of an HTTP resource by the API's own document.

    Prints a resource document, ready for 'weirgate apply', or changes the list of routes in one that stands and nothing
    else in it. Fields of answers that look personal are proposed as labels, as comments. Paths that no route can stand
    for are told, each with what to do.
    """
    with answering():
        if prune and into is None:
            raise Misused("--prune is for --into", "name the file with --into")
        if into is not None and upstream is not None:
            raise Misused(
                "with --into the upstream is the one that stands in the file", "leave --upstream out"
            )
        if into is None:
            _print(file, resource, upstream, base)
        else:
            _merge(file, resource, into, base, prune=prune)


def _print(file: Path, resource: str, upstream: str | None, base: str | None) -> None:
    from weirgate_cli.openapi.fragment import write_document

    api, where = _read(file, upstream, base)
    text = write_document(api, source=file.name, name=resource, upstream=where)
    _checked(text, resource)
    give(text.rstrip("\n"))
    _propose(api, resource)
    _tell(api, file)


def _merge(file: Path, resource: str, into: Path, base: str | None, *, prune: bool) -> None:
    from weirgate_cli.openapi.fragment import NotMerged, find_resource, merge
    from weirgate_cli.source import BadSource

    into = into.resolve()
    raw = _bytes(into, 4 * 1024 * 1024)
    marked = raw.startswith(b"\xef\xbb\xbf")
    try:
        text = raw.decode("utf-8-sig")
        stands = find_resource(text, str(into), resource)
        if stands.get("protocol") == "postgres":
            raise Failed(f"resource {resource} is of protocol postgres", "routes are of http")
        api, _ = _read(file, str(stands.get("upstream") or ""), base)
        made = merge(text, api, file=str(into), name=resource, prune=prune)
    except UnicodeDecodeError as error:
        raise Failed(f"{into} is not UTF-8", "save it as UTF-8") from error
    except BadSource as error:
        raise Failed("; ".join(str(problem) for problem in error.problems)) from error
    except NotMerged as error:
        raise Failed(error.what, error.next) from error
    _checked(made.text, resource)
    _write(into, (b"\xef\xbb\xbf" if marked else b"") + made.text.encode())
    give(f"{into}: {len(api.routes)} routes of {file.name}, {made.added} of them new")
    for route in made.kept:
        tell(f"{into}: kept {route}, which {file.name} does not name (--prune drops it)")
    _propose(api, resource)
    _tell(api, file)


def _read(file: Path, upstream: str | None, base: str | None) -> "tuple[Api, str]":
    """Read the document, and say where its API is."""
    from weirgate_cli.openapi.api import NotAnApi, begin, read_api
    from weirgate_cli.openapi.tree import TEXT_LIMIT_BYTES, Unreadable, read_tree

    try:
        root = read_tree(_bytes(file, TEXT_LIMIT_BYTES).decode("utf-8-sig"))
        where, before = _place(begin(root).server, upstream, base)
        return read_api(root, before=before), where
    except UnicodeDecodeError as error:
        raise Failed(f"{file} is not UTF-8", "save it as UTF-8") from error
    except Unreadable as error:
        raise Failed(f"{file}:{error.line}: {error.what}") from error
    except NotAnApi as error:
        raise Failed(f"{file}: {error.what}", error.next) from error


def _place(server: "Server", upstream: str | None, base: str | None) -> tuple[str, str]:
    """Return the upstream, and what stands before every path below it."""
    if base is not None and not base.startswith("/"):
        raise Misused(f"--base {base!r} is no path", "write --base /v1, or --base / for nothing")
    if upstream is None:
        if not server.origin:
            raise Failed(
                "the document does not say where its API is", "name it: --upstream https://host:port/base"
            )
        return server.origin + server.path, (base or "").rstrip("/")
    try:
        own = urlsplit(upstream).path.rstrip("/")
    except ValueError as error:
        raise Misused("the upstream cannot be read", "write https://host:port/base") from error
    if base is not None:
        return upstream, base.rstrip("/")
    if not server.path:
        return upstream, ""
    if server.path == own or server.path.startswith(f"{own}/"):
        return upstream, server.path[len(own) :]
    raise Failed(
        f"the document's paths are below {server.path} and the upstream's below {own or '/'}, "
        "so it cannot be said how they stand to each other",
        f"say it: --base / where {own or '/'} is the document's {server.path}, else --base {server.path}",
    )


def _checked(text: str, resource: str) -> None:
    """See that ``weirgate apply`` takes it."""
    from weirgate_cli.source import BadSource, read_yaml
    from weirgate_contracts.document import BadDocument, read_document

    try:
        for one in read_yaml(text, "the document made of it"):
            body = dict(one.value)
            if body.pop("kind", None) == "resource" and body.get("name") == resource:
                read_document("resource", body)
    except BadSource as error:
        raise Failed("; ".join(str(problem) for problem in error.problems)) from error
    except BadDocument as error:
        said = [f"{one.what}" + (f" ({one.right})" if one.right else "") for one in error.complaints]
        raise Failed(f"no document that could be applied comes of it: {'; '.join(said)}") from error


def _propose(api: "Api", resource: str) -> None:
    from weirgate_cli.openapi.candidate import candidates
    from weirgate_cli.openapi.fragment import write_candidates

    if found := candidates(api):
        give(write_candidates(found, resource).rstrip("\n"))


def _tell(api: "Api", file: Path) -> None:
    for one in api.left_out[:_LEFT_OUT_SHOWN]:
        tell(one_line(f"{file.name}: {one.path}: left out: {one.why}; {one.next}", 400))
    if len(api.left_out) > _LEFT_OUT_SHOWN:
        tell(f"{file.name}: and {len(api.left_out) - _LEFT_OUT_SHOWN} more paths were left out")
    tell(f"{file.name}: {len(api.routes)} routes, {len(api.left_out)} paths left out")
    if not api.routes:
        raise typer.Exit(REFUSED)


def _bytes(file: Path, limit_bytes: int) -> bytes:
    try:
        with file.open("rb") as opened:
            raw = opened.read(limit_bytes + 1)
    except OSError as error:
        raise Failed(f"{file} cannot be read: {error.strerror}", "name a local file") from error
    if len(raw) > limit_bytes:
        raise Failed(
            f"{file} has more than {limit_bytes >> 20} MiB", "split it, or leave out what it does not need"
        )
    return raw


def _write(file: Path, raw: bytes) -> None:
    """Put a file in the place of another, whole or not at all."""
    try:
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}.", delete=False) as made:
            try:
                made.write(raw)
                made.flush()
                os.fsync(made.fileno())
                shutil.copymode(file, made.name)
                Path(made.name).replace(file)
            except OSError:
                Path(made.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise Failed(f"{file} cannot be written: {error.strerror}") from error


def register(app: typer.Typer) -> None:
    """Add the commands."""
    resources = typer.Typer(help="Documents of resources: import an API's routes.", no_args_is_help=True)

    @resources.callback()
    def group() -> None:  # pyright: ignore[reportUnusedFunction]
        """Documents of resources: import an API's routes."""

    resources.command("import-openapi", no_args_is_help=True)(import_openapi)
    app.add_typer(resources, name="resources")
