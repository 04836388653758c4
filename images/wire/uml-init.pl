#!/usr/bin/perl -w
# The first process inside the user-mode Linux of the wire: modules, forwarding, the three tools, `wire ready`.
# Its consoles: tty0 the shell, tty1 tc, tty2 ip (see entrypoint.sh).
#
# A new process costs 25 ms in user-mode Linux. A shell script with mount, stty, modprobe, ethtool and ip took 0.16 s
# of every start; with their system calls made here it takes 0.05 s. A Perl module costs 7 ms, so it uses none, not
# even `strict`, under which it compiles. The numbers are those of x86_64, the only architecture that user-mode
# Linux runs on.

sub SYS_MOUNT () { 165 }
sub SYS_FINIT_MODULE () { 313 }
sub TCGETS () { 0x5401 }
sub TCSETS () { 0x5402 }
sub OPOST () { 1 }
sub ISIG_ICANON_ECHO () { 1 | 2 | 8 }
sub VTIME () { 5 }
sub VMIN () { 6 }
sub AF_INET () { 2 }
sub SOCK_DGRAM () { 2 }
sub SIOCETHTOOL () { 0x8946 }
sub SIOCSIFMTU () { 0x8922 }
sub SIOCSIFNAME () { 0x8923 }
sub SIOCSIFTXQLEN () { 0x8943 }
my @offloads = (['gro', 0x2c, 0x2b], ['gso', 0x24, 0x23], ['tso', 0x1f, 0x1e]);    # the commands to set and to read it
my @modules = qw(
    drivers/net/ifb net/sched/sch_netem net/sched/sch_tbf net/sched/sch_ingress net/sched/cls_u32
    net/sched/act_mirred net/sched/act_skbedit net/sched/act_gact
);

$ENV{LC_ALL} = 'C';
$ENV{PATH} = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
$| = 1;

sub fail {
    print "wire failed inside user-mode Linux: @_\n";
    exit 1;
}

# Raw, because the line discipline would cut lines at 4,095 characters and echo its input.
sub console {
    my ($path) = @_;
    open(my $tty, '+<', $path) or fail("$path: $!");
    my $settings = "\0" x 36;
    ioctl($tty, TCGETS, $settings) or fail("$path: TCGETS: $!");
    my ($in, $out, $control, $local, @rest) = unpack('L4C20', $settings);    # rest: line discipline, characters
    @rest[1 + VTIME, 1 + VMIN] = (0, 1);
    $settings = pack('L4C20', 0, $out & ~OPOST, $control, $local & ~ISIG_ICANON_ECHO, @rest);
    ioctl($tty, TCSETS, $settings) or fail("$path is not raw: $!");
    return $tty;
}

sub load {
    my ($module, $release) = @_;
    my $path = "/lib/modules/$release/kernel/$module.ko";
    open(my $file, '<', $path) or fail("$path: $!");
    syscall(SYS_FINIT_MODULE, fileno($file), my $options = '', 0) == 0 or fail("module $module: $!");
}

sub put {
    my ($path, $value) = @_;
    open(my $file, '>', $path) or fail("$path: $!");
    syswrite($file, $value) or fail("$path: $value: $!");
}

sub get {
    my ($path) = @_;
    open(my $file, '<', $path) or fail("$path: $!");
    chomp(my $line = <$file>);
    return $line;
}

sub offload {
    my ($socket, $command) = @_;
    my $value = pack('LL', $command, 0);
    my $request = pack('a16P', 'vec0', $value);
    return ioctl($socket, SIOCETHTOOL, $request) && unpack('x4L', $value);
}

sub interface {
    my ($socket, $what, $request, $argument) = @_;
    ioctl($socket, $request, $argument) or fail("vec0: $what: $!");
}

sub start {
    my ($tty, @program) = @_;
    my $child = fork() // fail("fork: $!");
    return if $child;
    open(STDIN, '<&', $tty) && open(STDOUT, '>&', $tty) && open(STDERR, '>&', $tty) or fail("console: $!");
    exec(@program) or fail("$program[0]: $!");
}

# All three stay open from here on: input to a closed console is lost, and without this each would be closed
# for a moment between `wire ready` and its tool's own open.
my $shell = console('/dev/tty0');
open(STDIN, '<&', $shell) && open(STDOUT, '>&', $shell) && open(STDERR, '>&', $shell) or exit 1;
my ($tc, $ip) = map { console($_) } '/dev/tty1', '/dev/tty2';
my ($proc, $path) = ('proc', '/proc');    # syscall takes no string literals
syscall(SYS_MOUNT, $proc, $path, $proc, 0, 0) == 0 or fail("/proc: $!");
my $release = get('/proc/sys/kernel/osrelease');
load($_, $release) for @modules;

# The same as the container's sysctls for a wire in the machine's kernel (lab.wire.container.SYSCTLS).
put('/proc/sys/net/ipv4/ip_forward', 1);
for my $interface (qw(all default vec0)) {
    put("/proc/sys/net/ipv4/conf/$interface/$_", 0) for qw(send_redirects rp_filter);
}
put('/proc/sys/net/ipv4/icmp_ratelimit', 0);
put('/proc/sys/net/core/netdev_max_backlog', 4096);

socket(my $socket, AF_INET, SOCK_DGRAM, 0) or fail("socket: $!");
# With GRO on, netem would see one packet of 40 kB instead of 30: it must impair the lab's own packets.
for (@offloads) {
    my ($name, $set, $read) = @$_;
    offload($socket, $set) if offload($socket, $read);
    fail("vec0: $name cannot be switched off: $!") if offload($socket, $read) // 1;
}
interface($socket, 'mtu', SIOCSIFMTU, pack('a16i', 'vec0', $ENV{LAB_MTU}));
interface($socket, 'txqueuelen', SIOCSIFTXQLEN, pack('a16i', 'vec0', 10_000));
interface($socket, "cannot be named $ENV{LAB_DEV}", SIOCSIFNAME, pack('a16a16', 'vec0', $ENV{LAB_DEV}));
close($socket);

# The lab asks ip first.
start($ip, qw(ip -force -json -statistics -batch -));
start($tc, qw(tc -force -json -statistics -batch -));
print "wire ready kernel=$release\n";
# Starting the shell now would delay the other two: it starts at its first input.
select(my $spoken = "\1", undef, undef, undef) == 1 or fail("select: $!");
exec($0 =~ s{[^/]*\z}{shell.sh}r) or fail("shell.sh: $!");
