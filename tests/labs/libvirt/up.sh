#!/bin/bash
# Starts libvirtd in its own network namespace, with the network "lab". Idempotent; needs root, no systemd.
# Bridges, taps, dnsmasq, firewall rules and ip_forward all stay inside the namespace: the host gets no interface.
# Whatever speaks to a guest must run by `ip netns exec cloudlab`.
set -eu
. "$(dirname "$0")/env.sh"

# libvirt-daemon-system would make these; without them libvirtd ends silently with "Failed to parse user 'libvirt-qemu'".
getent group kvm >/dev/null || groupadd --system kvm
getent group libvirt-qemu >/dev/null || groupadd --system libvirt-qemu
getent passwd libvirt-qemu >/dev/null ||
  useradd --system -g kvm -G libvirt-qemu -d /var/lib/libvirt -s /usr/sbin/nologin libvirt-qemu

# A daemon that was killed and not reaped (no init here) still has a name: only one that runs counts.
alive() {
  for pid in $(pgrep -x "$1"); do
    case $(ps -o stat= -p "$pid") in Z* | "") ;; *) return 0 ;; esac
  done
  return 1
}

mkdir -p /etc/libvirt /var/log/libvirt
if ! alive libvirtd; then
  cat > /etc/libvirt/qemu.conf <<'C'
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
cgroup_controllers = []
namespaces = []
stdio_handler = "logd"
C
  cat > /etc/libvirt/libvirtd.conf <<'C'
auth_unix_ro = "none"
auth_unix_rw = "none"
unix_sock_group = "root"
unix_sock_rw_perms = "0700"
log_outputs = "2:file:/var/log/libvirt/libvirtd.log"
C
fi

ip -n "$NETNS" link show lo >/dev/null 2>&1 || {
  ip netns delete "$NETNS" 2>/dev/null || true # a name left over from another boot, with nothing behind it
  ip netns add "$NETNS"
}
ip -n "$NETNS" link set lo up
# The daemons must not inherit a caller's pipe or lock, or the caller never sees its end.
detached() { setsid "$@" </dev/null >/dev/null 2>&1 9>&-; }
alive virtlogd || detached virtlogd -d
alive libvirtd || detached ip netns exec "$NETNS" libvirtd -d
for _ in $(seq 100); do virsh -c qemu:///system uri >/dev/null 2>&1 && break; sleep 0.2; done
virsh -q -c qemu:///system uri >/dev/null

export LIBVIRT_DEFAULT_URI=qemu:///system
virsh -q net-info lab >/dev/null 2>&1 || virsh -q net-define "$HERE/net-lab.xml"
virsh net-info lab | grep -q 'Active: *yes' || virsh -q net-start lab
virsh -q pool-info cloudmgr-lab >/dev/null 2>&1 || virsh -q pool-define-as cloudmgr-lab dir --target "$LAB/servers"
virsh pool-info cloudmgr-lab | grep -q 'State: *running' || virsh -q pool-start cloudmgr-lab
