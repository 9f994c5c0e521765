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
scripts_digest() { (cd "$HERE" && cat "$@" | sha256sum | cut -c1-16); }
