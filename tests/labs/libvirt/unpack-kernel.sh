#!/bin/bash
# Fetches and unpacks the cloud kernel of one architecture, once, and builds its initrd.
#   unpack-kernel.sh amd64|arm64   ->  $LAB/k-ARCH, $LAB/img/vmlinuz-ARCH, $LAB/img/initrd-ARCH
set -eu
. "$(dirname "$0")/env.sh"
arch=$1
stamp=$LAB/.kernel-$arch-$(scripts_digest mkapt.sh unpack-kernel.sh build-initrd.sh apt-sources.sh)
[ -e "$stamp" ] && [ -e "$LAB/img/initrd-$arch" ] && [ -d "$LAB/k-$arch" ] && exit 0
rm -rf "$LAB/debs-$arch" "$LAB/k-$arch" "$LAB/apt-$arch"
"$HERE/mkapt.sh" "$arch" busybox-static
mkdir "$LAB/k-$arch"
dpkg-deb -x "$LAB/debs-$arch"/linux-image-*.deb "$LAB/k-$arch"
# Without depmod (package kmod) the image silently has no modules: no network card, no iso9660.
depmod -b "$LAB/k-$arch" "$(ls "$LAB/k-$arch/lib/modules")"
cp "$LAB/k-$arch"/boot/vmlinuz-* "$LAB/img/vmlinuz-$arch"
"$HERE/build-initrd.sh" "$arch"
rm -f "$LAB"/.kernel-"$arch"-*
touch "$stamp"
