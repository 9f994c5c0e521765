#!/bin/bash
# Downloads the cloud kernel and the named packages of one architecture through a private apt tree.
#   mkapt.sh amd64|arm64 PACKAGE…   ->  $LAB/debs-ARCH/*.deb
set -eu
. "$(dirname "$0")/env.sh"
arch=$1; shift
tree=$LAB/apt-$arch
mkdir -p "$tree"/lists/partial "$tree"/cache/archives/partial "$tree/etc" "$LAB/debs-$arch"
touch "$tree/status"
"$HERE/apt-sources.sh" deb "$arch" > "$tree/etc/sources.list"
options=$(private_apt "$arch")
# shellcheck disable=SC2086
[ -n "$(ls "$tree"/lists/*Packages* 2>/dev/null)" ] || apt-get $options update -q
cd "$LAB/debs-$arch"
# shellcheck disable=SC2086
kernel=$(apt-cache $options depends "linux-image-cloud-$arch" | awk '/Depends: linux-image/{print $2; exit}')
# shellcheck disable=SC2086
apt-get $options download "$kernel" "$@"
