# Sourced by every script here: where the lab lives, which ports it listens on, and how its daemons are started.
# The ports lie above those the system gives to outgoing connections (32768-60999) and those tests choose (tests/ports.py).
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
PLACE=${LAB:-${XDG_CACHE_HOME:-$HOME/.cache}/cloudmgr-lab}/openstack
VENV=$PLACE/venv
BIN=$VENV/bin
ETC=$PLACE/etc
RUN=$PLACE/run
LOG_DIR=$PLACE/log
export HERE PLACE VENV BIN ETC RUN LOG_DIR
export DB_PORT=61306 MQ_PORT=61673 MQ_DIST_PORT=61674 EPMD_PORT=61436 CACHE_PORT=61311
export KEYSTONE_PORT=61500 NOVA_PORT=61874 PLACEMENT_PORT=61878 GLANCE_PORT=61292 NEUTRON_PORT=61696 CINDER_PORT=61876 VNC_PORT=61680
export SECRET=labpw NX86=${NX86:-1} NARM=${NARM:-2}
mkdir -p "$ETC" "$RUN" "$LOG_DIR"

database() { echo "mysql+pymysql://lab:$SECRET@127.0.0.1:$DB_PORT/$1?charset=utf8"; }
sql() { mariadb --no-defaults -uroot -S "$RUN/mysql.sock" -N "$@"; }

# A daemon that was killed and not reaped (no init here) still has a number: only one that runs counts.
alive() { # NAME
  local pid
  pid=$(cat "$RUN/$1.pid" 2>/dev/null) || return 1
  case $(ps -o stat= -p "$pid" 2>/dev/null) in Z* | "") return 1 ;; esac
}

# Starts a daemon in a session of its own, without the caller's pipes and locks, and remembers its number.
start() { # NAME COMMAND…
  local name=$1
  shift
  alive "$name" && return 0
  setsid nohup "$@" >"$LOG_DIR/$name.log" 2>&1 </dev/null 9>&- &
  echo $! >"$RUN/$name.pid"
}

stop() { # NAME: asks the daemon's whole group to end, and after five seconds ends it
  local pid
  if alive "$1"; then
    pid=$(cat "$RUN/$1.pid")
    kill -TERM -- "-$pid" 2>/dev/null
    for _ in $(seq "${2:-10}"); do
      case $(ps -o stat= -g "$pid" 2>/dev/null | grep -v '^Z') in "") break ;; esac
      sleep 0.5
    done
    kill -KILL -- "-$pid" 2>/dev/null
  fi
  rm -f "$RUN/$1.pid"
}

listening() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

wait_for() { # WHAT LIMIT_S COMMAND…
  local what=$1 end=$((SECONDS + $2))
  shift 2
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || {
      echo "openstack lab: $what is not there in time; see $LOG_DIR" >&2
      return 1
    }
    sleep 0.5
  done
}

answers() { case $(curl -s -m 5 -o /dev/null -w '%{http_code}' "http://127.0.0.1:$1") in 2* | 3*) ;; *) return 1 ;; esac; }
