"""The system calls of the default profile, grouped by what they are for.

The names are the kernel's, over all architectures: one that an architecture lacks is passed over there. What
stands in no group is refused; what is allowed only with certain arguments (clone, socket, personality) is in
`seccomp_profile`. syscalls(2).
"""

from types import MappingProxyType

# Allowed to every container.
ALLOWED = MappingProxyType(
    {
        "open, close and duplicate descriptors": (
            "open openat openat2 creat close close_range dup dup2 dup3 fcntl fcntl64 ioctl pipe pipe2 "
            "memfd_create memfd_secret"
        ),
        "read and write": (
            "read readv pread64 preadv preadv2 write writev pwrite64 pwritev pwritev2 lseek _llseek "
            "readahead sendfile sendfile64 splice tee vmsplice copy_file_range fadvise64 fadvise64_64"
        ),
        "look at files": (
            "stat stat64 lstat lstat64 fstat fstat64 fstatat64 newfstatat statx access faccessat faccessat2 "
            "readlink readlinkat getdents getdents64 getcwd name_to_handle_at"
        ),
        "make, rename and remove files": (
            "mkdir mkdirat mknod mknodat rmdir unlink unlinkat link linkat symlink symlinkat rename "
            "renameat renameat2 truncate truncate64 ftruncate ftruncate64 fallocate"
        ),
        "change owner, mode and times": (
            "chmod fchmod fchmodat fchmodat2 chown chown32 fchown fchown32 fchownat lchown lchown32 umask "
            "utime utimes utimensat utimensat_time64 futimesat"
        ),
        "extended attributes": (
            "getxattr lgetxattr fgetxattr getxattrat setxattr lsetxattr fsetxattr setxattrat listxattr "
            "llistxattr flistxattr listxattrat removexattr lremovexattr fremovexattr removexattrat"
        ),
        "file systems": (
            "statfs statfs64 fstatfs fstatfs64 sync syncfs fsync fdatasync sync_file_range statmount "
            "listmount flock chdir fchdir"
        ),
        "watch files": "inotify_init inotify_init1 inotify_add_watch inotify_rm_watch fanotify_mark",
        "wait for descriptors": (
            "select _newselect pselect6 pselect6_time64 poll ppoll ppoll_time64 epoll_create epoll_create1 "
            "epoll_ctl epoll_ctl_old epoll_wait epoll_wait_old epoll_pwait epoll_pwait2 eventfd eventfd2 "
            "signalfd signalfd4"
        ),
        "asynchronous input and output": (
            "io_setup io_destroy io_submit io_cancel io_getevents io_pgetevents io_pgetevents_time64"
        ),
        "memory": (
            "brk mmap mmap2 munmap mremap mprotect madvise mincore msync mlock mlock2 mlockall munlock "
            "munlockall mseal remap_file_pages cachestat pkey_alloc pkey_free pkey_mprotect "
            "map_shadow_stack membarrier"
        ),
        "sockets": (
            "socketpair bind listen accept accept4 connect shutdown getsockname getpeername getsockopt "
            "setsockopt send sendto sendmsg sendmmsg recv recvfrom recvmsg recvmmsg recvmmsg_time64 "
            "socketcall"
        ),
        "System V and POSIX inter-process communication": (
            "ipc msgget msgsnd msgrcv msgctl semget semop semtimedop semtimedop_time64 semctl shmget shmat "
            "shmdt shmctl mq_open mq_unlink mq_notify mq_getsetattr mq_timedsend mq_timedsend_time64 "
            "mq_timedreceive mq_timedreceive_time64"
        ),
        "make, replace and end processes": (
            "fork vfork execve execveat exit exit_group wait4 waitid waitpid pidfd_open pidfd_send_signal "
            "process_mrelease restart_syscall prctl seccomp landlock_create_ruleset landlock_add_rule "
            "landlock_restrict_self uretprobe"
        ),
        "identity of processes": (
            "getpid getppid gettid getpgid getpgrp getsid setpgid setsid set_tid_address"
        ),
        "users, groups and capabilities": (
            "getuid getuid32 geteuid geteuid32 getgid getgid32 getegid getegid32 getresuid getresuid32 "
            "getresgid getresgid32 getgroups getgroups32 setuid setuid32 setgid setgid32 setreuid "
            "setreuid32 setregid setregid32 setresuid setresuid32 setresgid setresgid32 setfsuid setfsuid32 "
            "setfsgid setfsgid32 setgroups setgroups32 capget capset"
        ),
        "threads": (
            "futex futex_time64 futex_wait futex_wake futex_waitv futex_requeue get_robust_list "
            "set_robust_list get_thread_area set_thread_area rseq"
        ),
        "signals": (
            "kill tkill tgkill pause sigaltstack sigprocmask sigreturn rt_sigaction rt_sigprocmask "
            "rt_sigpending rt_sigreturn rt_sigsuspend rt_sigqueueinfo rt_tgsigqueueinfo rt_sigtimedwait "
            "rt_sigtimedwait_time64"
        ),
        "clocks and timers": (
            "time times gettimeofday nanosleep alarm getitimer setitimer adjtimex clock_adjtime "
            "clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep "
            "clock_nanosleep_time64 timer_create timer_delete timer_getoverrun timer_gettime "
            "timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 "
            "timerfd_settime timerfd_settime64"
        ),
        "scheduling and priorities": (
            "sched_yield sched_getaffinity sched_setaffinity sched_getparam sched_setparam "
            "sched_getscheduler sched_setscheduler sched_getattr sched_setattr sched_get_priority_max "
            "sched_get_priority_min sched_rr_get_interval sched_rr_get_interval_time64 getpriority "
            "setpriority ioprio_get ioprio_set getcpu"
        ),
        "limits and information": (
            "getrlimit ugetrlimit setrlimit prlimit64 getrusage sysinfo uname getrandom riscv_hwprobe"
        ),
    }
)

# Allowed on one architecture (and on the 32-bit one it runs as well).
BY_ARCHITECTURE = MappingProxyType(
    {
        "amd64": "arch_prctl modify_ldt",
        "arm64": "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2",
    }
)

# Allowed since the kernel checks a traced call after the tracer has had its hands on it, and not before.
TRACING = "process_vm_readv process_vm_writev ptrace"

# Allowed to a container that has been given the capability without which the calls fail anyway.
BY_CAPABILITY = MappingProxyType(
    {
        "CAP_DAC_READ_SEARCH": "open_by_handle_at",
        "CAP_SYS_ADMIN": (
            "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr "
            "lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open "
            "quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare"
        ),
        "CAP_SYS_BOOT": "reboot",
        "CAP_SYS_CHROOT": "chroot",
        "CAP_SYS_MODULE": "delete_module init_module finit_module",
        "CAP_SYS_PACCT": "acct",
        "CAP_SYS_PTRACE": "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace",
        "CAP_SYS_RAWIO": "iopl ioperm",
        "CAP_SYS_TIME": "settimeofday stime clock_settime clock_settime64",
        "CAP_SYS_TTY_CONFIG": "vhangup",
        "CAP_SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
        "CAP_SYSLOG": "syslog",
        "CAP_BPF": "bpf",
        "CAP_PERFMON": "perf_event_open",
    }
)
