#!/bin/sh
# The first process inside the user-mode Linux of the wire: modules, forwarding, the three tools, `wire ready`.
# Its consoles: tty0 the shell, tty1 tc, tty2 ip (see entrypoint.sh). Each new process costs 25 ms here.
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
# All three stay open from here on: input to a closed console is lost, and without this each would be closed
# for a moment between `wire ready` and its tool's own open.
exec </dev/tty0 >/dev/tty0 2>&1 3<>/dev/tty1 4<>/dev/tty2
fail() {
    printf 'wire failed inside user-mode Linux: %s\n' "$*"
    exit 1
}
mount -t proc proc /proc || fail "no /proc"
# Raw, because the line discipline would cut lines at 4,095 characters and echo its input.
stty raw -echo && stty -F /dev/tty1 raw -echo && stty -F /dev/tty2 raw -echo || fail "the consoles are not raw"
modprobe -a ${LAB_MODULE_ROOT:+-d "$LAB_MODULE_ROOT"} \
    ifb sch_netem sch_tbf sch_ingress cls_u32 act_mirred act_skbedit act_gact || fail "a module is missing"
cd /proc/sys/net/ipv4 || fail "no /proc/sys/net/ipv4"
# The same as the container's sysctls for a wire in the machine's kernel (lab.wire.container.SYSCTLS).
echo 1 >ip_forward
for conf in all default vec0; do
    echo 0 >conf/$conf/send_redirects
    echo 0 >conf/$conf/rp_filter
done
echo 0 >icmp_ratelimit
cd /
echo 4096 >/proc/sys/net/core/netdev_max_backlog
# With GRO on, netem would see one packet of 40 kB instead of 30: it must impair the lab's own packets.
ethtool -K vec0 gro off gso off tso off || fail "the offloads of vec0 cannot be switched off"
ip link set vec0 name "$LAB_DEV" mtu "$LAB_MTU" txqueuelen 10000 || fail "vec0 cannot be named $LAB_DEV"
tc -force -json -statistics -batch - </dev/tty1 >/dev/tty1 2>&1 &
ip -force -json -statistics -batch - </dev/tty2 >/dev/tty2 2>&1 &
read -r release </proc/sys/kernel/osrelease
printf 'wire ready kernel=%s\n' "$release"
exec "${0%/*}/shell.sh"
