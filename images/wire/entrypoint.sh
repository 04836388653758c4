#!/bin/sh
# The wire's main process. It chooses the kernel that impairs, brings it up, and passes the lab's commands on.
#
#   entrypoint.sh [auto|kernel|uml|route] [CPU]
#
# `route`: nothing will be impaired, so the machine's kernel routes, and neither netem nor another kernel is
# needed; if it cannot route, `route` means `auto`. CPU is the number of user-mode Linux's CPU: 0 is the first that
# this container may use, and numbers past the last wrap around.
#
# To stdout, one line each (`wire` is the first word of every line that is the lab's own):
#   wire hello kind=KIND router=IPTABLES dev=DEV mac=MAC mtu=MTU machine=RELEASE reason=TEXT…
#       IPTABLES filters in a wire that only routes; empty if tc impairs
#   wire ready kernel=RELEASE           its tools wait for commands
#   wire unable TEXT…                   no kernel that it may use can impair; the process ends
#   wire failed TEXT…                   it cannot be a wire for another reason; the process ends
#   wire dead STATUS                    the user-mode Linux ended; the process ends
# From stdin, one line each, by its first word:
#   tc LINE, ip LINE   a line for `tc -batch` or `ip -batch`, each ONE process that lives as long as the wire:
#                      a new process inside user-mode Linux costs 25 to 100 ms, a line to a living one 1 ms
#   sh LINE            a line for a shell beside them
#   out LINE           a line for this shell, outside of user-mode Linux
# Their output comes back on stdout; the lab sends one request at a time and ends it with a line whose answer
# is known.
set -u
wanted=${1:-auto}
number=${2:-0}
here=$(dirname "$0")
run=/run/lab
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

fail() {
    printf 'wire failed %s\n' "$*"
    exit 1
}

unable() {
    printf 'wire unable %s\n' "$*"
    exit 1
}

# The one interface with a peer outside this namespace; the engine chooses its name.
find_device() {
    for path in /sys/class/net/*; do
        read -r type <"$path/type"
        read -r index <"$path/ifindex"
        read -r peer <"$path/iflink"
        if [ "$type" = 1 ] && [ "$index" != "$peer" ]; then
            dev=${path##*/}
            return
        fi
    done
    fail "there is no network interface in the wire's container"
}

# Tries everything that the wire needs of a kernel on this one. Sets `refusal` to what went wrong.
try_kernel() {
    refusal=$(
        {
            ip link add labprobe type ifb && tc -batch - <<'EOF'
qdisc add dev labprobe root handle 1: netem delay 1ms limit 100
qdisc add dev labprobe parent 1:1 handle 10: tbf rate 1mbit burst 10000b limit 100000b
qdisc add dev labprobe clsact
filter add dev labprobe ingress protocol ip prio 1 u32 match ip src 192.0.2.1/32 action skbedit mark 1 continue
filter add dev labprobe ingress protocol ip prio 2 u32 match ip src 192.0.2.2/32 action drop
filter add dev labprobe egress protocol ip prio 3 u32 match ip dst 192.0.2.3/32 action mirred egress redirect dev labprobe
EOF
        } 2>&1
    ) && refusal=
    ip link del labprobe 2>/dev/null
    if [ -n "$refusal" ]; then
        refusal=$(printf '%s' "$refusal" | head -n 1)
        return 1
    fi
    can_forward
}

can_forward() {
    read -r forward </proc/sys/net/ipv4/ip_forward
    [ "$forward" = 1 ] || refusal="net.ipv4.ip_forward is 0 in the wire's container"
    [ -z "$refusal" ]
}

# Forwards nothing until the lab says for which hosts, and sends no ICMP redirect (the sysctl that stops them is
# read-only in a container). Sets `router` to the iptables that works, or `refusal`.
try_router() {
    for router in iptables-legacy iptables-nft; do
        refusal=$("$router-restore" 2>&1 <<'EOF'
*filter
:FORWARD DROP
-A OUTPUT -p icmp --icmp-type redirect -j DROP
COMMIT
EOF
        ) && refusal= && break
    done
    can_forward || router=
    [ -z "$refusal" ]
}

# Sets `refusal` if a user-mode Linux cannot boot here.
try_uml() {
    refusal=
    machine=$(uname -m)
    if [ "$machine" != x86_64 ]; then
        refusal="user-mode Linux exists for x86_64 only, this is $machine"
    elif ! command -v linux.uml >/dev/null; then
        refusal="the wire's image has no linux.uml"
    elif ! cp /bin/true "$run/try" || ! "$run/try"; then
        refusal="$run in the wire's container is not a file system that executes"
    fi
    [ -z "$refusal" ]
}

# netem has no table for the uniform distribution, but a link that had another one must be able to return to it.
# The format: 4,096 numbers, x times 8,192 for x from -1 to 1.
distributions() {
    mkdir -p "$run/tc"
    for table in /usr/lib/tc/*.dist /usr/lib/*/tc/*.dist /usr/share/tc/*.dist; do
        [ -e "$table" ] && ln -sf "$table" "$run/tc/"
    done
    awk 'BEGIN { for (i = 0; i < 4096; i++) print (i - 2048) * 4 + 2 }' >"$run/tc/uniform.dist"
    export TC_LIB_DIR="$run/tc"
}

# Prints the CPUs that this process may use, one word each.
cpus() {
    while read -r key value; do
        [ "$key" = Cpus_allowed_list: ] || continue
        IFS=,
        for range in $value; do
            seq "${range%-*}" "${range#*-}"
        done
    done </proc/self/status
}

# One CPU for all of user-mode Linux. Its kernel and its processes take turns (ptrace), and a turn that crosses
# CPUs takes about three times as long: boot 0.35 s instead of 0.12 s, a process 80 ms instead of 25 ms. A host
# answers a packet on the CPU that brings it, so the hosts have the same one (lab_agent/pinning.py); otherwise
# their packets overtake each other.
choose_cpu() {
    set -- $(cpus)
    shift $((number % $#))
    cpu=$1
}

# The container's own kernel steps aside: user-mode Linux has its address and its MAC. Without an address and
# with a black hole for every route it answers nothing and forwards nothing.
stand_aside() {
    ip -batch - <<EOF || fail "the container's own kernel cannot step aside"
addr flush dev $dev
link set $dev arp off promisc on
route add blackhole default
EOF
    ethtool -K "$dev" gro off gso off tso off || fail "the offloads of $dev cannot be switched off"
}

# `initcall_blacklist` and `lpj` skip the initialisation of things that the wire never uses: the raid6
# benchmark (0.85 s), the calibration of a delay loop (0.14 s), compressed swap, file systems, the crypto manager.
boot_uml() {
    stand_aside
    choose_cpu
    export TMPDIR="$run" HOME="$run"
    # Its consoles must not share an open file with this shell or each other: it makes them non-blocking.
    {
        perl "$here/packet-socket.pl" "$dev" taskset -c "$cpu" linux.uml mem="${LAB_WIRE_MEMORY:-512M}" umid=wire uml_dir="$run" \
            root=/dev/root rootfstype=hostfs rw init="$here/uml-init.pl" \
            con=null con0=fd:0,fd:1 con1=fd:4,fd:8 con2=fd:5,fd:9 stderr=1 quiet loglevel=1 \
            lpj=35000000 nohz=off ifb.numifbs=0 selinux=0 audit=0 panic=-1 noreboot \
            initcall_blacklist=raid6_select_algo,init_zswap,strp_dev_init,init_btrfs_fs,init_jfs_fs,init_xfs_fs,pty_init,crypto_algapi_init \
            "vec0:transport=fd,fd=SOCKET,depth=256,gro=0,mac=$mac" \
            "LAB_DEV=$dev" "LAB_MTU=$mtu" "TC_LIB_DIR=$TC_LIB_DIR" \
            <"$run/sh.in" 4<"$run/tc.in" 5<"$run/ip.in" 6>&- \
            8>>/proc/self/fd/1 9>>/proc/self/fd/1 >>/proc/self/fd/1
        printf 'wire dead %s\n' "$?"
        kill -TERM $$
    } &
}

# The lab says when: see packet-socket.pl.
awake() { : >"$run/awake"; }

read_commands() {
    while IFS= read -r line; do
        case $line in
        'tc '*) printf '%s\n' "${line#tc }" >&4 ;;
        'ip '*) printf '%s\n' "${line#ip }" >&5 ;;
        'sh '*) printf '%s\n' "${line#sh }" >&6 ;;
        'out '*) eval "${line#out }" ;;
        *) printf 'wire failed not a command: %s\n' "$line" ;;
        esac
    done
}

mkdir -p "$run"
# A container's first process has no default signal actions: without this a signal would do nothing.
trap 'exit 1' TERM INT
find_device
read -r mac <"/sys/class/net/$dev/address"
read -r mtu <"/sys/class/net/$dev/mtu"
release=$(uname -r)
router=
if [ "$wanted" = route ]; then
    wanted=auto
    if try_router; then
        wanted=
        kind=kernel
        reason="nothing is impaired: the machine's kernel $release routes"
    fi
fi
case $wanted in
'') ;;
kernel)
    try_kernel || unable "kernel: the machine's kernel $release cannot impair: $refusal"
    kind=kernel
    reason="asked for; the machine's kernel $release does netem, tbf, ifb, u32 and mirred (tried)"
    ;;
uml)
    try_uml || unable "uml: $refusal"
    kind=uml
    reason="asked for"
    ;;
auto)
    if try_kernel; then
        kind=kernel
        reason="the machine's kernel $release does netem, tbf, ifb, u32 and mirred (tried)"
    else
        reason="the machine's kernel $release cannot impair: $refusal"
        try_uml || unable "auto: $reason; and $refusal"
        kind=uml
    fi
    ;;
*) fail "the wire is auto, kernel, uml or route, not $wanted" ;;
esac
printf 'wire hello kind=%s router=%s dev=%s mac=%s mtu=%s machine=%s reason=%s\n' \
    "$kind" "$router" "$dev" "$mac" "$mtu" "$release" "$reason"
distributions
# Opened in both directions: opening a pipe in one would wait for the other end.
mkfifo "$run/tc.in" "$run/ip.in" "$run/sh.in"
exec 4<>"$run/tc.in" 5<>"$run/ip.in" 6<>"$run/sh.in"
if [ "$kind" = uml ]; then
    boot_uml
else
    tc -force -json -statistics -batch - <"$run/tc.in" 4>&- 5>&- 6>&- 2>&1 &
    ip -force -json -statistics -batch - <"$run/ip.in" 4>&- 5>&- 6>&- 2>&1 &
    "$here/shell.sh" <"$run/sh.in" 4>&- 5>&- 6>&- 2>&1 &
    printf 'wire ready kernel=%s\n' "$release"
fi
read_commands
