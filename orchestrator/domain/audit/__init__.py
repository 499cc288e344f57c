"""What an audit finds: something that must hold and does not, in words, with the command that mends it. Pure values."""

from __future__ import annotations

from orchestrator.domain.audit.rules import RULES, Rule, Severity
from orchestrator.domain.audit.values import Charge, Finding, Violation, render

__all__ = ["RULES", "Charge", "Finding", "Rule", "Severity", "Violation", "render"]
