"""The SQL of docs/operations.md runs on the schema as it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator.db.engine import make_engine

TEXT = (Path(__file__).parents[2] / "docs/operations.md").read_text("utf-8")
QUERIES = [query.strip() for block in re.findall(r"```sql\n(.*?)```", TEXT, re.DOTALL) for query in block.split(";\n")]


def test_there_are_queries() -> None:
    """Or the test below would hold of nothing."""
    assert len([query for query in QUERIES if query]) == 7


@pytest.mark.parametrize("query", [query for query in QUERIES if query], ids=lambda query: query.splitlines()[0][:50])
def test_a_query_of_the_handbook_runs(shared_postgres: str, query: str) -> None:
    """Tables and columns have the names that somebody will type at night."""
    engine = make_engine(shared_postgres)
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql(query.rstrip(";")).all()
    finally:
        engine.dispose()
