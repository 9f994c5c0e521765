#!/bin/bash
# Makes the databases' tables, Keystone's keys and its administrator. Once, before $PLACE/pristine is kept.
set -eu
. "$(dirname "$0")/env.sh"
logged() { "$@" >>"$LOG_DIR/schemas.log" 2>&1 || { echo "openstack lab: $* failed; see $LOG_DIR/schemas.log" >&2; return 1; }; }
keystone() { logged "$BIN/keystone-manage" --config-file "$ETC/keystone/keystone.conf" "$@"; }
nova() { logged "$BIN/nova-manage" --config-file "$ETC/nova/nova-control.conf" "$@"; }
url=http://127.0.0.1:$KEYSTONE_PORT/v3/
keystone db_sync
keystone fernet_setup --keystone-user root --keystone-group root
keystone credential_setup --keystone-user root --keystone-group root
keystone bootstrap --bootstrap-password "$SECRET" --bootstrap-admin-url $url --bootstrap-internal-url $url \
  --bootstrap-public-url $url --bootstrap-region-id RegionOne
compute() {
  nova api_db sync
  nova cell_v2 map_cell0 --database_connection "$(database nova_cell0)"
  nova cell_v2 create_cell --name cell1
  nova db sync
}
others() {
  logged "$BIN/placement-manage" --config-file "$ETC/placement/placement.conf" db sync
  logged "$BIN/glance-manage" --config-file "$ETC/glance/glance-api.conf" db_sync
  logged "$BIN/neutron-db-manage" --config-file "$ETC/neutron/neutron.conf" upgrade heads
  logged "$BIN/cinder-manage" --config-file "$ETC/cinder/cinder.conf" db sync
}
compute & one=$!
others & two=$!
wait $one
wait $two
