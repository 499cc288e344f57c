"""What every table begins with. No default and no CHECK asks for the time."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    Float,
    Integer,
    MetaData,
    Text,
)
from sqlalchemy.orm import DeclarativeBase

from orchestrator.db.types import JsonColumn, Utc

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """Types by annotation; names by convention."""

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's own shape
        str: Text(),
        int: Integer(),
        float: Float(),
        datetime: Utc(),
        dict[str, Any]: JsonColumn,
        list[Any]: JsonColumn,
    }
