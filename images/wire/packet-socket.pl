#!/usr/bin/perl
# Opens a packet socket on an interface, starts user-mode Linux with it, and wakes it if it oversleeps.
#
#   packet-socket.pl DEVICE PROGRAM ARGUMENT…     `fd=SOCKET` in an argument becomes the socket's number
#
# Ends with the program's exit status. Why not the transports that user-mode Linux opens by itself:
# - transport=raw has a buffer of 208 kB, which overran 4,000 to 20,000 times in 4 s of bulk; this one has 64 MB.
# - transport=tap signals its reader before data is readable (tun_net_xmit: kill_fasync, then sk_data_ready): a
#   reader that looks in between finds nothing and sleeps. One packet in 300 waited until the next one came, up
#   to 30 s.
# User-mode Linux has a race of its own: a signal that comes between its last look and its sleep is handled only
# after the sleep (os_idle_sleep). So this program watches the socket from outside and signals again if something
# stays in it. `nohz=off` limits the same race for its consoles: it wakes every 10 ms.
use strict;
use warnings;
use Fcntl;
use POSIX ();
use Socket;

use constant {AF_PACKET => 17, SOL_PACKET => 263, PACKET_IGNORE_OUTGOING => 23, ETH_P_ALL => 3};
use constant {SO_SNDBUFFORCE => 32, SO_RCVBUFFORCE => 33};
use constant {PATIENCE => 0.0003, LONGEST => 0.05};    # seconds that a packet may wait before the first signal

my ($device, @program) = @ARGV;
my $awake = '/run/lab/awake';    # created when it reads from the socket: before that, it may not survive a SIGIO
open(my $file, '<', "/sys/class/net/$device/ifindex") or die "$device: $!\n";
chomp(my $index = <$file>);
close($file);

# Protocol 0 receives nothing until the socket is bound to the one interface.
socket(my $socket, AF_PACKET, SOCK_RAW, 0) or die "packet socket: $!\n";
for (['receive', SO_RCVBUFFORCE, SO_RCVBUF, 32 << 20], ['send', SO_SNDBUFFORCE, SO_SNDBUF, 4 << 20]) {
    my ($what, $force, $ask, $size) = @$_;
    next if setsockopt($socket, SOL_SOCKET, $force, pack('i', $size));
    warn "the $what buffer stays small: $!\n";    # an engine without root; its losses are counted
    setsockopt($socket, SOL_SOCKET, $ask, pack('i', $size));
}
setsockopt($socket, SOL_PACKET, PACKET_IGNORE_OUTGOING, pack('i', 1));    # Linux 4.20; nothing else sends here
bind($socket, pack('S n i S C C a8', AF_PACKET, ETH_P_ALL, $index, 0, 0, 0, '')) or die "bind to $device: $!\n";
fcntl($socket, F_SETFD, 0) or die "packet socket: $!\n";
my $number = fileno($socket);
s/fd=SOCKET/fd=$number/ for @program;

my $child = fork() // die "fork: $!\n";
if ($child == 0) {
    exec {$program[0]} @program;
    warn "$program[0]: $!\n";
    POSIX::_exit(127);
}

sub ended {
    my $status = $?;
    exit($status & 127 ? 128 + ($status & 127) : $status >> 8);
}

sub readable {
    my ($timeout) = @_;
    my $bits = '';
    vec($bits, $number, 1) = 1;
    return select($bits, undef, undef, $timeout) > 0;
}

local $SIG{CHLD} = sub { };    # a child that ends interrupts the waiting
while (1) {
    ended() if waitpid($child, POSIX::WNOHANG()) == $child;
    next unless readable(1);
    my $wait = PATIENCE;
    while (select(undef, undef, undef, $wait), readable(0)) {
        ended() if waitpid($child, POSIX::WNOHANG()) == $child;
        kill('IO', $child) if -e $awake;
        $wait = $wait * 2 < LONGEST ? $wait * 2 : LONGEST;
    }
}
