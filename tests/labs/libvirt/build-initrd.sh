#!/bin/bash
# A 1 MB initrd: load virtio, mount /dev/vda, switch_root to what init= names.
#   build-initrd.sh amd64|arm64   ->  $LAB/img/initrd-ARCH
set -eu
. "$(dirname "$0")/env.sh"
arch=$1
cd "$LAB"
version=$(ls "k-$arch/lib/modules")
root=$LAB/ird-$arch
rm -rf "$root" "bb-$arch"
mkdir -p "$root"/{bin,proc,sys,dev,newroot,lib/modules} "bb-$arch"
dpkg-deb -x "debs-$arch"/busybox-static_*.deb "bb-$arch"
cp "bb-$arch/bin/busybox" "$root/bin/busybox"
ln -sf busybox "$root/bin/sh"
: > "$root/mods"
for module in virtio_pci virtio_blk ext4 crc32c_generic; do
  modprobe -d "$LAB/k-$arch" -S "$version" --show-depends "$module" 2>/dev/null | awk '/^insmod/{print $2}' |
    while read -r file; do
      name=$(basename "$file")
      [ -e "$root/lib/modules/$name" ] || { cp "$file" "$root/lib/modules/$name"; echo "$name" >> "$root/mods"; }
    done
done
cat > "$root/init" <<'I'
#!/bin/busybox sh
bb=/bin/busybox
$bb mount -t proc p /proc; $bb mount -t sysfs s /sys; $bb mount -t devtmpfs d /dev
for m in $($bb cat /mods); do $bb insmod /lib/modules/$m; done
i=0; while [ ! -b /dev/vda ] && [ $i -lt 200 ]; do $bb usleep 50000; i=$((i+1)); done
$bb mount -t ext4 -o rw,noatime /dev/vda /newroot || exec $bb sh
for m in dev proc sys; do $bb mount --move /$m /newroot/$m; done
init=/sbin/init; for w in $($bb cat /newroot/proc/cmdline); do case $w in init=*) init=${w#init=};; esac; done
exec $bb switch_root /newroot $init
I
chmod +x "$root/init"
(cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) > "$LAB/img/initrd-$arch"
