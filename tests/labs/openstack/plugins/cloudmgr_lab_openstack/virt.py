"""Nova's own fake hypervisor with an architecture, a node that is the same after a restart, and snapshots that arrive.

Nova loads drivers from its own package only: the lab copies this file to nova/virt/lab.py.
"""

import io
import uuid

from nova.compute import task_states
from nova.image import glance
from nova.objects import fields
from nova.virt import fake
from oslo_serialization import jsonutils

NODES = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")


class X86Driver(fake.FakeDriver):
    arch = fields.Architecture.X86_64
    cpu = (("vendor", "Intel"), ("model", "Cascadelake-Server"))

    def __init__(self, virtapi, read_only=False):
        super().__init__(virtapi, read_only)
        self.host_status_base["supported_instances"] = [(self.arch, fields.HVType.FAKE, fields.VMMode.HVM)]

    def get_available_resource(self, nodename):
        found = super().get_available_resource(nodename)
        if found:
            found["uuid"] = str(uuid.uuid5(NODES, nodename))
            found["cpu_info"] = jsonutils.dumps(
                {**jsonutils.loads(found["cpu_info"]), "arch": self.arch, **dict(self.cpu)}
            )
        return found

    def snapshot(self, context, instance, image_id, update_task_state):
        """Nova's fake leaves the image waiting for its content for ever; this one sends some."""
        update_task_state(task_state=task_states.IMAGE_PENDING_UPLOAD)
        update_task_state(task_state=task_states.IMAGE_UPLOADING, expected_state=task_states.IMAGE_PENDING_UPLOAD)
        images = glance.API()
        image = images.get(context, image_id)
        metadata = {"name": image["name"], "disk_format": "raw", "container_format": "bare"}
        images.update(context, image_id, {**image, **metadata}, io.BytesIO(bytes(1024)), purge_props=False)


class AArch64Driver(X86Driver):
    arch = fields.Architecture.AARCH64
    cpu = (("vendor", "ARM"), ("model", "Neoverse-N1"))
