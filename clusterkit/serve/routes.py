"""The endpoints."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path as FilePath
from typing import Annotated, Any, TypeVar
from urllib.parse import unquote_to_bytes

import numpy as np
from fastapi import Depends, FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse

from clusterkit import __version__
from clusterkit.images.thumbnails import encode_thumbnails
from clusterkit.serve import answers
from clusterkit.serve.limits import RefusedError
from clusterkit.serve.metrics import CONTENT_TYPE
from clusterkit.serve.page import MAX_ON_PAGE
from clusterkit.serve.protection import OPEN_PATHS
from clusterkit.serve.served import Served
from clusterkit.serve.service import MAX_EXPLAINED, Service
from clusterkit.serve.uploads import FIELD, Upload, pictures_of
from clusterkit.similarity.catalogue import MANY, Catalogue
from clusterkit.utils.text import json_text, plural

T = TypeVar("T")
# Of lightly-studio-serve.
_PROTOCOL_VERSION = "1.0"
_MAX_NEIGHBORS = 1000
# Side of an image that is opened in the page.
_OPEN_SIDE = 1024
_HEAD = (
    '<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>clusterkit</title>'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
)
_WAIT = f'{_HEAD}<meta http-equiv="refresh" content="1"><p>The page is being made …</p></html>'
_TOO_MANY = (
    f"{_HEAD}<p>The store holds {{n_images:,}} images, and a page shows at most {{most:,}}. "
    "<code>clusterkit report</code> writes one of some of them, such as one cluster. "
    "All of them are searched by the calls of <a href='/openapi.json'>the API</a>.</p></html>"
)
_PIECE_BYTES = 2**18
# Number of pictures whose answer is written in a few ms.
_FEW = 2
_LOG = logging.getLogger("clusterkit.serve")
_ID = "^[0-9a-f]{16}$"

NNeighbors = Annotated[
    int, Query(ge=1, le=_MAX_NEIGHBORS, description="How many neighbours.", examples=[3])
]

IsExact = Annotated[
    bool,
    Query(
        description=f"Whether to compare all images. From {MANY:,} images on, an index finds most "
        "of the nearest, and is faster."
    ),
]

ImageId = Annotated[str, Path(pattern=_ID, description="Of an image of the store.")]


def make_routes(service: Service, *, has_token: bool, look_seconds: float) -> FastAPI:
    """Return the endpoints.

    Parameters
    ----------
    service : Service
        Does the work.
    has_token : bool
        Whether clients must send a token, for the document.
    look_seconds : float
        How often to look for changed files.
    """

    @asynccontextmanager
    async def live(_: FastAPI) -> AsyncIterator[None]:
        tasks = [
            asyncio.create_task(task)
            for task in (
                service.follow_changes(look_seconds),
                service.index_images(look_seconds),
                service.watch_loop(),
            )
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.to_thread(service.close)

    app = FastAPI(
        title="clusterkit",
        version=__version__,
        summary="Classes, neighbours and groups of pictures.",
        docs_url=None,  # these pages would load scripts from elsewhere
        redoc_url=None,
        lifespan=live,
        redirect_slashes=False,
        dependencies=[Depends(_check_names)],
    )
    for error, answer in (
        (RefusedError, _refuse),
        (HTTPException, _explain_status),
        (RequestValidationError, _explain_parameter),
        (ClientDisconnect, _drop),
        (Exception, _apologise),
    ):
        app.add_exception_handler(error, answer)
    served = service.served
    _add_health(app, service)
    if served.classifier is not None:
        _add_predict(app, service)
    if served.catalogue is not None:
        _add_similar(app, service)
        _add_images(app, service)
        _add_page(app, service)
        if served.extractor is not None:
            _add_explain(app, service)
            _add_embed(app, service)
    if served.groups is not None:
        _add_cluster(app, service)
    example = None if served.catalogue is None else served.catalogue.id_of(0)
    _document(app, has_token, example)
    return app


def _add_health(app: FastAPI, service: Service) -> None:
    """Add the endpoints about the server."""

    @app.get("/v2/health/live", summary="Whether the server lives.", response_model=answers.Health)
    async def live() -> Response:
        return _json({"live": True})

    @app.get(
        "/v2/health/ready",
        summary="Whether it can answer.",
        response_model=answers.Health,
        responses={503: {"model": answers.Health, "description": "The network has stopped."}},
    )
    async def ready() -> Response:
        is_ready = service.batcher.is_alive
        return _json({"ready": is_ready}, status=200 if is_ready else 503)

    @app.get(
        "/metrics",
        summary="Counts in the format of Prometheus.",
        response_class=Response,
        responses={
            200: {"content": {CONTENT_TYPE.partition(";")[0]: {"schema": {"type": "string"}}}}
        },
    )
    async def metrics() -> Response:
        return Response(service.metrics.to_text(), media_type=CONTENT_TYPE)

    @app.get("/v1/describe", summary="What is served.", response_model=answers.Description)
    async def describe() -> Response:
        return _json(_describe(service))


def _describe(service: Service) -> dict[str, Any]:
    """Describe the served state."""
    served, limits = service.served, service.limits
    catalogue, groups, classifier = served.catalogue, served.groups, served.classifier
    return {
        "protocol_version": _PROTOCOL_VERSION,
        "space_key": None if catalogue is None else _space_key(served),
        "dimension": None if catalogue is None else catalogue.shape[1],
        "ready": service.batcher.is_alive,
        "capabilities": [] if served.extractor is None else ["image_bytes"],
        "limits": {
            "max_batch_size": limits.pictures,
            "max_request_bytes": limits.body_bytes,
        },
        "clusterkit": __version__,
        "images": 0 if catalogue is None else len(catalogue),
        "neighbors": None if catalogue is None else _how_found(catalogue),
        "task": None if classifier is None else classifier.kind,
        "classes": None if classifier is None else classifier.classes,
        "groups": None
        if groups is None
        else [
            {
                "cluster": number,
                "cluster_name": groups.names.get(number),
                "images": groups.sizes[number],
            }
            for number in groups.numbers.tolist()
        ],
    }


def _how_found(catalogue: Catalogue) -> str:
    """Return how neighbours are found."""
    return "exact" if catalogue.index is None else "approximate"


def _space_key(served: Served) -> str:
    """Return the name of the space, which depends on everything that affects its vectors."""
    assert served.catalogue is not None
    return f"{served.catalogue.space.get('extractor', 'unknown')}-{served.catalogue.fingerprint}"


def _add_predict(app: FastAPI, service: Service) -> None:
    """Add the classes of pictures."""

    @app.post(
        "/v1/predict", **_of_pictures("The classes of pictures.", answers.Predictions, service)
    )
    async def predict(request: Request) -> Response:
        async with pictures_of(request, service.limits, service.held) as pictures:
            classifier = service.served.classifier
            assert classifier is not None
            values = await service.compute(pictures, classifier.network)

            def answer(index: int) -> dict[str, Any]:
                value = values[index]
                assert not isinstance(value, str)
                document = classifier.to_prediction("", value).to_dict()
                del document["path"]
                return document

            return await _respond(service, pictures, values, answer)


def _add_similar(app: FastAPI, service: Service) -> None:
    """Add the neighbours of pictures."""

    @app.post(
        "/v1/similar",
        **_of_pictures("The most similar images of the store.", answers.Similar, service, "?n=3"),
    )
    async def similar(request: Request, n: NNeighbors = 10, exact: IsExact = False) -> Response:
        async with pictures_of(request, service.limits, service.held) as pictures:
            served = service.served
            vectors, known = await service.look_up(pictures, served)
            near = await _nearest(service, served, vectors, n, exact)

            def answer(index: int) -> dict[str, Any]:
                own = known[index]
                return {
                    "id": None if own is None else _catalogue(served).id_of(own),
                    "neighbors": near[index],
                }

            return await _respond(service, pictures, vectors, answer)


async def _nearest(
    service: Service, served: Served, vectors: Sequence[Any], n: int, exact: bool
) -> dict[int, list[dict[str, Any]]]:
    """Return the neighbours of the pictures with a vector, by their index."""
    catalogue = _catalogue(served)
    places = [index for index, vector in enumerate(vectors) if not isinstance(vector, str)]

    def search() -> dict[int, list[dict[str, Any]]]:
        if not places:
            return {}
        found = catalogue.nearest(np.stack([vectors[place] for place in places]), n, exact=exact)
        return {
            place: [
                {
                    "id": catalogue.id_of(row),
                    "path": catalogue.paths[row],
                    "similarity": 1.0 - distance,
                }
                for distance, row in zip(near.tolist(), rows.tolist(), strict=True)
            ]
            for place, near, rows in zip(places, *found, strict=True)
        }

    is_scan = exact or catalogue.needs_index
    return await service.run(service.scanner if is_scan else service.searcher, search)


def _add_images(app: FastAPI, service: Service) -> None:
    """Add the endpoints of images of the store."""
    responses: dict[int | str, dict[str, Any]] = {
        404: {"model": answers.Refusal, "description": "There is no such image."}
    }

    @app.get(
        "/v1/images/{image_id}/thumbnail",
        summary="A small picture of an image of the store.",
        response_class=Response,
        responses={
            200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}},
            **responses,
        },
    )
    async def thumbnail(
        image_id: ImageId,
        side: Annotated[int, Query(ge=16, le=1024, description="Longer side in pixels.")] = 128,
    ) -> Response:
        catalogue = _catalogue(service.served)
        row = _find(catalogue, image_id)
        return await _picture(service, catalogue.file_of(row), side)

    @app.get(
        "/v1/images/{image_id}/similar",
        summary="The most similar images of an image of the store.",
        response_model=answers.NeighborsOfImage,
        responses=responses,
    )
    async def similar_to_image(
        image_id: ImageId, n: NNeighbors = 10, exact: IsExact = False
    ) -> Response:
        served = service.served
        catalogue = _catalogue(served)
        row = _find(catalogue, image_id)
        near = await _nearest(service, served, [catalogue.vectors[row]], n + 1, exact)
        others = [one for one in near[0] if one["id"] != image_id][:n]
        return _json({"id": image_id, "path": catalogue.paths[row], "neighbors": others})


async def _picture(service: Service, file: FilePath, side: int) -> Response:
    """Return a file as a JPEG of that size, so that its own bytes and metadata are not sent."""
    with service.waiting.holding(1):
        (picture,) = await service.run(
            service.decoders, lambda: encode_thumbnails([file], side=side)
        )
    if picture is None:
        raise RefusedError(404, "the file of that image is gone, or cannot be read")
    headers = {"Cache-Control": "private, max-age=300"}
    return Response(picture, media_type="image/jpeg", headers=headers)


def _add_page(app: FastAPI, service: Service) -> None:
    """Add the report's page, and its linked files."""

    @app.get("/", include_in_schema=False)
    async def page(request: Request) -> Response:
        n_images = len(_catalogue(service.served))
        if n_images > MAX_ON_PAGE:
            said = _TOO_MANY.format(n_images=n_images, most=MAX_ON_PAGE)
            return Response(said, media_type="text/html")
        made = service.page.get(service.served)
        if made is None:
            return Response(_WAIT, media_type="text/html")
        headers = {"Content-Security-Policy": made.policy, "Vary": "Accept-Encoding"}
        content = made.html
        if made.compressed and _takes_gzip(request.headers.get("accept-encoding", "")):
            content = made.compressed
            headers["Content-Encoding"] = "gzip"
        headers["Content-Length"] = str(len(content))
        return StreamingResponse(_pieces(content), media_type="text/html", headers=headers)

    @app.get("/sheets/{name}", include_in_schema=False)
    async def sheet(name: str) -> Response:
        made = service.page.get(service.served)
        if made is None or name not in made.sheets:
            raise RefusedError(404, f"there is no sheet {name}")
        return Response(made.sheets[name], media_type=made.kind)

    @app.get("/images/{path:path}", include_in_schema=False)
    async def picture(path: str, request: Request) -> Response:
        catalogue = _catalogue(service.served)
        if "\ufffd" in path and (raw := request.scope.get("raw_path")):
            # The name of the file is not UTF-8: as Python has such names.
            raw = raw.partition(b"/images/")[2]
            path = unquote_to_bytes(raw).decode("utf-8", "surrogateescape")
        row = catalogue.row_of_path(path)
        if row is None:
            raise RefusedError(404, f"there is no image {path}")
        return await _picture(service, catalogue.file_of(row), _OPEN_SIDE)


def _takes_gzip(accepted: str) -> bool:
    """Return whether a client accepts gzip, by its header Accept-Encoding (RFC 9110)."""
    for part in accepted.lower().split(","):
        name, _, quality = part.replace(" ", "").partition(";q=")
        if name == "gzip":
            return quality.strip("0.") != "" or not quality
    return False


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    """Yield content in pieces, between which other requests are answered."""
    for start in range(0, len(content), _PIECE_BYTES):
        yield content[start : start + _PIECE_BYTES]


def _find(catalogue: Any, image_id: str) -> int:
    """Return the row of an id."""
    row: int | None = catalogue.row_of_id(image_id)
    if row is None:
        raise RefusedError(404, f"there is no image {image_id}")
    return row


def _add_cluster(app: FastAPI, service: Service) -> None:
    """Add the groups of pictures."""

    @app.post("/v1/cluster", **_of_pictures("The group of pictures.", answers.Grouping, service))
    async def cluster(request: Request) -> Response:
        async with pictures_of(request, service.limits, service.held) as pictures:
            served = service.served
            groups, catalogue = served.groups, _catalogue(served)
            assert groups is not None
            # Vectors of the store have length 1, which is enough if the groups are of such.
            if groups.scaling:
                vectors, _ = await service.look_up(pictures, served)
            else:
                vectors = await service.embed(pictures, served)
            places = [i for i, vector in enumerate(vectors) if not isinstance(vector, str)]
            chosen = np.array([vectors[i] for i in places], np.float32)
            assigned = []
            if places:
                assigned = await service.run(service.searcher, groups.assign, chosen, catalogue)
            found = dict(zip(places, assigned, strict=True))
            return await _respond(service, pictures, vectors, found.__getitem__)


def _add_explain(app: FastAPI, service: Service) -> None:
    """Add explanations of pictures and an image of the store."""

    @app.post(
        "/v1/explain",
        **_of_pictures(
            f"Why up to {MAX_EXPLAINED} pictures are like an image of the store: the nearest, or "
            "that of `id`. For each, the network looks at dozens of changed pictures, which takes "
            f"seconds; so all clients together have {MAX_EXPLAINED} explained at a time.",
            answers.Explanations,
            service,
            max_pictures=MAX_EXPLAINED,
            more={404: "There is no image with that id."},
        ),
    )
    async def explain(
        request: Request,
        id: Annotated[str | None, Query(pattern=_ID, description="The other image.")] = None,  # noqa: A002
    ) -> Response:
        async with pictures_of(request, service.limits, service.held) as pictures:
            served = service.served
            row = None if id is None else _find(_catalogue(served), id)
            found = await service.explain(pictures, served, row)
            return await _respond(service, pictures, found, lambda index: _result(found[index]))


def _result(found: dict[str, Any] | str) -> dict[str, Any]:
    """Return the result of a picture that has one."""
    assert not isinstance(found, str)
    return found


def _add_embed(app: FastAPI, service: Service) -> None:
    """Add the vectors of pictures, in the protocol of lightly-studio-serve."""

    @app.post(
        "/v1/embed/images/bytes",
        **_of_pictures(
            "The vectors of pictures, in the protocol of lightly-studio-serve.",
            answers.Vectors,
            service,
        ),
    )
    async def embed(request: Request) -> Response:
        async with pictures_of(request, service.limits, service.held) as pictures:
            served = service.served
            vectors = await service.embed(pictures, served)
            kept = [index for index, one in enumerate(vectors) if not isinstance(one, str)]
            head = {
                "space_key": _space_key(served),
                "dimension": _catalogue(served).shape[1],
                "kept_indices": kept,
            }

            def write() -> str:
                # Row by row: other threads run in between.
                rows = ",".join(json.dumps(vectors[index].tolist()) for index in kept)  # type: ignore[union-attr]
                return f'{json.dumps(head)[:-1]},"embeddings":[{rows}]}}'

            return Response(await _write(service, pictures, write), media_type="application/json")


def _catalogue(served: Served) -> Any:
    """Return the images; endpoints that need them exist only with a store."""
    assert served.catalogue is not None
    return served.catalogue


async def _respond(
    service: Service,
    pictures: Sequence[Upload],
    values: Sequence[Any],
    answer: Callable[[int], dict[str, Any]],
) -> Response:
    """Return a result or an error for each picture; an error if there is no result."""

    def write() -> tuple[str, int]:
        results = []
        for index, (upload, value) in enumerate(zip(pictures, values, strict=True)):
            about = {"index": index, "name": upload.name}
            found = {"error": value} if isinstance(value, str) else answer(index)
            # One by one: other threads run in between.
            results.append(json_text(about | found, indent=None))
        rest = f'"results": [{", ".join(results)}]}}'
        reason = values[0]
        if not all(isinstance(value, str) for value in values):
            return f"{{{rest}", 200
        said = f"none of the {len(results)} pictures can be used, such as the first"
        said = said if len(results) > 1 else "the picture cannot be used"
        return f"{json_text({'error': f'{said}: {reason}'}, indent=None)[:-1]}, {rest}", 422

    text, status = await _write(service, pictures, write)
    return Response(text, status, media_type="application/json")


async def _write(service: Service, pictures: Sequence[Upload], write: Callable[[], T]) -> T:
    """Write an answer: that of a few pictures here, which is faster, of more in another thread."""
    if len(pictures) <= _FEW:
        return write()
    return await service.run(service.searcher, write)


def _json(document: dict[str, Any], status: int = 200, headers: Any = None) -> Response:
    """Return a small document."""
    text = json_text(document, indent=None)
    return Response(text, status, media_type="application/json", headers=headers)


async def _check_names(request: Request) -> None:
    """Refuse parameters that the endpoint does not have: a misspelt one would have no effect.

    The page and its pictures take any, as browsers and other sites may add some.
    """
    route = request.scope["route"]
    if not route.include_in_schema:
        return
    known = [parameter.alias for parameter in route.dependant.query_params]
    if unknown := [name for name in request.query_params if name not in known]:
        names = ", ".join(known) or "none"
        raise RefusedError(
            422, f"unknown parameter {unknown[0]!r:.99}: {request.url.path} has {names}"
        )


async def _refuse(_: Request, error: Any) -> Response:
    """Answer a request that exceeds a limit, or has no picture."""
    return _json({"error": str(error)}, error.status, error.headers)


async def _explain_status(request: Request, error: Any) -> Response:
    """Answer an unknown address, or another method."""
    allowed = (error.headers or {}).get("Allow", "another method")
    texts = {
        404: f"there is no {request.url.path}: /openapi.json lists what there is",
        405: f"{request.url.path} takes {allowed}, not {request.method}",
    }
    said = texts.get(error.status_code, str(error.detail))
    return _json({"error": said}, error.status_code, error.headers)


async def _explain_parameter(_: Request, error: Any) -> Response:
    """Answer a parameter that is out of range."""
    said = []
    for one in error.errors():
        rule = f"{one['msg'][:1].lower()}{one['msg'][1:]}"
        said.append(f"{one['loc'][-1]}: {rule}. Received: {one.get('input')!r:.99}")
    return _json({"error": "; ".join(said)}, 422)


async def _drop(_: Request, __: Any) -> Response:
    """Answer for a client that has disconnected, which is not read."""
    return _json({"error": "the client went away"}, 400)


async def _apologise(_: Request, error: Any) -> Response:
    """Answer an error of the server; the log has details."""
    _LOG.error("%s", type(error).__name__)
    return _json({"error": "an error of the server, which its log describes"}, 500)


def _of_pictures(
    summary: str,
    model: Any,
    service: Service,
    query: str = "",
    *,
    max_pictures: int | None = None,
    more: dict[int, str] | None = None,
) -> dict[str, Any]:
    """Return the OpenAPI description of an endpoint that takes pictures."""
    max_pictures = max_pictures or service.limits.pictures
    schema = {
        "type": "object",
        "properties": {
            FIELD: {
                "type": "array",
                "items": {"type": "string", "format": "binary"},
                # The maximum is in /v1/describe; more are answered with 413, as in the protocol.
                "minItems": 1,
            }
        },
        "required": [FIELD],
        "additionalProperties": False,
    }
    refusals = {
        400: "The body is not a form.",
        408: "The body came too slowly.",
        413: f"The body is too large, or holds more than {plural(max_pictures, 'picture')}.",
        415: "The content type is not that of a form.",
        422: "No picture can be used, or a parameter is unknown or out of range.",
        429: "The server is busy; the header Retry-After says when to try again.",
        **(more or {}),
    }
    return {
        "summary": summary,
        "response_model": model,
        "responses": {
            status: {"model": answers.Refusal, "description": text}
            for status, text in refusals.items()
        },
        "openapi_extra": {
            "requestBody": {
                "required": True,
                "content": {"multipart/form-data": {"schema": schema}},
            },
            "x-example": query,
        },
    }


def _document(app: FastAPI, has_token: bool, image_id: str | None) -> None:
    """Add shared responses to the document, and an example of each call."""
    refusal = {"application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}}
    shared = {
        "403": "The request is from a page of another host.",
        "421": "The host is not one of this server.",
    }
    if has_token:
        shared["401"] = "The token is missing or wrong."
    document = app.openapi()
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for model in (answers.Failed, answers.Refusal):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schema.pop("$defs", None)
        schemas.setdefault(model.__name__, schema)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            operation.pop("operationId", None)
            query = operation.pop("x-example", "")
            shown = path
            for parameter in operation.get("parameters", []):
                if parameter["name"] == "image_id":
                    parameter["example"] = image_id
                    shown = shown.replace("{image_id}", str(image_id))
            sent = f" -F {FIELD}=@picture.jpg" if method == "post" else ""
            key = ' -H "Authorization: Bearer $TOKEN"' if has_token else ""
            operation["description"] = f"    curl{key}{sent} 'http://localhost:8000{shown}{query}'"
            responses = operation["responses"]
            unknown = {"description": "A parameter is unknown."}
            responses.setdefault("422", unknown)["content"] = refusal
            for status, text in shared.items():
                responses[status] = {"description": text, "content": refusal}
            if has_token and path not in OPEN_PATHS:
                operation["security"] = [{"token": []}]
    if has_token:
        scheme = {"type": "http", "scheme": "bearer"}
        document["components"]["securitySchemes"] = {"token": scheme}
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    app.openapi_schema = document
