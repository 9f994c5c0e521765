"""What one try to send something came to, as plain values: workflows record it, people read it."""

from dataclasses import dataclass
from typing import Any

from cloudmgr.domain.messages import Message


@dataclass(frozen=True, slots=True)
class Sent:
    """`is_final`: another try would come to the same."""

    is_sent: bool
    status: str = ""
    message: Message | None = None
    is_final: bool = False

    @classmethod
    def failed(cls, template: str, *, status: str = "", is_final: bool = False, **params: Any) -> "Sent":
        """Return a failure told by a template; `status` is one of its fields."""
        return cls(
            is_sent=False, status=status, message=Message(template, {"status": status, **params}), is_final=is_final
        )

    def as_json(self) -> dict[str, Any]:
        """Return it as a workflow's step records it."""
        told = self.message.as_json() if self.message else None
        return {"is_sent": self.is_sent, "status": self.status, "message": told, "is_final": self.is_final}
