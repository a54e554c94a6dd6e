//! The system calls that a plugin may make; any other fails with EPERM.
//!
//! A list of what is allowed: what a later kernel adds is refused. Landlock decides which files the
//! calls about files reach; what it doesn't govern (modes, owners, times) is not in the list.

use std::collections::BTreeMap;

use libc::*;
use seccompiler::{
    BackendError, SeccompCmpArgLen::Dword, SeccompCmpOp, SeccompCondition, SeccompRule,
};

use crate::permissions::{Network, Permissions};

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Calls whose arguments a filter can't see, and for which there is an older one.
pub(super) const ABSENT: [i64; 2] = [SYS_clone3, SYS_openat2];

/// Memory, time, threads, and what is open already.
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
    // Made to fail as absent where they are a way around.
    SYS_clone3,
    SYS_openat2,
];

/// Their forms that newer architectures don't have.
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

/// About a descriptor's own traits, and locks.
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

/// What clone(2) could make anew beside a thread.
const NAMESPACES: i32 = CLONE_NEWNS
    | CLONE_NEWCGROUP
    | CLONE_NEWUTS
    | CLONE_NEWIPC
    | CLONE_NEWUSER
    | CLONE_NEWPID
    | CLONE_NEWNET;

/// In directories that it may write to.
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

/// With sockets of its own.
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
    // Not governed by Landlock.
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
    // Shared with every process of the user's.
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

/// The highest call that a program which the plugin starts may make, if [`NEVER`] doesn't name it:
/// futex_waitv(2). Later ones, such as fchmodat2(2), programs can do without.
const LAST_KNOWN: i64 = 449;

/// The calls of a process with these permissions, with the arguments that they may have.
pub(super) fn allowed(permissions: &Permissions, own: u32) -> Result<Rules, BackendError> {
    let direct = permissions.network == Network::Direct;
    let mut rules = Rules::new();
    if permissions.exec {
        // Which calls a program makes nobody knows: all, but for those that lead out.
        let sockets = NETWORKING.iter().chain(&[SYS_socket, SYS_listen, SYS_accept, SYS_accept4]);
        let closed: Vec<i64> = if direct { vec![] } else { sockets.copied().collect() };
        let never = |call: &i64| {
            NEVER.contains(call) || NEVER_OLDER.contains(call) || closed.contains(call)
        };
        rules.extend((0..=LAST_KNOWN).filter(|call| !never(call)).map(|call| (call, vec![])));
        // Its own limits.
        rules.insert(SYS_prlimit64, vec![rule(vec![is(0, 0)?])?]);
    } else {
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
        // Threads, and no processes; in the namespaces that there are.
        let flags = (CLONE_THREAD | NAMESPACES).cast_unsigned().into();
        let thread = SeccompCmpOp::MaskedEq(flags);
        let thread = SeccompCondition::new(0, Dword, thread, CLONE_THREAD.cast_unsigned().into())?;
        rules.insert(SYS_clone, vec![rule(vec![thread])?]);
        // Not F_SETOWN and F_SETSIG: they send signals to whom one wants.
        let fcntls: Result<_, _> = FCNTLS
            .iter()
            .map(|command| rule(vec![is(1, command.cast_unsigned().into())?]))
            .collect();
        rules.insert(SYS_fcntl, fcntls?);
        // abort() and raise(): signals to itself.
        let itself = || rule(vec![is(0, u64::from(own))?]);
        rules.insert(SYS_tgkill, vec![itself()?]);
        rules.insert(SYS_kill, vec![itself()?]);
        // isatty().
        rules.insert(SYS_ioctl, vec![rule(vec![is(1, TCGETS)?])?]);
        let prctls = [PR_SET_NAME, PR_GET_NAME, PR_SET_VMA, PR_GET_DUMPABLE, PR_GET_NO_NEW_PRIVS];
        let prctls: Result<_, _> =
            prctls.iter().map(|option| rule(vec![is(0, option.cast_unsigned().into())?])).collect();
        rules.insert(SYS_prctl, prctls?);
        // Reading its own limits.
        rules.insert(SYS_prlimit64, vec![rule(vec![is(0, 0)?, is_null(2)?])?]);
        #[cfg(target_arch = "x86_64")]
        rules.insert(SYS_getrlimit, vec![]);
    }
    if direct {
        // Neither raw nor of other families: UNIX sockets lead to other processes.
        let families = [AF_INET, AF_INET6];
        let kinds = [SOCK_STREAM, SOCK_DGRAM];
        let mut sockets = Vec::new();
        for (family, kind) in families.iter().flat_map(|f| kinds.iter().map(move |k| (f, k))) {
            let kind = SeccompCondition::new(
                1,
                Dword,
                SeccompCmpOp::MaskedEq(0xf),
                kind.cast_unsigned().into(),
            )?;
            sockets.push(rule(vec![is(0, family.cast_unsigned().into())?, kind])?);
        }
        rules.insert(SYS_socket, sockets);
        // A socket that is ready or not, as some runtimes set it.
        let ioctls = [TCGETS, FIONBIO, FIONREAD];
        let ioctls: Result<_, _> =
            ioctls.iter().map(|request| rule(vec![is(1, *request)?])).collect();
        if !permissions.exec {
            rules.insert(SYS_ioctl, ioctls?);
        }
    }
    Ok(rules)
}

fn rule(conditions: Vec<SeccompCondition>) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(conditions)
}

/// The lower half is what the kernel looks at where an argument is an int.
fn is(argument: u8, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, Dword, SeccompCmpOp::Eq, value)
}

fn is_null(argument: u8) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, seccompiler::SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)
}
