#!/bin/sh
# Called by udhcpc: take the address and the default route of a lease.
[ "$1" = bound ] || [ "$1" = renew ] || exit 0
bb=/bin/busybox
$bb ip -4 addr flush dev "$interface" scope global
$bb ip addr add "$ip/$mask" dev "$interface"
[ -z "$router" ] || $bb ip route add default via "$router"
if [ -n "$dns" ]; then for server in $dns; do echo "nameserver $server"; done > /etc/resolv.conf; fi
exit 0
