"""Every error as one body (surfaces section 2): `{"error": {"code", "message", "param", "type", "request_id"}}`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from orchestrator.domain.errors import (
    BatchFileError,
    ConfigError,
    Conflict,
    Fault,
    InvalidParams,
    NotFound,
    RequestError,
    StepError,
    Transient,
)

log = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = 5
"""What a caller is told to wait when the database or the archive is away."""
FAULTS_SHOWN = 100
AS_JSON = "send a JSON object with Content-Type: application/json"
CODES: Mapping[int, str] = {
    400: "bad_request",
    401: "invalid_key",
    403: "not_allowed",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "too_large",
    415: "unsupported_media_type",
    422: "invalid_params",
    431: "too_many_headers",
    503: "database_unavailable",
}
TYPES: Mapping[int, str] = {401: "authentication_error", 403: "permission_error", 404: "not_found_error"}


def error_object(
    code: str,
    message: str,
    *,
    status: int,
    request_id: str,
    param: str | None = None,
    hint: str | None = None,
    faults: Sequence[Fault] = (),
) -> dict[str, object]:
    """Return the body. `faults` stand in `errors` when there is more to say than the first one does."""
    error: dict[str, object] = {
        "code": code,
        "message": message,
        "param": param,
        "type": TYPES.get(
            status, "invalid_request_error" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "server_error"
        ),
        "request_id": request_id,
        "hint": hint,
    }
    if faults:
        error["errors"] = [fault.as_dict() for fault in faults[:FAULTS_SHOWN]]
    return {"error": error}


def install(app: FastAPI) -> None:
    """Answer every exception that a route can raise."""
    app.add_exception_handler(RequestError, _tell_request_error)
    app.add_exception_handler(StepError, _tell_step_error)
    app.add_exception_handler(ConfigError, _tell_bug)
    app.add_exception_handler(RequestValidationError, _tell_validation_error)
    app.add_exception_handler(HTTPException, _tell_http_exception)
    app.add_exception_handler(ClientDisconnect, _tell_nobody)
    app.add_exception_handler(Exception, _tell_bug)


def request_id_of(request: Request) -> str:
    """Return the id that the gate gave the request."""
    return str(request.scope.get("request_id", ""))


def _answer(request: Request, status: int, code: str, message: str, **more: object) -> JSONResponse:
    headers = {"WWW-Authenticate": "Bearer"} if status == HTTPStatus.UNAUTHORIZED else {}
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    body = error_object(code, message, status=status, request_id=request_id_of(request), **more)  # type: ignore[arg-type]
    return JSONResponse(body, status_code=status, headers=headers)


async def _tell_request_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestError)
    faults = error.faults if isinstance(error, InvalidParams | BatchFileError) else ()
    code = faults[0].code if isinstance(error, InvalidParams) else error.code
    return _answer(request, error.status, code, error.message, param=error.param, hint=_hint_of(error), faults=faults)


def _hint_of(error: RequestError) -> str | None:
    """A hint to a command line is of no use here, and could name another owner's job."""
    if isinstance(error, Conflict | NotFound) and error.hint and ("orchestrator " in error.hint or "--" in error.hint):
        return None
    return error.hint


async def _tell_step_error(request: Request, error: Exception) -> JSONResponse:
    """What passes by itself is 503; what somebody has to mend is 500. The words of a database stay in the log."""
    assert isinstance(error, StepError)
    log.warning("request_failed", extra={"request_id": request_id_of(request), "code": error.code, "error": str(error)})
    if not isinstance(error, Transient):
        return _answer(request, 500, error.code, "this could not be done; the server's log says more")
    message = (
        "the database is away, full or busy" if error.code == "database_unavailable" else "the archive is away or full"
    )
    return _answer(request, 503, error.code, f"{message}; try again")


async def _tell_validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if about_whole := _tell_unreadable(first):
        return _answer(request, 422, "invalid_params", about_whole, hint=AS_JSON)
    where = [str(part) for part in first["loc"] if part not in ("body", "query", "header", "path")]
    param = ".".join(where) or None
    message = f"{param}: {first['msg']}" if param else str(first["msg"])
    return _answer(request, 422, "invalid_params", message, param=param)


def _tell_unreadable(fault: Mapping[str, Any]) -> str | None:
    """Return what is wrong with a body of which no field can be named; None for any other fault."""
    if fault["type"] == "json_invalid":
        return f"the body is not JSON: {fault['ctx']['error']} at character {int(fault['loc'][-1]) + 1}"
    if tuple(fault["loc"]) == ("body",):
        return "the body is missing" if fault["type"] == "missing" else "the body is not an object in JSON"
    return None


async def _tell_http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = CODES.get(error.status_code, "http_error")
    answer = _answer(request, error.status_code, code, str(error.detail))
    for name, value in (error.headers or {}).items():
        answer.headers[name] = value
    return answer


async def _tell_nobody(request: Request, error: Exception) -> JSONResponse:
    """The caller has gone in the middle of a body: nothing was taken, and nobody reads this."""
    log.info("caller_gone", extra={"request_id": request_id_of(request)})
    return _answer(request, 400, "bad_request", "the body broke off")


async def _tell_bug(request: Request, error: Exception) -> JSONResponse:
    """Nothing of what went wrong inside is told; the log has it under the request's id."""
    log.error("request_crashed", exc_info=error, extra={"request_id": request_id_of(request)})
    return _answer(request, 500, "internal_error", "a fault of ours; quote the request id when you report it")
