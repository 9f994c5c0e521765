"""Every value of a closed set that people see has a word for it, in Chinese and in English."""

import importlib
import inspect
import pkgutil
from enum import StrEnum

import pytest

import cloudmgr.domain
from cloudmgr.i18n import translator
from web import labels

_NOT_SHOWN = {"Action"}  # what a role allows is shown as sentences in docs/access.md, never as a value


def _domain_enums() -> list[type[StrEnum]]:
    modules = [module.name for module in pkgutil.iter_modules(cloudmgr.domain.__path__, "cloudmgr.domain.")]
    classes = [
        thing for name in modules for _, thing in inspect.getmembers(importlib.import_module(name), inspect.isclass)
    ]
    found = {thing.__name__: thing for thing in classes if issubclass(thing, StrEnum) and thing is not StrEnum}
    return [thing for name, thing in found.items() if name not in _NOT_SHOWN]


@pytest.mark.parametrize("enum", _domain_enums(), ids=lambda enum: enum.__name__)
def test_every_value_has_a_label(enum: type[StrEnum]) -> None:
    assert enum in labels.ENUMS, f"{enum.__name__} is in no vocabulary of web/labels.py"
    assert {value.value for value in enum} <= {str(key) for key in labels.VOCABULARIES[labels.ENUMS[enum]]}


@pytest.mark.parametrize("vocabulary", sorted(labels.VOCABULARIES))
def test_every_label_reads_in_both_languages(vocabulary: str) -> None:
    chinese, english = translator("zh_CN"), translator("en")
    for value, template in labels.VOCABULARIES[vocabulary].items():
        assert english(template) == template
        assert chinese(template).strip(), f"{vocabulary}.{value}"
        assert chinese(template) != template or template in _SAME_IN_BOTH, (
            f"{vocabulary}.{value}: {template} has no Chinese"
        )


_SAME_IN_BOTH = {"Intel", "AMD", "Web"}
