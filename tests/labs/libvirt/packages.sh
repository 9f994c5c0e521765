#!/bin/bash
# Installs what the lab needs from the machine's own package sources. Idempotent; needs root.
set -eu
. "$(dirname "$0")/env.sh"
packages="libvirt-daemon libvirt-daemon-driver-qemu libvirt-clients libvirt-daemon-config-network libvirt-dev pkg-config gcc
  qemu-system-x86 qemu-system-arm qemu-utils qemu-efi-aarch64 ovmf dnsmasq-base iptables nftables iproute2 kmod
  mmdebstrap arch-test qemu-user-static openssh-client cpio e2fsprogs python3-minimal dropbear-bin"
missing=
for package in $packages; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing="$missing $package"
done
[ -z "$missing" ] && exit 0
# apt's own time-out covers dpkg's lock, not the lock on the package lists: ask again until the time is up.
apt_get() {
  local end=$((SECONDS + 600))
  until apt-get -q -o DPkg::Lock::Timeout=60 "$@"; do
    [ $SECONDS -lt $end ] || return 1
    sleep 5
  done
}
apt_get update
# shellcheck disable=SC2086 # a list of words is meant
apt_get install -y --no-install-recommends $missing
