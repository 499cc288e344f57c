"""The HTTP API (surfaces section 2): a thin shell over the services. `create_app` makes it."""

from orchestrator.api.app import create_app
from orchestrator.api.desk import Desk

__all__ = ["Desk", "create_app"]
