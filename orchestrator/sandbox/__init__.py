"""A simulator of the Z.ai API for images, videos and transcriptions: real files, every documented quirk, faults on
demand, and a ledger of what was charged. It imports nothing else of this package, so tests against it prove something.
"""

from orchestrator.sandbox.fields import SandboxConfigError
from orchestrator.sandbox.ledger import read_ledger
from orchestrator.sandbox.options import SandboxOptions
from orchestrator.sandbox.server import RunningSandbox, serve, start

__all__ = ["RunningSandbox", "SandboxConfigError", "SandboxOptions", "read_ledger", "serve", "start"]
