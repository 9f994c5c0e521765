"""What a new server is told about itself: cloud-init's #cloud-config with its name, login user and public keys."""

import json

from cloudmgr.domain.messages import N_
from providers.base import ServerSpec
from providers.errors import InvalidSpec

LIMIT_BYTES = 16 * 1024
"""EC2 takes no more; others are at least as generous."""


def cloud_config(spec: ServerSpec) -> str:
    """Return the user data; JSON is YAML, and needs no quoting rules of its own."""
    config = {
        "hostname": spec.name,
        "ssh_pwauth": False,
        "users": [
            {
                "name": spec.login_user,
                "lock_passwd": True,
                "shell": "/bin/bash",
                "sudo": "ALL=(ALL) NOPASSWD:ALL",
                "ssh_authorized_keys": list(spec.ssh_keys),
            }
        ],
    }
    text = f"#cloud-config\n{json.dumps(config, ensure_ascii=False)}\n"
    if len(text.encode()) > LIMIT_BYTES:
        raise InvalidSpec(N_("The public keys of this server are too many for the cloud to pass on."))
    return text
