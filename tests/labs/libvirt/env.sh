# Sourced by every script here: where the lab lives, and which of its parts belong to this version of the scripts.
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
LAB=${LAB:-${XDG_CACHE_HOME:-$HOME/.cache}/cloudmgr-lab}
NETNS=cloudlab
export HERE LAB NETNS DEBIAN_FRONTEND=noninteractive
mkdir -p "$LAB/img" "$LAB/servers"

# Options that point apt at a private tree for one architecture, so that the host's own apt state is never touched.
private_apt() {
  local tree=$LAB/apt-$1
  echo "-o APT::Architecture=$1 -o APT::Architectures=$1 -o Dir::State=$tree -o Dir::State::status=$tree/status" \
    "-o Dir::State::lists=$tree/lists -o Dir::Cache=$tree/cache -o Dir::Etc::sourcelist=$tree/etc/sources.list" \
    "-o Dir::Etc::sourceparts=/dev/null -o APT::Sandbox::User=root"
}

# The digest that names a cached artefact: it changes when one of the given scripts does.
# shellcheck disable=SC2048,SC2086 # patterns are meant to be expanded here
scripts_digest() { (cd "$HERE" && cat $* | sha256sum | cut -c1-12); }

# An image is never replaced under servers that stand on it: each version has a name of its own, and a pointer says which
# is the present one. Older versions go when no server is left.
use_image() { # NAME FILE
  echo "$2" > "$LAB/img/.$1.new"
  mv "$LAB/img/.$1.new" "$LAB/img/$1.current"
  [ -n "$(ls -A "$LAB/servers")" ] && return 0
  for old in "$LAB/img/$1"-*.qcow2; do [ "$(basename "$old")" = "$2" ] || rm -f "$old"; done
}
