"""The web server: the page, signalling, health and metrics.

In: HTTP requests. Out: what the callables of `Service` return. It guards (token, origin, host, size) and turns every
problem into JSON with a reason; it knows neither conversations nor WebRTC.
"""

from __future__ import annotations

import hmac
import json
import logging
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from aiohttp import web

from avatar.frames import MienError

logger = logging.getLogger(__name__)

WEB = Path(__file__).resolve().parent.parent / "web"
BODY_LIMIT = 256 * 1024
FILE_NAME_LIMIT = 255
"""Bytes of a path below /static/; a file system takes no longer name."""
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
    "Permissions-Policy": "microphone=(self), camera=()",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self' blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    ),
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Refusal(MienError):
    """A request that is not served: the HTTP status, a code for the page, words for the person."""

    def __init__(self, status: int, code: str, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after_s = retry_after_s


@dataclass(frozen=True)
class Service:
    """What there is to serve. ``offer`` takes the request's JSON object and may raise `Refusal`."""

    config: Callable[[bool], Mapping[str, Any]]
    """Told whether the caller may know everything (TURN's credentials)."""
    offer: Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]] | None
    """None where people are met elsewhere."""
    health: Callable[[], Mapping[str, Any]]
    metrics: Callable[[], bytes]
    poster: Callable[[], bytes]
    """A PNG of the face at rest."""
    token: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None
    """A token for a LiveKit room; may raise `Refusal`. None where there are none."""
    connects_to: Sequence[str] = ()
    """Origins with which the page talks besides ours."""


@dataclass(frozen=True)
class Guard:
    """Who may call. On loopback nobody needs a token, but no foreign page may reach in (DNS rebinding, CSRF)."""

    loopback: bool
    token: str | None
    allowed_origins: Sequence[str]

    def check(self, request: web.Request) -> None:
        """Raises:
        Refusal: 401 without the token, 403 from a page that is not ours.
        """
        if self.loopback and _parsed(f"//{request.host}").hostname not in ("127.0.0.1", "localhost", "::1"):
            raise Refusal(403, "forbidden_origin", f"this server answers to {' or '.join(_LOOPBACK)} only")
        origin = request.headers.get("Origin")
        if origin is not None and _parsed(origin).netloc != request.host and origin not in self.allowed_origins:
            raise Refusal(
                403, "forbidden_origin", f"pages of {origin} may not call this server: add it to MIEN_ALLOWED_ORIGINS"
            )
        if self.token is not None:
            given = request.headers.get("Authorization", "")
            # aiohttp hands on bytes that are no UTF-8 as surrogates.
            if not hmac.compare_digest(given.encode(errors="surrogateescape"), f"Bearer {self.token}".encode()):
                raise Refusal(401, "unauthorized", "this server asks for its token (MIEN_TOKEN)")


def make_app(service: Service, guard: Guard, routes: Iterable[web.RouteDef] = ()) -> web.Application:
    """The application; serve it with `serve`, or with aiohttp's own runner in tests.

    Args:
        routes: more to serve, guarded like the rest. Their handlers may raise `Refusal`.
    """

    connects_to = " ".join(["connect-src 'self'", *service.connects_to])
    security = HEADERS["Content-Security-Policy"].replace("connect-src 'self'", connects_to)
    headers = HEADERS | {"Content-Security-Policy": security}

    async def page(request: web.Request) -> web.StreamResponse:
        return web.FileResponse(WEB / "index.html")

    async def config(request: web.Request) -> web.StreamResponse:
        try:
            guard.check(request)
        except Refusal:
            return web.json_response(dict(service.config(False)))
        return web.json_response(dict(service.config(True)))

    async def offer(request: web.Request) -> web.StreamResponse:
        if service.offer is None:
            raise web.HTTPNotFound
        return web.json_response(dict(await service.offer(await _json_object(request))))

    async def token(request: web.Request) -> web.StreamResponse:
        if service.token is None:
            raise web.HTTPNotFound
        body = await _json_object(request) if await request.read() else {}
        return web.json_response(dict(service.token(body)), status=201, headers={"Cache-Control": "no-store"})

    async def poster(request: web.Request) -> web.StreamResponse:
        return web.Response(body=service.poster(), content_type="image/png")

    app = guarded_app(guard, headers, open_to_all=("/", "/health", "/api/config", "/api/poster.png"))
    app.router.add_get("/", page)
    app.router.add_get("/api/config", config)
    app.router.add_post("/api/offer", offer)
    app.router.add_post("/api/token", token)
    app.router.add_get("/api/poster.png", poster)
    app.router.add_routes(watching_routes(service.health, service.metrics))
    app.router.add_routes(routes)
    return app


def guarded_app(guard: Guard, headers: Mapping[str, str], *, open_to_all: Sequence[str]) -> web.Application:
    """An application with the files of `WEB` and no other routes yet. Every problem in a handler becomes JSON.

    Args:
        headers: of every response, unless it sets them itself.
        open_to_all: paths that need no token, beside the files.
    """

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            if request.method == "OPTIONS" and _foreign(request, guard) is not None:
                return web.Response(status=204)
            if request.path.startswith("/static/"):
                if len(request.rel_url.raw_path) > FILE_NAME_LIMIT:
                    raise web.HTTPNotFound
            elif request.path not in open_to_all:
                guard.check(request)
            return await handler(request)
        except Refusal as refusal:
            return _refused(refusal)
        except web.HTTPRequestEntityTooLarge:
            return _refused(Refusal(413, "too_large", f"a request holds at most {BODY_LIMIT} bytes"))
        except web.HTTPNotFound:
            return _refused(Refusal(404, "not_found", f"there is no {request.path[:FILE_NAME_LIMIT]} here"))
        except web.HTTPException as error:
            return _refused(Refusal(error.status, "bad_request", f"{request.method} {request.path}: {error.reason}"))

    async def dress(request: web.Request, response: web.StreamResponse) -> None:
        """Just before the headers are sent, so that a response which goes on for hours has them too."""
        for name, value in headers.items():
            response.headers.setdefault(name, value)
        if (foreign := _foreign(request, guard)) is not None:
            response.headers["Access-Control-Allow-Origin"] = foreign
            response.headers["Access-Control-Allow-Headers"] = "authorization, content-type"
            response.headers["Access-Control-Allow-Methods"] = "GET, POST, DELETE"
            response.headers["Vary"] = "Origin"

    app = web.Application(middlewares=[guarded], client_max_size=BODY_LIMIT)
    app.on_response_prepare.append(dress)
    app.router.add_static("/static/", WEB)
    return app


def watching_routes(health: Callable[[], Mapping[str, Any]], metrics: Callable[[], bytes]) -> list[web.RouteDef]:
    """`/health` and `/metrics`, as every server has them."""

    async def tell_health(request: web.Request) -> web.StreamResponse:
        return web.json_response(dict(health()))

    async def tell_metrics(request: web.Request) -> web.StreamResponse:
        return web.Response(body=metrics(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    return [web.get("/health", tell_health), web.get("/metrics", tell_metrics)]


def _parsed(address: str) -> SplitResult:
    """Its parts; those of an empty one where it is no address, such as `http://[`."""
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")


def _foreign(request: web.Request, guard: Guard) -> str | None:
    """The page that calls, if it is not ours and may."""
    origin = request.headers.get("Origin")
    return origin if origin in guard.allowed_origins else None


async def serve(
    app: web.Application, host: str, port: int, *, tls: tuple[Path, Path] | None = None
) -> tuple[web.AppRunner, str]:
    """Start serving; returns the runner (clean it up to stop) and the page's address.

    Raises:
        MienError: the address is in use, or the certificate cannot be read.
    """
    context = _tls_context(*tls) if tls is not None else None
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, ssl_context=context).start()
    except OSError as error:
        await runner.cleanup()
        raise MienError(f"cannot listen on {host}:{port}: {error.strerror or error}; choose another --port") from error
    real_port = runner.addresses[0][1]
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104 - compared, not bound
    shown = f"[{shown}]" if ":" in shown else shown
    return runner, f"{'https' if context else 'http'}://{shown}:{real_port}/"


def _tls_context(cert: Path, key: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise MienError(f"the certificate {cert} with the key {key} cannot be used: {error}") from error
    return context


async def _json_object(request: web.Request) -> Mapping[str, Any]:
    try:
        # The bytes, not the text: JSON is UTF-8 whatever character set the request claims.
        body = json.loads(await request.read())
    except (ValueError, RecursionError) as error:
        raise Refusal(400, "bad_request", f"the body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise Refusal(400, "bad_request", "the body is not a JSON object")
    return body


def _refused(refusal: Refusal) -> web.Response:
    error: dict[str, Any] = {"code": refusal.code, "message": str(refusal)}
    headers = {}
    if refusal.retry_after_s is not None:
        error["retry_after_s"] = refusal.retry_after_s
        headers["Retry-After"] = str(refusal.retry_after_s)
    return web.json_response({"error": error}, status=refusal.status, headers=headers)
