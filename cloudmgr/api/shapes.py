"""What several answers share."""

from datetime import datetime
from typing import Annotated, Generic, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

Item = TypeVar("Item", bound=BaseModel)


class Shape(BaseModel):
    """Base of every answer."""

    model_config = ConfigDict(from_attributes=True)


class ItemPage(Shape, Generic[Item]):
    """One page of a list; `next_cursor` is null on the last."""

    items: list[Item]
    next_cursor: str | None = Field(default=None, examples=[None])


class OrganizationName(Shape):
    """An organization, short."""

    id: UUID
    code: Annotated[str, Field(examples=["430102"])]
    name: Annotated[str, Field(examples=["芙蓉区"])]


At = Annotated[datetime, Field(examples=["2026-11-22T08:00:00Z"])]
