"""Every error as a page: who is not logged in is led to the login, what went wrong inside stays in the log."""

from __future__ import annotations

import logging
from http import HTTPStatus
from urllib.parse import urlencode

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from orchestrator.api.errors import request_id_of
from orchestrator.console.pages import Page, base_of, headers_of, is_fragment, show
from orchestrator.domain.access import AccessDenied
from orchestrator.domain.errors import RequestError, StepError, Transient

log = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = "5"


def install(app: FastAPI) -> None:
    """Answer every exception that a page can raise."""
    app.add_exception_handler(AccessDenied, _lead_to_login)
    app.add_exception_handler(RequestError, _tell_request_error)
    app.add_exception_handler(StepError, _tell_step_error)
    app.add_exception_handler(RequestValidationError, _tell_validation_error)
    app.add_exception_handler(HTTPException, _tell_http_exception)
    app.add_exception_handler(Exception, _tell_bug)


async def _lead_to_login(request: Request, error: Exception) -> Response:
    """A page that was asked for is shown after the login; what was to be done has to be asked for again."""
    base = base_of(request)
    if is_fragment(request):
        return Response(status_code=401, headers={**headers_of(), "HX-Redirect": f"{base}/login"})
    if request.method == "GET":
        query = f"?{request.url.query}" if request.url.query else ""
        wanted = urlencode({"next": f"{request.url.path}{query}"})
        return Response(status_code=303, headers={**headers_of(), "Location": f"{base}/login?{wanted}"})
    return _tell(request, 401, "You are not logged in", "Nothing was done: the session is over, or its key is revoked.")


async def _tell_request_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    titles = {403: "Not allowed", 404: "Not here", 409: "Not as it stands now"}
    return _tell(request, error.status, titles.get(error.status, "This cannot be done"), error.message, error.hint)


async def _tell_step_error(request: Request, error: Exception) -> Response:
    """The words of a database stay in the log."""
    assert isinstance(error, StepError)
    log.warning("page_failed", extra={"request_id": request_id_of(request), "code": error.code, "error": str(error)})
    if not isinstance(error, Transient):
        return _tell(request, 500, "This could not be done", "The server's log says more.")
    answer = _tell(
        request, 503, "Away for a moment", "The database or the archive cannot be reached; jobs are not lost by that."
    )
    answer.headers["Retry-After"] = RETRY_AFTER_SECONDS
    return answer


async def _tell_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "header", "path"))
    return _tell(request, 422, "This cannot be read", f"{where}: {first['msg']}")


async def _tell_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _tell(request, error.status_code, HTTPStatus(error.status_code).phrase, str(error.detail))


async def _tell_bug(request: Request, error: Exception) -> Response:
    """Nothing of what went wrong inside is told; the log has it under the request's id."""
    log.error("page_crashed", exc_info=error, extra={"request_id": request_id_of(request)})
    return _tell(request, 500, "A fault of ours", "The log has it under the id of this request.")


def _tell(request: Request, status: int, title: str, words: str, hint: str | None = None) -> Response:
    values = {"words": words, "hint": hint, "status": status, "request_id": request_id_of(request)}
    return show(request, Page("error.html", title, status=status, values=values))
