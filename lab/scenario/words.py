"""The words that a scenario may use for errors, options, states and signals of the kernel.

The lists are static, not taken from Python's modules: a scenario is valid on every machine or on none, and
the names are Linux's, where the hosts run.
"""

from __future__ import annotations

#: Linux's errno names, and in `ERROR_ALIASES` their second names.
ERRNOS = frozenset(
    """
    EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT ENOTBLK
    EBUSY EEXIST EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE
    EROFS EMLINK EPIPE EDOM ERANGE EDEADLK ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY ELOOP ENOMSG EIDRM
    ECHRNG EL2NSYNC EL3HLT EL3RST ELNRNG EUNATCH ENOCSI EL2HLT EBADE EBADR EXFULL ENOANO EBADRQC EBADSLT
    EBFONT ENOSTR ENODATA ETIME ENOSR ENONET ENOPKG EREMOTE ENOLINK EADV ESRMNT ECOMM EPROTO EMULTIHOP
    EDOTDOT EBADMSG EOVERFLOW ENOTUNIQ EBADFD EREMCHG ELIBACC ELIBBAD ELIBSCN ELIBMAX ELIBEXEC EILSEQ
    ERESTART ESTRPIPE EUSERS ENOTSOCK EDESTADDRREQ EMSGSIZE EPROTOTYPE ENOPROTOOPT EPROTONOSUPPORT
    ESOCKTNOSUPPORT EOPNOTSUPP EPFNOSUPPORT EAFNOSUPPORT EADDRINUSE EADDRNOTAVAIL ENETDOWN ENETUNREACH
    ENETRESET ECONNABORTED ECONNRESET ENOBUFS EISCONN ENOTCONN ESHUTDOWN ETOOMANYREFS ETIMEDOUT
    ECONNREFUSED EHOSTDOWN EHOSTUNREACH EALREADY EINPROGRESS ESTALE EUCLEAN ENOTNAM ENAVAIL EISNAM
    EREMOTEIO EDQUOT ENOMEDIUM EMEDIUMTYPE ECANCELED ENOKEY EKEYEXPIRED EKEYREVOKED EKEYREJECTED
    EOWNERDEAD ENOTRECOVERABLE ERFKILL EHWPOISON
    """.split()  # noqa: SIM905 (a literal list of these is unreadable)
)
ERROR_ALIASES = {"EWOULDBLOCK": "EAGAIN", "ENOTSUP": "EOPNOTSUPP", "EDEADLOCK": "EDEADLK"}

#: Not the kernel's: the socket's own timeout, the end of the stream before recv_exactly had all its bytes,
#: and the end of the calling process.
LAB_ERRORS = ("timeout", "EOF", "killed", "gaierror")

#: The kernel's names of TCP states, as in sock_diag and the results.
STATES = (
    "LISTEN",
    "SYN_SENT",
    "SYN_RECV",
    "NEW_SYN_RECV",
    "ESTABLISHED",
    "FIN_WAIT1",
    "FIN_WAIT2",
    "CLOSE_WAIT",
    "CLOSING",
    "LAST_ACK",
    "TIME_WAIT",
    "CLOSE",
)
#: RFC 9293's and netstat's spellings of the same states.
STATE_ALIASES = {
    "FIN_WAIT_1": "FIN_WAIT1",
    "FIN_WAIT_2": "FIN_WAIT2",
    "SYN_RECEIVED": "SYN_RECV",
    "SYN_RCVD": "SYN_RECV",
    "CLOSED": "CLOSE",
}

SIGNALS = (
    *("HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE"),
    *("ALRM", "TERM", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "WINCH"),
)

#: What a scenario may `require`; a missing one makes the case SKIP.
REQUIREMENTS = ("netem", "ipv6", "swarm")

#: Groups of counters as nstat joins them with a counter's own name: TcpExt + ListenOverflows.
COUNTER_GROUPS = (
    *("TcpExt", "Tcp", "UdpLite6", "UdpLite", "Udp6", "Udp", "IcmpMsg", "Icmp6", "Icmp", "IpExt", "Ip6"),
    *("Ip", "MPTcpExt"),
)
