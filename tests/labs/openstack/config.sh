#!/bin/bash
# Writes the configuration of every service. Idempotent.
set -eu
. "$(dirname "$0")/env.sh"
site=$("$BIN/python" -c 'import nova, os; print(os.path.dirname(os.path.dirname(nova.__file__)))')
state=$PLACE/state
mkdir -p "$ETC"/{keystone,glance,placement,nova,neutron,cinder} "$state"/{glance/{images,staging,tasks},nova/{api,control,locks},neutron,cinder}
queue=rabbit://guest:guest@127.0.0.1:$MQ_PORT/
account() { # USER
  cat <<C
auth_type = password
auth_url = http://127.0.0.1:$KEYSTONE_PORT/v3
project_domain_name = Default
user_domain_name = Default
project_name = service
region_name = RegionOne
username = $1
password = $SECRET
C
}
authtoken() { # USER
  printf '[keystone_authtoken]\nwww_authenticate_uri = http://127.0.0.1:%s\nmemcached_servers = 127.0.0.1:%s\nservice_token_roles_required = true\n' \
    "$KEYSTONE_PORT" "$CACHE_PORT"
  account "$1"
  printf '[service_user]\nsend_service_user_token = true\n'
  account "$1"
}
pool='max_pool_size = 5
max_overflow = 20'
cache="[cache]
enabled = true
backend = dogpile.cache.pymemcache
memcache_servers = 127.0.0.1:$CACHE_PORT"
quiet='[oslo_messaging_notifications]
driver = noop'

cat >"$ETC/keystone/keystone.conf" <<C
[database]
connection = $(database keystone)
$pool
$cache
[token]
provider = fernet
expiration = 86400
[fernet_tokens]
key_repository = $ETC/keystone/fernet-keys
[credential]
key_repository = $ETC/keystone/credential-keys
[oslo_policy]
enforce_scope = true
C
cat >"$ETC/placement/placement.conf" <<C
[api]
auth_strategy = keystone
[placement_database]
connection = $(database placement)
$pool
$(authtoken placement)
C
cat >"$ETC/glance/glance-api.conf" <<C
[DEFAULT]
enabled_backends = files:file
workers = 1
[glance_store]
default_backend = files
[files]
filesystem_store_datadir = $state/glance/images
[os_glance_staging_store]
filesystem_store_datadir = $state/glance/staging
[os_glance_tasks_store]
filesystem_store_datadir = $state/glance/tasks
[database]
connection = $(database glance)
$pool
$(authtoken glance)
[paste_deploy]
flavor = keystone
C
nova() { # DRIVER HOST DATABASE: without a database for hypervisors, which must not hold its password
  mkdir -p "$state/nova/$2/instances"
  # Nova refuses to start a hypervisor again that has lost its identity; this is the one the driver gives its node.
  "$BIN/python" -c 'import sys, uuid; print(uuid.uuid5(uuid.NAMESPACE_URL, sys.argv[1]))' "$2" >"$state/nova/$2/compute_id"
  cat <<C
[DEFAULT]
transport_url = $queue
compute_driver = lab.$1
host = $2
my_ip = 127.0.0.1
state_path = $state/nova/$2
instances_path = $state/nova/$2/instances
reserved_host_memory_mb = 0
default_schedule_zone = nova
vif_plugging_is_fatal = false
vif_plugging_timeout = 0
heal_instance_info_cache_interval = -1
sync_power_state_interval = -1
ram_allocation_ratio = 1.0
cpu_allocation_ratio = 16.0
block_device_allocate_retries_interval = 1
[api]
auth_strategy = keystone
max_limit = 1000
[placement]
$(account placement)
[neutron]
$(account neutron)
[cinder]
$(account nova)
os_region_name = RegionOne
catalog_info = volumev3::publicURL
[glance]
api_servers = http://127.0.0.1:$GLANCE_PORT
[key_manager]
backend = nova.keymgr.conf_key_mgr.ConfKeyManager
[vnc]
enabled = true
novncproxy_base_url = http://127.0.0.1:$VNC_PORT/vnc_auto.html
server_listen = 127.0.0.1
server_proxyclient_address = 127.0.0.1
[oslo_concurrency]
lock_path = $state/nova/locks
$quiet
[scheduler]
workers = 1
discover_hosts_in_cells_interval = -1
[filter_scheduler]
shuffle_best_same_weighed_hosts = true
# Tests make builds fail on purpose; the host they failed on must not be the last choice ever after.
build_failure_weight_multiplier = 0
enabled_filters = ComputeFilter,ComputeCapabilitiesFilter,ImagePropertiesFilter,ServerGroupAntiAffinityFilter
[conductor]
workers = 1
[quota]
instances = 40
cores = 80
ram = 204800
metadata_items = 128
[workarounds]
skip_cpu_compare_on_dest = true
$cache
$(authtoken nova)
C
  [ -z "$3" ] || printf '[api_database]\nconnection = %s\n%s\n[database]\nconnection = %s\n%s\n' "$(database nova_api)" "$pool" "$(database "$3")" "$pool"
}
nova X86Driver api nova_cell0 >"$ETC/nova/nova-api.conf"
nova X86Driver control nova >"$ETC/nova/nova-control.conf"
rm -f "$ETC"/nova/compute-*.conf
for n in $(seq "$NX86"); do nova X86Driver "x86-$n" "" >"$ETC/nova/compute-x86-$n.conf"; done
for n in $(seq "$NARM"); do nova AArch64Driver "arm-$n" "" >"$ETC/nova/compute-arm-$n.conf"; done
cat >"$ETC/neutron/neutron.conf" <<C
[DEFAULT]
transport_url = $queue
core_plugin = ml2
service_plugins = router
auth_strategy = keystone
state_path = $state/neutron
notify_nova_on_port_status_changes = false
notify_nova_on_port_data_changes = false
router_distributed = false
l3_ha = false
api_workers = 1
rpc_workers = 0
[database]
connection = $(database neutron)
$pool
[oslo_concurrency]
lock_path = $state/neutron/locks
$quiet
[quotas]
quota_port = 200
quota_network = 20
quota_security_group = 60
quota_security_group_rule = 400
quota_floatingip = 20
[ml2]
type_drivers = flat,vxlan
tenant_network_types = vxlan
mechanism_drivers = lab
extension_drivers = port_security
[ml2_type_vxlan]
vni_ranges = 1:1000
[ml2_type_flat]
flat_networks = public
$(authtoken neutron)
C
cat >"$ETC/cinder/cinder.conf" <<C
[DEFAULT]
transport_url = $queue
auth_strategy = keystone
enabled_backends = lab
state_path = $state/cinder
my_ip = 127.0.0.1
host = lab
glance_api_servers = http://127.0.0.1:$GLANCE_PORT
default_volume_type = lab
storage_availability_zone = nova
quota_volumes = 60
quota_gigabytes = 2000
quota_snapshots = 40
[lab]
volume_driver = cloudmgr_lab_openstack.disks.LabDisks
volume_backend_name = lab
[database]
connection = $(database cinder)
$pool
[nova]
$(account nova)
[oslo_concurrency]
lock_path = $state/cinder/locks
$quiet
[coordination]
backend_url = file://$state/cinder/coordination
$(authtoken cinder)
C
for file in neutron/api-paste.ini glance/glance-api-paste.ini cinder/api-paste.ini nova/api-paste.ini; do
  [ -e "$VENV/etc/$file" ] && cp "$VENV/etc/$file" "$ETC/$file" || cp "$(find "$VENV/etc" "$site" -path "*$(dirname "$file")*/$(basename "$file")" | head -1)" "$ETC/$file"
done
