"""How workflow arguments, results and errors are kept in the engine's tables: JSON that a person can read, never pickle."""

import json
from typing import Any

from dbos import Serializer


class StepFailed(Exception):  # noqa: N818 - says what happened
    """An error read back from a step's record: its kind and its words are kept, its Python class is not."""

    def __init__(self, kind: str, words: str) -> None:
        self.kind = kind
        super().__init__(words)


class JsonSerializer(Serializer):
    """JSON, with exceptions as `{"__error__": kind, "words": …}`."""

    def name(self) -> str:
        return "cloudmgr_json"

    def serialize(self, data: Any) -> str:
        return json.dumps(data, ensure_ascii=False, separators=(",", ":"), default=_encode)

    def deserialize(self, serialized_data: str) -> Any:
        return json.loads(serialized_data, object_hook=_decode)


def _encode(value: Any) -> Any:
    if isinstance(value, BaseException):
        return {"__error__": type(value).__name__, "words": str(value)}
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    raise TypeError(f"{type(value).__name__} does not belong in a workflow: pass ids and plain values")


def _decode(value: dict[str, Any]) -> Any:
    if "__error__" in value:
        return StepFailed(value["__error__"], value["words"])
    return value
