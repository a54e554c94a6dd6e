//! The system calls that a plugin may make; any other fails with EPERM.
//!
//! The list names what is allowed, so that a call which a later kernel adds is refused. Landlock decides which
//! files can be reached by the calls about files. Calls that change what Landlock doesn't govern (modes, owners,
//! times) are not in the list.

use std::collections::BTreeMap;

use libc::*;
use seccompiler::{
    BackendError, SeccompCmpArgLen::Dword, SeccompCmpOp, SeccompCondition, SeccompRule,
};

use crate::permissions::{Network, Permissions};

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Calls that fail as if the kernel were too old for them (ENOSYS). A filter can't see their arguments, which
/// lie in memory; libraries fall back to an older call, whose arguments it sees.
pub(super) const ABSENT: [i64; 2] = [SYS_clone3, SYS_openat2];

/// What every plugin may call: for memory, time, threads, files that are open already, and to open files, where
/// Landlock decides which.
const ALWAYS: &[i64] = &[
    SYS_brk,
    SYS_mmap,
    SYS_mprotect,
    SYS_mremap,
    SYS_munmap,
    SYS_madvise,
    SYS_mincore,
    SYS_membarrier,
    SYS_clock_getres,
    SYS_clock_gettime,
    SYS_clock_nanosleep,
    SYS_gettimeofday,
    SYS_nanosleep,
    SYS_exit,
    SYS_exit_group,
    SYS_futex,
    SYS_get_robust_list,
    SYS_set_robust_list,
    SYS_restart_syscall,
    SYS_rseq,
    SYS_set_tid_address,
    SYS_sched_getaffinity,
    SYS_sched_yield,
    SYS_getcpu,
    SYS_rt_sigaction,
    SYS_rt_sigpending,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_rt_sigsuspend,
    SYS_rt_sigtimedwait,
    SYS_sigaltstack,
    SYS_getegid,
    SYS_geteuid,
    SYS_getgid,
    SYS_getpgid,
    SYS_getpid,
    SYS_getppid,
    SYS_gettid,
    SYS_getuid,
    SYS_getrandom,
    SYS_getrusage,
    SYS_sysinfo,
    SYS_times,
    SYS_umask,
    SYS_uname,
    SYS_close,
    SYS_close_range,
    SYS_dup,
    SYS_dup3,
    SYS_epoll_create1,
    SYS_epoll_ctl,
    SYS_epoll_pwait,
    SYS_epoll_pwait2,
    SYS_eventfd2,
    SYS_lseek,
    SYS_pipe2,
    SYS_ppoll,
    SYS_pread64,
    SYS_preadv,
    SYS_preadv2,
    SYS_pselect6,
    SYS_pwrite64,
    SYS_pwritev,
    SYS_pwritev2,
    SYS_read,
    SYS_readv,
    SYS_timerfd_create,
    SYS_timerfd_gettime,
    SYS_timerfd_settime,
    SYS_write,
    SYS_writev,
    SYS_faccessat,
    SYS_faccessat2,
    SYS_fstat,
    SYS_fstatfs,
    SYS_getcwd,
    SYS_getdents64,
    SYS_newfstatat,
    SYS_openat,
    SYS_readlinkat,
    SYS_statfs,
    SYS_statx,
    // These get through here, and fail by the filter for `ABSENT`.
    SYS_clone3,
    SYS_openat2,
];

/// Older forms of calls in [`ALWAYS`], which architectures newer than x86_64 don't have.
#[cfg(target_arch = "x86_64")]
const OLDER: &[i64] = &[
    SYS_access,
    SYS_arch_prctl,
    SYS_dup2,
    SYS_epoll_create,
    SYS_epoll_wait,
    SYS_eventfd,
    SYS_getpgrp,
    SYS_lstat,
    SYS_open,
    SYS_pipe,
    SYS_poll,
    SYS_readlink,
    SYS_select,
    SYS_stat,
    SYS_time,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[i64] = &[];

/// The commands of fcntl(2) that are allowed: for a descriptor's own flags and for locks.
const FCNTLS: [i32; 10] = [
    F_DUPFD,
    F_DUPFD_CLOEXEC,
    F_GETFD,
    F_SETFD,
    F_GETFL,
    F_SETFL,
    F_GETLK,
    F_SETLK,
    F_SETLKW,
    F_GETPIPE_SZ,
];

/// The flags of clone(2) that make new namespaces.
const NAMESPACES: i32 = CLONE_NEWNS
    | CLONE_NEWCGROUP
    | CLONE_NEWUTS
    | CLONE_NEWIPC
    | CLONE_NEWUSER
    | CLONE_NEWPID
    | CLONE_NEWNET;

/// What a plugin may call that has directories to write to.
const WRITING: &[i64] = &[
    SYS_fallocate,
    SYS_fdatasync,
    SYS_flock,
    SYS_fsync,
    SYS_ftruncate,
    SYS_linkat,
    SYS_mkdirat,
    SYS_renameat2,
    SYS_symlinkat,
    SYS_unlinkat,
];
#[cfg(target_arch = "x86_64")]
const WRITING_OLDER: &[i64] =
    &[SYS_creat, SYS_link, SYS_mkdir, SYS_rename, SYS_renameat, SYS_rmdir, SYS_symlink, SYS_unlink];
#[cfg(target_arch = "aarch64")]
const WRITING_OLDER: &[i64] = &[SYS_renameat];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const WRITING_OLDER: &[i64] = &[];

/// What a plugin may call that has sockets of its own.
const NETWORKING: &[i64] = &[
    SYS_bind,
    SYS_connect,
    SYS_getpeername,
    SYS_getsockname,
    SYS_getsockopt,
    SYS_recvfrom,
    SYS_recvmmsg,
    SYS_recvmsg,
    SYS_sendmmsg,
    SYS_sendmsg,
    SYS_sendto,
    SYS_setsockopt,
    SYS_shutdown,
];

/// What no program that a plugin starts may call: other processes, other privileges, the kernel
/// itself, and sockets unless they are granted.
const NEVER: &[i64] = &[
    SYS_acct,
    SYS_add_key,
    SYS_adjtimex,
    SYS_bpf,
    SYS_chroot,
    SYS_clock_adjtime,
    SYS_clock_settime,
    SYS_delete_module,
    SYS_fanotify_init,
    SYS_finit_module,
    SYS_fsconfig,
    SYS_fsmount,
    SYS_fsopen,
    SYS_fspick,
    SYS_init_module,
    SYS_io_uring_enter,
    SYS_io_uring_register,
    SYS_io_uring_setup,
    SYS_kcmp,
    SYS_kexec_load,
    SYS_keyctl,
    SYS_lookup_dcookie,
    SYS_mount,
    SYS_mount_setattr,
    SYS_move_mount,
    SYS_move_pages,
    SYS_name_to_handle_at,
    SYS_open_by_handle_at,
    SYS_open_tree,
    SYS_perf_event_open,
    SYS_personality,
    SYS_pidfd_getfd,
    SYS_pidfd_open,
    SYS_pidfd_send_signal,
    SYS_pivot_root,
    SYS_process_madvise,
    SYS_process_vm_readv,
    SYS_process_vm_writev,
    SYS_ptrace,
    SYS_quotactl,
    SYS_reboot,
    SYS_request_key,
    SYS_ioprio_set,
    SYS_sched_setaffinity,
    SYS_sched_setattr,
    SYS_sched_setparam,
    SYS_sched_setscheduler,
    SYS_setpriority,
    SYS_setdomainname,
    SYS_sethostname,
    SYS_setns,
    SYS_settimeofday,
    SYS_swapoff,
    SYS_swapon,
    SYS_syslog,
    SYS_umount2,
    SYS_unshare,
    SYS_userfaultfd,
    SYS_vhangup,
    // These change what Landlock doesn't govern.
    SYS_fchmod,
    SYS_fchmodat,
    SYS_fchown,
    SYS_fchownat,
    SYS_utimensat,
    SYS_setxattr,
    SYS_lsetxattr,
    SYS_fsetxattr,
    SYS_removexattr,
    SYS_lremovexattr,
    SYS_fremovexattr,
    SYS_truncate,
    // System V's and POSIX's queues, semaphores and memory are shared with every process of the user.
    SYS_mq_open,
    SYS_mq_unlink,
    SYS_msgctl,
    SYS_msgget,
    SYS_msgrcv,
    SYS_msgsnd,
    SYS_semctl,
    SYS_semget,
    SYS_semop,
    SYS_semtimedop,
    SYS_shmat,
    SYS_shmctl,
    SYS_shmdt,
    SYS_shmget,
];
#[cfg(target_arch = "x86_64")]
const NEVER_OLDER: &[i64] = &[
    SYS_chmod,
    SYS_chown,
    SYS_lchown,
    SYS_futimesat,
    SYS_ioperm,
    SYS_iopl,
    SYS_modify_ldt,
    SYS_uselib,
    SYS_utime,
    SYS_utimes,
    SYS_kexec_file_load,
];
#[cfg(not(target_arch = "x86_64"))]
const NEVER_OLDER: &[i64] = &[];

/// The number of futex_waitv(2). Programs that the plugin starts may make the calls up to this number that
/// [`NEVER`] doesn't name. They can do without later ones, such as fchmodat2(2).
const LAST_KNOWN: i64 = 449;

/// The calls that a process with these permissions may make, with the arguments that they may have. `own` is the
/// number of the process.
pub(super) fn allowed(permissions: &Permissions, own: u32) -> Result<Rules, BackendError> {
    let direct = permissions.network == Network::Direct;
    let mut rules =
        if permissions.exec { of_programs(direct)? } else { of_a_library(permissions, own)? };
    if direct {
        rules.insert(SYS_socket, internet_sockets()?);
    }
    Ok(rules)
}

/// The calls of a plugin that may start programs. Nobody knows which calls a program makes, so these are all but
/// those that lead out of the sandbox.
fn of_programs(direct: bool) -> Result<Rules, BackendError> {
    let sockets = NETWORKING.iter().chain(&[SYS_socket, SYS_listen, SYS_accept, SYS_accept4]);
    let closed: Vec<i64> = if direct { vec![] } else { sockets.copied().collect() };
    let never =
        |call: &i64| NEVER.contains(call) || NEVER_OLDER.contains(call) || closed.contains(call);
    let mut rules: Rules =
        (0..=LAST_KNOWN).filter(|call| !never(call)).map(|call| (call, vec![])).collect();
    // Limits of the process itself (pid 0) only.
    rules.insert(SYS_prlimit64, vec![rule(vec![is(0, 0)?])?]);
    Ok(rules)
}

/// The calls of a plugin that starts no programs.
fn of_a_library(permissions: &Permissions, own: u32) -> Result<Rules, BackendError> {
    let direct = permissions.network == Network::Direct;
    let mut rules = Rules::new();
    let mut add = |calls: &[i64]| rules.extend(calls.iter().map(|call| (*call, vec![])));
    add(ALWAYS);
    add(OLDER);
    if !permissions.write.is_empty() {
        add(WRITING);
        add(WRITING_OLDER);
    }
    if direct {
        add(NETWORKING);
    }
    // Threads in the namespaces that there are; neither processes nor new namespaces.
    let flags = (CLONE_THREAD | NAMESPACES).cast_unsigned().into();
    let thread = SeccompCmpOp::MaskedEq(flags);
    let thread = SeccompCondition::new(0, Dword, thread, CLONE_THREAD.cast_unsigned().into())?;
    rules.insert(SYS_clone, vec![rule(vec![thread])?]);
    // F_SETOWN and F_SETSIG are not among them: by these a descriptor sends signals to any process.
    rules.insert(SYS_fcntl, one_of(1, &FCNTLS)?);
    // abort() and raise() send signals to the process itself.
    let itself = || rule(vec![is(0, u64::from(own))?]);
    rules.insert(SYS_tgkill, vec![itself()?]);
    rules.insert(SYS_kill, vec![itself()?]);
    // isatty(); with sockets of its own also what some runtimes use to set and ask whether one is ready.
    let ioctls: &[u64] = if direct { &[TCGETS, FIONBIO, FIONREAD] } else { &[TCGETS] };
    let ioctls: Result<_, _> = ioctls.iter().map(|request| rule(vec![is(1, *request)?])).collect();
    rules.insert(SYS_ioctl, ioctls?);
    let prctls = [PR_SET_NAME, PR_GET_NAME, PR_SET_VMA, PR_GET_DUMPABLE, PR_GET_NO_NEW_PRIVS];
    rules.insert(SYS_prctl, one_of(0, &prctls)?);
    // Its own limits can be read (no new ones are given), and not set.
    rules.insert(SYS_prlimit64, vec![rule(vec![is(0, 0)?, is_null(2)?])?]);
    #[cfg(target_arch = "x86_64")]
    rules.insert(SYS_getrlimit, vec![]);
    Ok(rules)
}

/// Sockets for TCP and UDP. No others: raw ones forge packets, and those of the family UNIX lead to other
/// processes.
fn internet_sockets() -> Result<Vec<SeccompRule>, BackendError> {
    let mut sockets = Vec::new();
    for family in [AF_INET, AF_INET6] {
        for kind in [SOCK_STREAM, SOCK_DGRAM] {
            // The kind is the low four bits; above them stand flags such as SOCK_CLOEXEC.
            let masked = SeccompCmpOp::MaskedEq(0xf);
            let kind = SeccompCondition::new(1, Dword, masked, kind.cast_unsigned().into())?;
            sockets.push(rule(vec![is(0, family.cast_unsigned().into())?, kind])?);
        }
    }
    Ok(sockets)
}

/// One rule for each value that an argument may have.
fn one_of(argument: u8, values: &[i32]) -> Result<Vec<SeccompRule>, BackendError> {
    values.iter().map(|value| rule(vec![is(argument, value.cast_unsigned().into())?])).collect()
}

fn rule(conditions: Vec<SeccompCondition>) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(conditions)
}

/// An argument that is this number. Only its lower 32 bits are compared, as the kernel itself looks at no
/// others where an argument is an int.
fn is(argument: u8, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, Dword, SeccompCmpOp::Eq, value)
}

fn is_null(argument: u8) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, seccompiler::SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)
}
