"""Rows made without Pydantic hold what SQLModel itself would have put there."""

import pytest
from sqlalchemy.orm.attributes import manager_of_class
from sqlmodel import SQLModel

from cloudmgr.models import Flavor, Server
from cloudmgr.models.base import Table, _defaults

_MUTABLE = (list, dict, set)


def tables(base: type[SQLModel] = Table) -> list[type[SQLModel]]:
    below = [each for child in base.__subclasses__() for each in tables(child)]
    return ([base] if hasattr(base, "__table__") else []) + below


@pytest.mark.parametrize("model", tables(), ids=lambda model: model.__name__)
def test_a_row_is_what_sqlmodel_makes(model: type[SQLModel]) -> None:
    given = {name: f"<{name}>" for name, field in model.model_fields.items() if field.is_required()}
    ours, theirs = model(**given), manager_of_class(model).new_instance()
    SQLModel.__init__(theirs, **given)
    changing = {name for name, field in model.model_fields.items() if field.default_factory}
    assert ours.__dict__.keys() - {"_sa_instance_state"} == model.model_fields.keys()
    for name in model.model_fields:
        mine, wanted = getattr(ours, name), getattr(theirs, name)
        assert type(mine) is type(wanted), name
        assert mine == wanted or name in changing, name


def test_no_default_is_shared_that_somebody_could_change() -> None:
    assert len(tables()) > 60
    for model in tables():
        assert not [name for name, value in _defaults(model)[1].items() if isinstance(value, _MUTABLE)], model


def test_a_column_that_is_not_there_is_refused() -> None:
    with pytest.raises(TypeError, match="Flavor has no column cpus"):
        Flavor(name="x", cpus=2)  # type: ignore[call-arg]


def test_two_rows_share_nothing() -> None:
    given = {name: "x" for name, field in Server.model_fields.items() if field.is_required()}
    one, other = Server(**given), Server(**given)
    assert one.id != other.id
    assert one.ssh_keys is not other.ssh_keys
