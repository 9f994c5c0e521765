#!/bin/bash
# Makes a Debian tree cheap to boot under emulation: no timers, a short cloud.cfg, byte code for everything.
#   tune.sh ROOTDIR
set -eu
root=$1
for unit in e2scrub_reap.service e2scrub_all.timer apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer \
  systemd-pstore.service sys-kernel-debug.mount sys-kernel-tracing.mount dev-hugepages.mount modprobe@drm.service \
  modprobe@fuse.service modprobe@loop.service modprobe@dm_mod.service modprobe@efi_pstore.service \
  systemd-network-generator.service getty@tty1.service systemd-update-utmp.service systemd-networkd-wait-online.service; do
  ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
cat > "$root/etc/cloud/cloud.cfg" <<'C'
# Trimmed for emulated guests: only what cloudmgr relies on.
datasource_list: [ NoCloud, None ]
datasource: {NoCloud: {fs_label: cidata}}
disable_root: true
preserve_hostname: false
apt_preserve_sources_list: true
manage_etc_hosts: false
cloud_init_modules: [bootcmd, write-files, resizefs, set_hostname, update_hostname, users-groups, ssh]
cloud_config_modules: [set-passwords, runcmd]
cloud_final_modules: [scripts-user, final-message]
ssh_genkeytypes: [ed25519]
no_ssh_fingerprints: true
ssh: {emit_keys_to_console: false}
system_info:
  distro: debian
  network: {renderers: [networkd]}
  paths: {cloud_dir: /var/lib/cloud/, templates_dir: /etc/cloud/templates/}
  ssh_svcname: ssh
C
rm -f "$root"/etc/cloud/cloud.cfg.d/90_dpkg.cfg
printf 'policy: enabled\ndatasource: NoCloud\n' > "$root/etc/cloud/ds-identify.cfg"
# DHCP on every card by name, whatever the seed says of the network.
mkdir -p "$root/etc/systemd/network" "$root/etc/systemd/journald.conf.d"
printf '[Match]\nName=e*\n[Network]\nDHCP=yes\nIPv6AcceptRA=yes\n[DHCPv4]\nClientIdentifier=mac\nUseMTU=yes\n' > "$root/etc/systemd/network/80-dhcp.network"
echo "network: {config: disabled}" > "$root/etc/cloud/cloud.cfg.d/99-network.cfg"
sed -i 's/^#\?UseDNS.*/UseDNS no/' "$root/etc/ssh/sshd_config"
printf '[Journal]\nStorage=volatile\nForwardToConsole=no\n' > "$root/etc/systemd/journald.conf.d/10-lab.conf"
(python3.11 -m compileall -q -j2 -s "$root" -p / "$root/usr/lib/python3" "$root/usr/lib/python3.11" >/dev/null 2>&1 || true)
