"""What a call to a provider came to, as plain JSON: workflows branch on `remedy` and tell people `message`."""

import logging
from collections.abc import Callable
from typing import Any

from cloudmgr.domain.messages import N_, Message
from providers.base import ServerObservation
from providers.errors import ProviderError, Remedy

logger = logging.getLogger(__name__)

Outcome = dict[str, Any]


def attempt(deed: Callable[[], Any]) -> Outcome:
    """Run one call to a provider; a ProviderError becomes its remedy, anything else a finding for an operator."""
    try:
        result = deed()
    except ProviderError as error:
        logger.warning("provider said %s: %s", error.code, error.detail or error)
        return {"ok": False, "remedy": error.remedy.value, "code": error.code, "message": error.message.as_json()}
    except Exception:  # the step's edge: a defect must end as a told failure, not as a workflow nobody looks at
        logger.exception("a call to a provider failed in an unforeseen way")
        message = Message(N_("An unforeseen fault stopped this step; an operator finds it in the log."))
        return {"ok": False, "remedy": Remedy.OPERATOR.value, "code": "internal", "message": message.as_json()}
    return {"ok": True, "result": result}


def observed(server: ServerObservation | None) -> dict[str, Any] | None:
    """Return an observation as JSON, as far as workflows need it."""
    if server is None:
        return None
    return {
        "ref": server.ref,
        "power": server.power.value,
        "native_state": server.native_state,
        "host": server.host,
        "ipv4": list(server.ipv4),
        "ipv6": list(server.ipv6),
        "vcpus": server.vcpus,
        "memory_mib": server.memory_mib,
        "unfinished": server.unfinished,
    }
