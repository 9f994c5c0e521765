#!/bin/bash
# A full guest: Debian 12 with systemd, cloud-init, OpenSSH and Python, as a whole-disk ext4 image.
#   build-cloud.sh amd64   ->  $LAB/img/debian12-ARCH-DIGEST.qcow2     (about a minute; arm64 takes 6 CPU-minutes by emulation)
set -eu
. "$(dirname "$0")/env.sh"
arch=$1
image=debian12-$arch-$(scripts_digest build-cloud.sh unpack-kernel.sh tune.sh).qcow2
[ -e "$LAB/img/$image" ] && { use_image "debian12-$arch" "$image"; exit 0; }
"$HERE/unpack-kernel.sh" "$arch"
kernel=$LAB/k-$arch
"$HERE/apt-sources.sh" deb > "$LAB/mirror.list"
if [ "$arch" != "$(dpkg --print-architecture)" ]; then
  mountpoint -q /proc/sys/fs/binfmt_misc || mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
  [ -e /proc/sys/fs/binfmt_misc/qemu-aarch64 ] || cat /usr/lib/binfmt.d/qemu-aarch64.conf > /proc/sys/fs/binfmt_misc/register
fi
tree=$LAB/r-$arch
rm -rf "$tree" "$LAB/root-$arch.tar"
mmdebstrap --architectures="$arch" --variant=minbase --mode=root \
  --aptopt='Acquire::Languages "none"' --aptopt='APT::Install-Recommends "false"' \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
  --include=systemd,systemd-sysv,udev,kmod,dbus,cloud-init,openssh-server,python3,python3-apt,sudo,iproute2,iputils-ping,netbase,procps,ca-certificates,libpam-systemd,e2fsprogs,tzdata,systemd-timesyncd,auditd \
  --customize-hook="mkdir -p \$1/lib/modules && cp -a $kernel/lib/modules/* \$1/lib/modules/" \
  --customize-hook='chroot $1 systemctl enable systemd-networkd ssh >/dev/null 2>&1' \
  --customize-hook='rm -f $1/etc/ssh/ssh_host_*; : > $1/etc/machine-id; rm -f $1/etc/hostname' \
  --customize-hook='echo "LABEL=root / ext4 defaults,noatime 0 1" > $1/etc/fstab' \
  --customize-hook="$HERE/tune.sh \$1" \
  --customize-hook='rm -rf $1/var/cache/apt/* $1/var/lib/apt/lists/*' \
  bookworm "$LAB/root-$arch.tar" "$LAB/mirror.list" > "$LAB/mmdebstrap-$arch.log" 2>&1
mkdir "$tree"; tar -C "$tree" -xf "$LAB/root-$arch.tar"
# Where packages come from is the builder's business: the image names no mirror.
: > "$tree/etc/apt/sources.list"; rm -f "$tree"/etc/apt/sources.list.d/*
rm -f "$LAB/raw-$arch"; truncate -s 2G "$LAB/raw-$arch"
mke2fs -q -t ext4 -L root -E lazy_itable_init=1,root_owner=0:0 -d "$tree" "$LAB/raw-$arch"
qemu-img convert -O qcow2 "$LAB/raw-$arch" "$LAB/img/.$image"
mv "$LAB/img/.$image" "$LAB/img/$image"
rm -rf "$LAB/raw-$arch" "$tree" "$LAB/root-$arch.tar"
use_image "debian12-$arch" "$image"
