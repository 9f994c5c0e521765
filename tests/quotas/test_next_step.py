"""A refusal carries the way out: a quota change, filled in, for the level nearest to the asker."""

import uuid

from quotas import Binding, QuotaExceeded, parse_key


def test_a_refusal_offers_the_change_that_would_lift_the_nearest_limit() -> None:
    city, project = uuid.uuid4(), uuid.uuid4()
    refusal = QuotaExceeded(
        [
            Binding(city, "长沙市", parse_key("vcpus"), limit=100, used=90, reserved=8, asked=4),
            Binding(project, "门户", parse_key("servers"), limit=5, used=4, reserved=1, asked=2),
            Binding(project, "门户", parse_key("vcpus{arch=aarch64}"), limit=8, used=6, reserved=0, asked=4),
        ]
    )
    assert refusal.extra["next"] == {
        "kind": "quota_change",
        "account": str(project),
        "limits": {"servers": 7, "vcpus{arch=aarch64}": 10},
    }
