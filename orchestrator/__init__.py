"""Async media job orchestrator for the Z.ai API: submit once, wait, archive, remember."""
