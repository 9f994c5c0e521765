#!/bin/bash
# Copies one running server in Nova's database, for measuring lists: building a thousand would take half an hour.
#   clone.sh SERVER COUNT      until there are COUNT of it
#   clone.sh --clear SERVER    takes its copies away
# The way Nova lists is real, the population is not: no hypervisor knows the copies, and Nova must not be asked to touch them.
set -eu
. "$(dirname "$0")/env.sh"
# Rows that others point to come first, and go last.
tables="nova.instances:uuid nova.instance_info_caches:instance_uuid nova.instance_extra:instance_uuid
  nova.instance_system_metadata:instance_uuid nova_api.instance_mappings:instance_uuid nova_api.request_specs:instance_uuid"
sql -e 'CREATE DATABASE IF NOT EXISTS labcopies; CREATE TABLE IF NOT EXISTS labcopies.copies (id varchar(36) PRIMARY KEY, original varchar(36) NOT NULL)'

is_uuid() { [[ $1 =~ ^[0-9a-f-]{36}$ ]] || { echo "not a server: $1" >&2; exit 2; }; }

clear_copies() { # SERVER
  # shellcheck disable=SC2086 # a list of words is meant
  for each in $(printf '%s\n' $tables | tac); do
    sql -e "DELETE FROM ${each%%:*} WHERE ${each#*:} IN (SELECT id FROM labcopies.copies WHERE original = '$1')"
  done
  sql -e "DELETE FROM labcopies.copies WHERE original = '$1'"
}

columns() { # TABLE KEY PREFIX
  sql -e "SELECT GROUP_CONCAT(CONCAT('$3\`', column_name, '\`')) FROM information_schema.columns
    WHERE table_schema = '${1%%.*}' AND table_name = '${1#*.}' AND column_name NOT IN ('id', '$2')"
}

copy() { # SERVER COUNT
  local have
  have=$(sql -e "SELECT COUNT(*) FROM labcopies.copies WHERE original = '$1'")
  local wanted=$(($2 - have - 1))
  [ "$wanted" -gt 0 ] || return 0
  "$BIN/python" - "$1" "$wanted" <<'P' | sql
import sys, uuid
original, wanted = sys.argv[1], int(sys.argv[2])
for first in range(0, wanted, 500):
    rows = ",".join(f"('{uuid.uuid4()}','{original}')" for _ in range(min(500, wanted - first)))
    print(f"INSERT INTO labcopies.copies VALUES {rows};")
P
  for each in $tables; do
    local table=${each%%:*} key=${each#*:}
    sql -e "SET SESSION group_concat_max_len = 100000;
      INSERT INTO $table ($key, $(columns "$table" "$key" "")) SELECT c.id, $(columns "$table" "$key" "s.")
      FROM $table s JOIN labcopies.copies c ON s.$key = '$1'
      WHERE c.original = '$1' AND NOT EXISTS (SELECT 1 FROM $table t WHERE t.$key = c.id)"
  done
}

if [ "$1" = --clear ]; then
  is_uuid "$2"
  clear_copies "$2"
else
  is_uuid "$1"
  copy "$1" "$2"
fi
