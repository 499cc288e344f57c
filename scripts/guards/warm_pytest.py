"""A process that has the libraries loaded and runs pytest in a fork for each request: a third of the time of a fresh one.

Started in a copy of the project and on its own path, so it must import nothing of the project. Speaks JSON lines.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module

LIBRARIES = (
    "aiohttp", "alembic.command", "av", "boto3", "botocore.client", "celery", "click", "flask", "httpx", "kombu",
    "moto.server", "PIL.Image", "psycopg", "pydantic", "pydantic_settings", "pytest", "rich", "sqlalchemy.orm",
    "starlette.applications", "urllib3", "uvicorn", "valkey.asyncio", "yarl",
)  # fmt: skip
"""What takes long to import and nothing of ours changes. Pytest's plugins are not among them: it loads them itself."""


def main() -> None:
    """Answer each line, {"arguments": [...], "output": path}, with pytest's exit code."""
    for name in LIBRARIES:
        import_module(name)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            run_pytest(request["arguments"], request["output"])
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def run_pytest(arguments: list[str], output: str) -> None:
    """Run the tests with all output to a file, and end."""
    sink = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (sink, 1), (sink, 2)):
        os.dup2(source, target)
    import pytest

    code = int(pytest.main(arguments))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
