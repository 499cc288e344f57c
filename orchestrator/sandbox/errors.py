"""The provider's refusals: business codes, their HTTP status and their wire form (zai-api.md sections 9.1 to 9.4).
Nothing here decides when to refuse; other modules raise `Refusal` and `app` answers it.
"""

from typing import Any

# Code -> (HTTP status, message). The page of section 9.4; statuses it only infers are taken as written there.
CODES: dict[str, tuple[int, str]] = {
    "500": (500, "Internal error."),
    "1000": (401, "Authentication failed."),
    "1001": (401, "No authentication parameter was received in the header."),
    "1002": (401, "The authentication token is invalid."),
    "1003": (401, "The authentication token has expired."),
    "1004": (401, "The authentication token could not be verified."),
    "1005": (401, "A second factor is required."),
    "1100": (500, "The account could not be read."),
    "1110": (429, "The account is not active."),
    "1111": (429, "The account does not exist."),
    "1112": (429, "The account is locked."),
    "1113": (429, "The account has no balance left, please recharge."),
    "1120": (500, "The account cannot be reached for now."),
    "1121": (429, "The account is locked for irregular activity."),
    "1200": (500, "The call failed."),
    "1210": (400, "The parameters of the call are wrong."),
    "1211": (400, "The model does not exist."),
    "1212": (400, "The model does not support this way of calling."),
    "1213": (400, "A required parameter was not received."),
    "1214": (400, "A parameter is invalid."),
    "1215": (400, "Two parameters exclude each other."),
    "1220": (403, "No permission for this API."),
    "1221": (400, "This API was withdrawn."),
    "1222": (400, "This API does not exist."),
    "1230": (500, "An error occurred while the call ran."),
    "1231": (400, "You already have a request with this request_id."),
    "1234": (500, "Network error."),
    "1261": (400, "The prompt is too long."),
    "1300": (400, "The call was blocked by policy."),
    "1301": (400, "The input or the output may contain unsafe content."),
    "1302": (429, "Too many requests at a time for this account."),
    "1303": (429, "Requests come too frequently."),
    "1304": (429, "The daily limit has been reached."),
    "1305": (429, "The model is overloaded, please try again later."),
    "1308": (429, "The usage limit has been reached."),
    "1309": (429, "The coding plan has expired."),
    "1310": (429, "The weekly or monthly limit has been reached."),
    "1311": (429, "The plan does not include this model."),
    "1313": (429, "Restricted by the fair-use policy."),
    "1314": (429, "The enterprise plan has expired."),
    "1315": (429, "This key is valid for the enterprise coding plan only."),
    **{str(code): (429, "The five-hour or seven-day limit has been reached.") for code in range(1316, 1322)},
    "1701": (429, "Too many web searches at a time."),
    "1702": (500, "No search engine is available."),
    "1703": (500, "The search found no data."),
}


class Refusal(Exception):
    """An answer of the provider that refuses a call. `message` completes or replaces the sentence of the code."""

    def __init__(
        self,
        code: str,
        message: str | None = None,
        *,
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        known_status, known_message = CODES.get(code, (400, "The call was refused."))
        self.code = code
        self.status = known_status if status is None else status
        self.message = message or known_message
        self.retry_after = retry_after
        super().__init__(f"{self.status}/{code}: {self.message}")

    def body(self) -> dict[str, Any]:
        """The JSON body: digits as a string, and beside 1301 the camel-case contentFilter (sections 9.1, 9.2)."""
        answer: dict[str, Any] = {"error": {"code": self.code, "message": self.message}}
        if self.code == "1301":
            answer = {"contentFilter": [{"level": 1, "role": "user"}], **answer}
        return answer


def missing(field: str) -> Refusal:
    """A required field was not sent: 1213."""
    return Refusal("1213", f"The parameter {field} was not received.")


def invalid(field: str, why: str) -> Refusal:
    """A field holds what the provider does not take: 1214."""
    return Refusal("1214", f"The parameter {field} is invalid: {why}")
