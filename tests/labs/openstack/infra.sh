#!/bin/bash
# Starts MariaDB, RabbitMQ and memcached on loopback, without systemd. Idempotent.
# Databases begin where the lab's set-up ended ($PLACE/pristine): fake hypervisors forget their servers with each start.
set -eu
. "$(dirname "$0")/env.sh"
if ! alive mariadb; then
  rm -rf "$PLACE/mysql"
  if [ -d "$PLACE/pristine" ]; then
    cp -a "$PLACE/pristine" "$PLACE/mysql"
  else
    mkdir -p "$PLACE/mysql"
    mariadb-install-db --no-defaults --datadir="$PLACE/mysql" --auth-root-authentication-method=normal --skip-test-db \
      --user=root --innodb-log-file-size=32M >"$LOG_DIR/mariadb-install.log" 2>&1
  fi
  start mariadb mariadbd --no-defaults --user=root --datadir="$PLACE/mysql" --bind-address=127.0.0.1 --port="$DB_PORT" \
    --socket="$RUN/mysql.sock" --pid-file="$RUN/mariadbd.pid" --max-connections=600 --innodb-buffer-pool-size=256M \
    --innodb-log-file-size=32M --innodb-flush-log-at-trx-commit=0 --character-set-server=utf8mb3
fi
start memcached memcached -u root -l 127.0.0.1 -p "$CACHE_PORT" -m 64 -c 2048
if ! alive rabbitmq; then
  rm -rf "$PLACE/rabbit"
  mkdir -p "$PLACE/rabbit/log"
  printf 'listeners.tcp.1 = 127.0.0.1:%s\nloopback_users = none\n' "$MQ_PORT" >"$ETC/rabbitmq.conf"
  echo '[].' >"$ETC/rabbitmq-plugins"
  start rabbitmq env RABBITMQ_NODENAME=cloudmgrlab@localhost RABBITMQ_CONFIG_FILE="$ETC/rabbitmq.conf" \
    RABBITMQ_MNESIA_BASE="$PLACE/rabbit" RABBITMQ_LOG_BASE="$PLACE/rabbit/log" RABBITMQ_DIST_PORT="$MQ_DIST_PORT" \
    RABBITMQ_PID_FILE="$RUN/rabbit.erl.pid" RABBITMQ_ENABLED_PLUGINS_FILE="$ETC/rabbitmq-plugins" HOME="$PLACE" \
    ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT="$EPMD_PORT" \
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +S 1:1" \
    /usr/lib/rabbitmq/bin/rabbitmq-server
fi
wait_for MariaDB 60 sql -e 'select 1'
wait_for RabbitMQ 120 listening "$MQ_PORT"
wait_for memcached 20 listening "$CACHE_PORT"
if [ ! -d "$PLACE/pristine" ]; then
  for name in keystone glance placement nova_api nova nova_cell0 neutron cinder; do
    echo "CREATE DATABASE IF NOT EXISTS $name CHARACTER SET utf8mb3;"
  done | sql
  for host in 127.0.0.1 localhost; do
    echo "CREATE USER IF NOT EXISTS lab@'$host' IDENTIFIED BY '$SECRET'; GRANT ALL ON *.* TO lab@'$host';"
  done | sql
fi
