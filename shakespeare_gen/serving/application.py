"""The endpoints as a Starlette application.

app = application(Service(["runs/quick"]), Guard())
"""

import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from absl import logging
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shakespeare_gen.errors import UserError
from shakespeare_gen.serving import cards, guards, openapi, pages, parameters, scoring
from shakespeare_gen.serving.catalog import Served
from shakespeare_gen.serving.completions import Completion, Writer
from shakespeare_gen.serving.connections import EventStream, while_connected
from shakespeare_gen.serving.endpoints import ENDPOINTS, Endpoint
from shakespeare_gen.serving.failures import RequestError, internal, invalid
from shakespeare_gen.serving.guards import Guard
from shakespeare_gen.serving.metrics import CONTENT_TYPE
from shakespeare_gen.serving.service import Service
from shakespeare_gen.system import storage

# A page from a run folder runs its own script, but in no origin: it cannot use the API.
_REPORT_POLICY = (
    "sandbox allow-scripts allow-popups; default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data:"
)
_DONE = b"data: [DONE]\n\n"

Answer = Callable[[Request, Endpoint], Awaitable[Response]]


def application(
    service: Service, guard: Guard, origins: tuple[str, ...] = (), log_prompts: bool = False
) -> Starlette:
    """The application; it answers when `Service.state` is ready.

    Args:
      origins: other origins whose pages may read the responses.
      log_prompts: write the prompts of completions to the log.
    """
    answers = _Answers(service, openapi.document(guard.has_key), log_prompts)
    routes = [_route(service, guard, answers.of(endpoint), endpoint) for endpoint in ENDPOINTS]
    routes += [Route(path, _static(file)) for path, file in pages.files().items()]
    middleware = [Middleware(guards.SecurityHeaders), Middleware(guards.SiteGuard, guard=guard)]
    if origins:
        cors = Middleware(
            CORSMiddleware,
            allow_origins=list(origins),
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
        )
        middleware.insert(0, cors)
    return Starlette(
        routes=routes,
        middleware=middleware,
        exception_handlers={HTTPException: _http_error},
    )


def _route(service: Service, guard: Guard, answer: Answer, endpoint: Endpoint) -> Route:
    """Checks the key, answers, counts, and turns errors into responses."""

    async def respond(request: Request) -> Response:
        began = time.monotonic()
        try:
            if not endpoint.is_open:
                guard.check_key(request.headers)
            response = await answer(request, endpoint)
        except RequestError as error:
            response = guards.error_response(error)
        except UserError as error:  # such as a run that was damaged since the start
            logging.error("%s failed: %s", endpoint.path, error)
            response = guards.error_response(internal())
        except Exception:
            logging.exception("%s failed", endpoint.path)
            response = guards.error_response(internal())

        def count() -> None:
            seconds = time.monotonic() - began
            service.metrics.count_response(endpoint.name, response.status_code, seconds)

        if isinstance(response, EventStream):
            response.when_ended(count)
        else:
            count()
        return response

    path = endpoint.path.replace("{model}", "{model:path}")
    return Route(path, respond, methods=[endpoint.method], name=endpoint.name)


def _static(file: pages.File) -> Callable[[Request], Awaitable[Response]]:
    async def respond(request: Request) -> Response:
        is_compressed = _accepts_gzip(request.headers.get("accept-encoding", ""))
        form = file.compressed if is_compressed else file.plain
        headers = {"Cache-Control": "no-cache", "ETag": form.tag, "Vary": "Accept-Encoding"}
        if form.tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        if is_compressed:
            headers["Content-Encoding"] = "gzip"
        return Response(form.content, media_type=file.media_type, headers=headers)

    return respond


def _accepts_gzip(header: str) -> bool:
    """Whether Accept-Encoding names gzip, and not with the weight 0."""
    for coding in header.lower().split(","):
        name, _, weight = coding.replace(" ", "").partition(";q=")
        if name == "gzip":
            return not weight or weight.strip("0.") != ""
    return False


async def _http_error(request: Request, error: Exception) -> Response:
    """What Starlette rejects: an unknown path or method."""
    assert isinstance(error, HTTPException)
    message = f"{request.method} {request.url.path[:200]}: {error.detail.lower()}"
    response = guards.error_response(RequestError(error.status_code, message))
    response.headers.update(error.headers or {})
    return response


class _Answers:
    """What answers each endpoint, by its name."""

    def __init__(self, service: Service, document: dict[str, Any], log_prompts: bool) -> None:
        self._service, self._document, self._log_prompts = service, document, log_prompts

    def of(self, endpoint: Endpoint) -> Answer:
        """The function for an endpoint."""
        return self.read if endpoint.name in scoring.READING else getattr(self, endpoint.name)

    async def health(self, request: Request, endpoint: Endpoint) -> Response:
        """Whether requests are answered."""
        del request, endpoint
        self._service.check_is_ready()
        return JSONResponse({"status": "ready"})

    async def metrics(self, request: Request, endpoint: Endpoint) -> Response:
        """All counters."""
        del request, endpoint
        return Response(self._service.metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    async def document(self, request: Request, endpoint: Endpoint) -> Response:
        """The OpenAPI document."""
        del request, endpoint
        return JSONResponse(self._document)

    async def list_models(self, request: Request, endpoint: Endpoint) -> Response:
        """The cards of all models."""
        del request, endpoint
        found = [await self._card(name) for name in self._service.catalog.runs]
        return JSONResponse({"object": "list", "data": found})

    async def get_model(self, request: Request, endpoint: Endpoint) -> Response:
        """The card of one model."""
        del endpoint
        return JSONResponse(await self._card(self._known(request)))

    async def report(self, request: Request, endpoint: Endpoint) -> Response:
        """The page that `evaluate` wrote about a model."""
        del endpoint
        name = self._known(request)
        run = self._service.catalog.runs[name]
        if (path := cards.report_path(run)) is None:
            raise RequestError(404, f"{name!a}: expected a model with a report, found none")
        read = storage.read_bytes
        content = await self._service.run(read, path, cards.MAX_REPORT_BYTES)
        headers = {"Content-Security-Policy": _REPORT_POLICY}
        return Response(content, media_type="text/html", headers=headers)

    async def _card(self, name: str) -> dict[str, Any]:
        return await self._service.run(cards.card, name, self._service.catalog.runs[name])

    def _known(self, request: Request) -> str:
        name = request.path_params["model"]
        self._service.catalog.runs_of(name)
        if name not in self._service.catalog.runs:
            raise RequestError(404, f"model: expected a single model, received {name!a}", "model")
        return name

    async def read(self, request: Request, endpoint: Endpoint) -> Response:
        """An endpoint that reads a text without writing one."""
        values, served = await self._prepared(request, endpoint)
        with served.admission.entered():
            work = scoring.READING[endpoint.name](self._service, served, values)
            return JSONResponse(await while_connected(request, work))

    async def complete(self, request: Request, endpoint: Endpoint) -> Response:
        """Completions, whole or as events."""
        values, served = await self._prepared(request, endpoint)
        completion = Completion.of(values, served)
        if self._log_prompts:
            texts = [prompt.text for prompt in completion.prompts]
            logging.info("%s: %s", served.name, json.dumps(texts))
        writer = Writer(self._service, served, completion)
        with contextlib.ExitStack() as stack:
            stack.enter_context(served.admission.entered(completion.num_rows))
            if not values["stream"]:
                return JSONResponse(await while_connected(request, writer.whole()))
            events = writer.events()
            # An error before the first event is a response with its status.
            first = await while_connected(request, anext(events))
            leave = stack.pop_all().close
            stream = EventStream(_lines(first, events, leave))
            stream.when_ended(leave)
            return stream

    async def _prepared(
        self, request: Request, endpoint: Endpoint
    ) -> tuple[dict[str, Any], Served]:
        """The checked fields of the body, and the model."""
        body = await guards.read_body(request)
        fields = endpoint.fields or ()
        try:
            found = storage.parse_json(body)
        except ValueError as error:
            named = [f.name for f in fields if repr(f.name) in str(error)]
            message = f"expected a JSON object, received {error}"
            raise invalid(message, named[0] if named else None) from None
        values = parameters.parse(fields, found)
        self._service.check_is_ready()
        return values, await self._service.catalog.get(values["model"])


async def _lines(
    first: dict[str, Any], rest: AsyncIterator[dict[str, Any]], leave: Callable[[], object]
) -> AsyncIterator[bytes]:
    """Events as they are sent; an error is the last one.

    `leave` is called before the end is sent, after which a client may send its next request.
    """
    try:
        yield _line(first)
        async for event in rest:
            yield _line(event)
    except RequestError as error:
        yield _line(error.to_json())
    except Exception:
        logging.exception("a stream failed")
        yield _line(internal().to_json())
    finally:
        await rest.aclose()  # type: ignore[attr-defined]
    leave()
    yield _DONE


def _line(event: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(event)}\n\n".encode()
