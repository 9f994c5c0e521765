#!/bin/bash
# Installs what the lab needs: databases and a queue from Debian, OpenStack itself from PyPI into a place of its own.
# Uses the machine's own package sources. Idempotent; needs root.
set -eu
. "$(dirname "$0")/env.sh"
export DEBIAN_FRONTEND=noninteractive
packages="mariadb-server mariadb-client rabbitmq-server memcached qemu-utils curl procps gcc libc6-dev python3-dev python3-venv"
missing=
for package in $packages; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing="$missing $package"
done
# apt's own time-out covers dpkg's lock, not the lock on the package lists: ask again until the time is up.
apt_get() {
  local end=$((SECONDS + 600))
  until apt-get -q -o DPkg::Lock::Timeout=60 "$@"; do
    [ $SECONDS -lt $end ] || return 1
    sleep 5
  done
}
install_packages() {
  [ -z "$missing" ] && return 0
  # Their daemons are not wanted: the lab starts its own, on its own ports.
  local policy=/usr/sbin/policy-rc.d mine=
  [ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' >$policy && chmod +x $policy && mine=1; }
  apt_get update
  # shellcheck disable=SC2086 # a list of words is meant
  apt_get install -y --no-install-recommends $missing
  [ -z "$mine" ] || rm -f $policy
}
install_services() {
  local stamp
  stamp=$PLACE/.installed-$(cat "$HERE/requirements.txt" "$HERE"/plugins/*.toml "$HERE"/plugins/*/*.py | sha256sum | cut -c1-12)
  [ -e "$stamp" ] && return 0
  rm -f "$PLACE"/.installed-* # and the databases, which belong to a version
  rm -rf "$PLACE/pristine"
  for python in python3.11 python3.12 python3; do "$python" -c 'import venv, ensurepip' 2>/dev/null && break; done
  [ -x "$BIN/python" ] || "$python" -m venv "$VENV"
  "$BIN/python" -m pip install -q --disable-pip-version-check wheel setuptools
  "$BIN/python" -m pip install -q --disable-pip-version-check -r "$HERE/requirements.txt"
  local build
  build=$(mktemp -d) && cp -r "$HERE/plugins/." "$build"
  "$BIN/python" -m pip install -q --disable-pip-version-check --no-build-isolation --no-deps --force-reinstall "$build"
  rm -rf "$build"
  # Nova loads hypervisor drivers from its own package only.
  cp "$HERE/plugins/cloudmgr_lab_openstack/virt.py" "$("$BIN/python" -c 'import nova.virt as v; print(v.__path__[0])')/lab.py"
  touch "$stamp"
}
install_packages
install_services
