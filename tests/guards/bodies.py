"""An example body for every route that changes something; a name in braces stands for an id of the guard's city."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from cloudmgr.domain import clock
from tests import support, world

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFJ8ySmQv0sAi9ZJ1nXgPfyQSnGHzIdYJ7P2x2fzN8aU guard"

BODIES: Mapping[tuple[str, str], Any] = {
    ("POST", "/api/v1/sessions"): {"username": "nobody", "password": support.PASSWORD},
    ("PUT", "/api/v1/users/me/password"): {"old_password": support.PASSWORD, "new_password": "Another-Horse-99"},
    ("POST", "/api/v1/users"): {"username": "guard", "display_name": "某人", "organization": "{organization_id}"},
    ("PATCH", "/api/v1/users/{user_id}"): {"display_name": "改名"},
    ("POST", "/api/v1/users/{user_id}/roles"): {"role": "requester", "organization": "{organization_id}"},
    ("PATCH", "/api/v1/users/{user_id}/roles"): {
        "role": "unit_reviewer",
        "organization": "{organization_id}",
        "revoked": True,
    },
    ("POST", "/api/v1/organizations"): {"code": "430102-x", "name": "某单位", "parent": "{organization_id}"},
    ("PATCH", "/api/v1/organizations/{organization_id}"): {"name": "改名"},
    ("POST", "/api/v1/projects"): {"organization": "{organization_id}", "name": "某系统", "mlps_level": "二级"},
    ("PATCH", "/api/v1/projects/{project_id}"): {"ops_vendor": "某公司"},
    ("POST", "/api/v1/projects/{project_id}/stage"): {"stage": "trial"},
    ("POST", "/api/v1/projects/{project_id}/ssh-keys"): {"public_key": world.KEY},
    ("DELETE", "/api/v1/projects/{project_id}/ssh-keys/{key_id}"): None,
    ("POST", "/api/v1/flavors"): {"name": "3C3G", "vcpus": 3, "memory_mib": 3072},
    ("PATCH", "/api/v1/flavors/{flavor_id}"): {"is_active": False},
    ("POST", "/api/v1/images"): {"name": "guard-os", "title": "某系统", "os_name": "Guard", "os_version": "1"},
    ("PATCH", "/api/v1/images/{image_id}"): {"title": "改名"},
    ("POST", "/api/v1/backends"): {"name": "guard", "provider": "simulated", "datacenter": "某机房"},
    ("PATCH", "/api/v1/backends/{backend_id}"): {"title": "改名"},
    ("POST", "/api/v1/zones"): {
        "backend": "guard",
        "ref": "z",
        "name": "guard-zone",
        "arch": "aarch64",
        "network_zones": [world.ZONE],
    },
    ("PATCH", "/api/v1/zones/{zone_id}"): {"title": "改名"},
    ("POST", "/api/v1/networks"): {"backend": "guard", "ref": "n", "name": "net", "network_zone": world.ZONE},
    ("PATCH", "/api/v1/networks/{network_id}"): {"name": "改名"},
    ("POST", "/api/v1/subnets"): {"network_zone": world.ZONE, "cidr": "203.0.113.0/24"},
    ("PATCH", "/api/v1/subnets/{subnet_id}"): {"name": "改名"},
    ("PUT", "/api/v1/subnets/{subnet_id}/ranges"): {
        "ranges": [{"kind": "excluded", "first": "198.51.100.9", "last": "198.51.100.10"}]
    },
    ("DELETE", "/api/v1/subnets/{subnet_id}"): None,
    ("POST", "/api/v1/subnets/{subnet_id}/addresses"): {"purpose": "打印机"},
    ("DELETE", "/api/v1/subnets/{subnet_id}/addresses/{address_id}"): None,
    ("POST", "/api/v1/network-zones"): {"name": "某区", "code": "MQ"},
    ("PATCH", "/api/v1/network-zones/{network_zone_id}"): {"description": "改名"},
    ("POST", "/api/v1/quotas/verifications"): None,
    ("POST", "/api/v1/quotas/what-if"): {"account": "{account}", "limits": {"servers": 4}},
    ("PUT", "/api/v1/quotas/{account}"): {"limits": {"servers": 4}, "reason": "测试"},
    ("PATCH", "/api/v1/quotas/{account}"): {"limits": {"servers": 4}, "reason": "测试"},
    ("POST", "/api/v1/servers/{server_id}/actions"): {"action": "start"},
    ("POST", "/api/v1/plans"): "{request}",
    ("POST", "/api/v1/requests"): "{request}",
    ("PUT", "/api/v1/requests/{request_id}"): "{request}",
    ("POST", "/api/v1/requests/{request_id}/submit"): None,
    ("POST", "/api/v1/requests/{request_id}/withdraw"): None,
    ("POST", "/api/v1/requests/{request_id}/retry"): None,
    ("POST", "/api/v1/requests/{request_id}/decisions"): {"decision": "approve", "comment": ""},
    ("POST", "/api/v1/playbook-runs"): {"playbook": "collect_facts", "servers": ["{server_id}"], "variables": {}},
    ("POST", "/api/v1/playbook-runs/{run_id}/cancel"): None,
    ("POST", "/api/v1/exports"): {"ledger": "inventory", "format": "csv"},
    ("DELETE", "/api/v1/sessions/current"): None,
    ("POST", "/api/v1/findings/decisions"): {"ids": ["{finding_id}"], "decision": "ignore", "reason": "测试"},
    ("POST", "/api/v1/servers/{server_id}/certificate/checks"): None,
    ("POST", "/api/v1/backends/{backend_id}/syncs"): {"confirm_losses": False},
    ("POST", "/api/v1/inventory/imports"): {
        "rows": [
            {
                "source": "人工登记",
                "resource_type": "物理机",
                "counts_quota": "否",
                "name": "by-sheet",
                "system_name": "智慧社区综合服务平台",
                "network_zone": world.ZONE,
                "env": "生产",
                "purpose": "应用",
                "arch": "aarch64",
                "vcpu": 2,
                "memory_gib": 4,
                "system_disk_gib": 40,
                "datacenter": "老机房",
                "lease_end": "长期",
            }
        ]
    },
    ("POST", "/api/v1/inventory/manual-servers"): {
        "project": "{project_id}",
        "name": "by-hand",
        "resource_type": "baremetal",
        "counts_quota": False,
        "env": "prd",
        "purpose_kind": "app",
        "network_zone": world.ZONE,
        "arch": "aarch64",
        "vcpus": 2,
        "memory_mib": 4096,
        "system_disk_gib": 40,
        "datacenter": "老机房",
    },
    ("PATCH", "/api/v1/inventory/manual-servers/{server_id}"): {"vcpus": 4},
    ("POST", "/api/v1/requests/{request_id}/changes"): {"body": "{request}", "comment": "调整"},
    ("POST", "/api/v1/requests/{request_id}/changes/{change_id}/answer"): {"accept": True},
    ("POST", "/api/v1/requests/{request_id}/comments"): {"text": "请补充材料"},
    ("POST", "/api/v1/requests/{request_id}/attachments"): None,
    ("DELETE", "/api/v1/requests/{request_id}/attachments/{attachment_id}"): None,
    ("POST", "/api/v1/requests/{request_id}/feedback"): {"score": 5},
    ("POST", "/api/v1/requests/{request_id}/urge"): None,
    ("POST", "/api/v1/change-freezes"): {
        "organization": "{organization_id}",
        "starts_at": "2090-01-01T00:00:00+08:00",
        "ends_at": "2090-01-02T00:00:00+08:00",
        "reason": "重保",
    },
    ("DELETE", "/api/v1/change-freezes/{freeze_id}"): None,
    ("POST", "/api/v1/deputies"): {"deputy": "nobody", "valid_from": "2030-01-01", "valid_until": "2030-01-02"},
    ("DELETE", "/api/v1/deputies/{deputy_id}"): None,
    ("POST", "/api/v1/notices/read"): {},
    ("POST", "/api/v1/requests/{request_id}/clone"): None,
    ("POST", "/api/v1/requests/sheets"): {
        "rows": [
            {
                "system_name": "智慧社区综合服务平台",
                "name": "by-sheet",
                "flavor": "2C4G",
                "image": "kylin-v10",
                "arch": "aarch64",
                "network_zone": world.ZONE,
                "purpose": "业务系统应用服务器",
                "lease_end": (clock.today() + timedelta(days=300)).isoformat(),
            }
        ]
    },
    ("PATCH", "/api/v1/notices/preferences"): {"email": "nobody@example.gov.cn"},
    ("POST", "/api/v1/notices/deliveries/{delivery_id}/replay"): None,
    ("POST", "/api/v1/inventory/manual-servers/{server_id}/confirmations"): None,
    ("POST", "/api/v1/inventory/manual-servers/{server_id}/retirement"): {"reason": "报废"},
}
