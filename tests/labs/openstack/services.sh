#!/bin/bash
# Starts OpenStack's services. Idempotent.   services.sh keystone | rest
set -eu
. "$(dirname "$0")/env.sh"
api() { # NAME PORT MODULE VARIABLE=VALUE…
  local name=$1 port=$2 module=$3
  shift 3
  local arguments=()
  [ "$name" = cinder ] && arguments=(--pyargv "--config-file $ETC/cinder/cinder.conf")
  start "$name" env "$@" "$BIN/uwsgi" --http-socket "127.0.0.1:$port" --module "$module" --master --die-on-term --lazy-apps \
    --processes 1 --threads 8 --enable-threads --buffer-size 65535 --http-auto-chunked --http-chunked-input --http-raw-body \
    --add-header "Connection: close" --thunder-lock --disable-logging --need-app --listen 100 --home "$VENV" \
    --hook-master-start "unix_signal:15 gracefully_kill_them_all" "${arguments[@]}"
}
case $1 in
  keystone)
    api keystone "$KEYSTONE_PORT" keystone.wsgi.api:application OS_KEYSTONE_CONFIG_FILES="$ETC/keystone/keystone.conf"
    wait_for keystone 120 answers "$KEYSTONE_PORT/v3"
    ;;
  rest)
    api placement "$PLACEMENT_PORT" placement.wsgi.api:application OS_PLACEMENT_CONFIG_DIR="$ETC/placement"
    api neutron "$NEUTRON_PORT" neutron.wsgi.api:application OS_NEUTRON_CONFIG_FILES="$ETC/neutron/neutron.conf" OS_NEUTRON_CONFIG_DIR="$ETC/neutron"
    start nova-conductor "$BIN/nova-conductor" --config-file "$ETC/nova/nova-control.conf"
    for conf in "$ETC"/nova/compute-*.conf; do
      start "nova-$(basename "$conf" .conf)" "$BIN/nova-compute" --config-file "$conf"
    done
    start nova-scheduler "$BIN/nova-scheduler" --config-file "$ETC/nova/nova-control.conf"
    api nova-api "$NOVA_PORT" nova.wsgi.osapi_compute:application OS_NOVA_CONFIG_DIR="$ETC/nova" OS_NOVA_CONFIG_FILES="api-paste.ini;nova-api.conf"
    api glance "$GLANCE_PORT" glance.wsgi.api:application OS_GLANCE_CONFIG_DIR="$ETC/glance" OS_GLANCE_CONFIG_FILES=glance-api.conf
    api cinder "$CINDER_PORT" cinder.wsgi.api:application
    start cinder-scheduler "$BIN/cinder-scheduler" --config-file "$ETC/cinder/cinder.conf"
    start cinder-volume "$BIN/cinder-volume" --config-file "$ETC/cinder/cinder.conf"
    for path in "$PLACEMENT_PORT/" "$NEUTRON_PORT/" "$NOVA_PORT/" "$GLANCE_PORT/versions" "$CINDER_PORT/"; do
      wait_for "port $path" 240 answers "$path"
    done
    ;;
esac
