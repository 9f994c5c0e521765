#!/bin/bash
# A small Linux guest with Python and SSH, for either architecture, without running one maintainer script:
# packages are unpacked, not configured, so the arm64 image costs seconds, not the minutes of an emulated install.
#   build-guest.sh amd64|arm64   ->  $LAB/img/guest-ARCH-DIGEST.qcow2
# It is no distribution: PID 1 is a short script (guest/guest-init). Good for create, configure, resize and snapshot
# tests; what needs systemd, services or cloud-init needs build-cloud.sh.
set -eu
. "$(dirname "$0")/env.sh"
arch=$1
image=guest-$arch-$(scripts_digest build-guest.sh unpack-kernel.sh build-initrd.sh 'guest/*').qcow2
[ -e "$LAB/img/$image" ] && { use_image "guest-$arch" "$image"; exit 0; }
"$HERE/unpack-kernel.sh" "$arch"
version=$(ls "$LAB/k-$arch/lib/modules")
options=$(private_apt "$arch")
rm -f "$LAB/apt-$arch"/cache/archives/*.deb
# shellcheck disable=SC2086
apt-get -q $options install -y --download-only --no-install-recommends base-files bash coreutils dropbear-bin \
  python3-minimal libpython3.11-stdlib python3 procps iproute2 sudo openssh-sftp-server sed grep gawk findutils \
  hostname login passwd mount util-linux tar gzip tzdata isc-dhcp-client >/dev/null

root=$LAB/g-$arch
rm -rf "$root"; mkdir "$root"
for package in "$LAB/apt-$arch"/cache/archives/*.deb; do
  dpkg-deb --fsys-tarfile "$package" | tar -C "$root" -x \
    --exclude='./usr/share/doc/*' --exclude='./usr/share/man/*' --exclude='./usr/share/locale/*' --exclude='./usr/share/info/*'
done
cp "$LAB/bb-$arch/bin/busybox" "$root/bin/busybox"
for applet in sh udhcpc ip mount modprobe insmod vi ping less ps hostname ifconfig route wget sync poweroff reboot; do
  [ -e "$root/bin/$applet" ] || [ -e "$root/usr/bin/$applet" ] || [ -e "$root/sbin/$applet" ] ||
    ln -s /bin/busybox "$root/bin/$applet"
done
ln -sf bash "$root/bin/sh"; ln -sf python3.11 "$root/usr/bin/python3"; ln -sf gawk "$root/usr/bin/awk"
mkdir -p "$root"/{proc,sys,dev,run,tmp,root,home,etc/dropbear,etc/sudoers.d,etc/acpi/PWRF,var/tmp,var/lib/dpkg,var/lib/dhcp}
chmod 1777 "$root/tmp" "$root/var/tmp"
ln -sfn /run "$root/var/run"

mkdir -p "$root/lib/guest-modules"
: > "$root/lib/guest-modules/order"
for module in virtio_net virtio_rng isofs button evdev; do
  modprobe -d "$LAB/k-$arch" -S "$version" --show-depends "$module" 2>/dev/null | awk '/^insmod/{print $2}' || true
done | awk '!seen[$0]++' | while read -r file; do
  cp "$file" "$root/lib/guest-modules/"; basename "$file" >> "$root/lib/guest-modules/order"
done

printf 'root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n' > "$root/etc/passwd"
printf 'root:*:19000:0:99999:7:::\nnobody:*:19000:0:99999:7:::\n' > "$root/etc/shadow"
printf 'root:x:0:\nadm:x:4:\nsudo:x:27:\nshadow:x:42:\nnogroup:x:65534:\n' > "$root/etc/group"
printf '/bin/sh\n/bin/bash\n' > "$root/etc/shells"
printf '127.0.0.1 localhost\n::1 localhost ip6-localhost\n' > "$root/etc/hosts"
printf 'passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n' > "$root/etc/nsswitch.conf"
printf 'Defaults env_reset\nDefaults secure_path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"\nroot ALL=(ALL:ALL) ALL\n@includedir /etc/sudoers.d\n' > "$root/etc/sudoers"
chmod 640 "$root/etc/shadow"; chmod 440 "$root/etc/sudoers"
mkdir -p "$root/etc/pam.d" "$root/usr/lib/guest"
for service in sudo sudo-i su login passwd chpasswd useradd usermod groupadd other; do
  printf 'auth sufficient pam_permit.so\naccount sufficient pam_permit.so\npassword sufficient pam_permit.so\nsession sufficient pam_permit.so\n' > "$root/etc/pam.d/$service"
done
cp "$HERE/guest/udhcpc.sh" "$HERE/guest/seed.py" "$root/usr/lib/guest/"
cp "$HERE/guest/guest-init" "$root/sbin/guest-init"
cp "$HERE/guest/power-button" "$root/etc/acpi/PWRF/00000080"
chmod +x "$root/sbin/guest-init" "$root/usr/lib/guest/udhcpc.sh" "$root/etc/acpi/PWRF/00000080"
# Byte code is the same on every architecture: made here, it saves the emulated guest most of Python's start-up.
python3.11 -m compileall -q -s "$root" -p / "$root/usr/lib/python3.11" >/dev/null 2>&1 || true

rm -f "$LAB/raw-$arch"; truncate -s 1G "$LAB/raw-$arch"
mke2fs -q -t ext4 -L root -E lazy_itable_init=1,root_owner=0:0 -d "$root" "$LAB/raw-$arch"
qemu-img convert -O qcow2 "$LAB/raw-$arch" "$LAB/img/.$image"
mv "$LAB/img/.$image" "$LAB/img/$image"
rm -rf "$LAB/raw-$arch" "$root"
use_image "guest-$arch" "$image"
