"""The application: routers together, and one form for every refusal."""

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from weirgate_chassis import log
from weirgate_console.api import approvals, config, sessions, tokens
from weirgate_console.api.door import Parts
from weirgate_console.problem import Answer


class Health(BaseModel):
    """The console answers."""

    status: str = "ok"


def make_app(parts: Parts) -> FastAPI:
    """Build the application.

    The interactive documentation of fastapi is off: it runs scripts of another site in the browser of an
    administrator. The OpenAPI document itself is at ``/v1/openapi.json``.
    """
    app = FastAPI(
        title="Weirgate console",
        version="1",
        summary="Approvals, configuration, tokens and sessions of a Weirgate gateway.",
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.state.parts = parts
    for router in (approvals.router, config.router, tokens.router, sessions.router):
        app.include_router(router)

    @app.get("/v1/healthz", tags=["health"], summary="Whether the console answers")
    async def healthz() -> Health:  # pyright: ignore[reportUnusedFunction]
        """Say that the console answers. Nothing else is said without a token."""
        return Health()

    @app.middleware("http")
    async def headers(  # pyright: ignore[reportUnusedFunction]
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        response = await call_next(request)
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    @app.exception_handler(Answer)
    async def answer(_: Request, error: Answer) -> JSONResponse:  # pyright: ignore[reportUnusedFunction]
        challenge = {"WWW-Authenticate": "Bearer"} if error.status == 401 else None
        return JSONResponse(error.body(), status_code=error.status, headers=challenge)

    @app.exception_handler(RequestValidationError)
    async def malformed(  # pyright: ignore[reportUnusedFunction]
        _: Request, error: RequestValidationError
    ) -> JSONResponse:
        # What was sent is not repeated: it could hold a secret in the wrong place.
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "body")
        said = str(first["msg"]).removeprefix("Value error, ")
        message = f"{where}: {said}" if where else said
        return JSONResponse(Answer(422, "malformed", message).body(), status_code=422)

    @app.exception_handler(HTTPException)
    async def unknown(_: Request, error: HTTPException) -> JSONResponse:  # pyright: ignore[reportUnusedFunction]
        body = Answer(
            error.status_code, "unknown", str(error.detail), "GET /v1/openapi.json lists all"
        ).body()
        return JSONResponse(body, status_code=error.status_code, headers=error.headers)

    @app.exception_handler(Exception)
    async def failed(_: Request, error: Exception) -> JSONResponse:  # pyright: ignore[reportUnusedFunction]
        log.error("a call failed", reason=type(error).__name__)
        return JSONResponse(Answer(500, "failed", "The console failed at this call.").body(), status_code=500)

    return app
