"""A Cinder backend that stores nothing: volumes exist in the books only."""

from cinder import interface
from cinder.volume import driver


@interface.volumedriver
class LabDisks(driver.VolumeDriver):
    VERSION = "1.0"
    CI_WIKI_NAME = "none"

    def do_setup(self, context):
        pass

    def check_for_setup_error(self):
        pass

    def get_volume_stats(self, refresh=False):
        pool = {
            "pool_name": "lab",
            "total_capacity_gb": 1_000_000,
            "free_capacity_gb": 1_000_000,
            "reserved_percentage": 0,
            "multiattach": True,
            "thin_provisioning_support": True,
            "max_over_subscription_ratio": 20.0,
            "provisioned_capacity_gb": 0,
        }
        return {
            "volume_backend_name": "lab",
            "vendor_name": "lab",
            "driver_version": "1.0",
            "storage_protocol": "iSCSI",
            "pools": [pool],
        }

    def create_volume(self, volume):
        pass

    def delete_volume(self, volume):
        pass

    def create_snapshot(self, snapshot):
        pass

    def delete_snapshot(self, snapshot):
        pass

    def create_volume_from_snapshot(self, volume, snapshot):
        pass

    def create_cloned_volume(self, volume, src_vref):
        pass

    def extend_volume(self, volume, new_size):
        pass

    def ensure_export(self, context, volume):
        pass

    def create_export(self, context, volume, connector=None):
        pass

    def remove_export(self, context, volume):
        pass

    def initialize_connection(self, volume, connector):
        target = {
            "target_discovered": False,
            "target_portal": "127.0.0.1:3260",
            "target_lun": 1,
            "target_iqn": f"iqn.2010-10.org.openstack:{volume['id']}",
            "volume_id": volume["id"],
        }
        return {"driver_volume_type": "iscsi", "data": target}

    def terminate_connection(self, volume, connector, **kwargs):
        pass

    def clone_image(self, context, volume, image_location, image_meta, image_service):
        return {}, True
