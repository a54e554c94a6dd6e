//! The system calls that a plugin may make; any other fails with EPERM.
//!
//! The list names what is allowed, so that a call which a later kernel adds is refused. Landlock decides which
//! files can be reached by the calls about files. Calls that change what Landlock doesn't govern (modes, owners,
//! times) are not in the list. Where only some arguments of a call lead out, the call is allowed without them.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use libc::*;
use seccompiler::{
    BackendError, SeccompCmpArgLen::Dword, SeccompCmpOp, SeccompCondition, SeccompRule,
};

use crate::permissions::{Network, Permissions};

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Calls that fail as if the kernel were too old for them (ENOSYS). A filter can't see their arguments, which lie in
/// memory; programs fall back to older calls, whose arguments it sees. By a timer of timer_create(2) a process that the
/// host has stopped would have itself continued (SIGCONT).
pub(super) const ABSENT: &[i64] = &[SYS_clone3, SYS_openat2, SYS_timer_create];
/// The part of clone(2)'s flags that is the signal which a process's parent gets when it ends. SIGCONT would continue a
/// parent that the host has stopped.
const EXIT_SIGNAL: i32 = 0xff;

/// Calls that fail as if the file's system had no extended attributes (EOPNOTSUPP), so that programs such as ls do
/// without. They read the attributes of any file that has a name; Landlock doesn't govern that.
pub(super) const UNSUPPORTED: &[i64] =
    &[SYS_getxattr, SYS_lgetxattr, SYS_listxattr, SYS_llistxattr];

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
    SYS_fcntl,
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
    SYS_pause,
    SYS_pipe,
    SYS_poll,
    SYS_readlink,
    SYS_select,
    SYS_stat,
    SYS_time,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[i64] = &[];

/// The commands of fcntl(2) that are allowed beside F_SETFL: for a descriptor's own flags, for locks and for seals. By
/// F_SETOWN and F_SETSIG a descriptor would send signals to any process, by F_NOTIFY it would tell what others do, by
/// F_SETLEASE others would have to wait, and F_SETPIPE_SZ takes memory of which a user has only so much.
const FCNTLS: [i32; 15] = [
    F_DUPFD,
    F_DUPFD_CLOEXEC,
    F_GETFD,
    F_SETFD,
    F_GETFL,
    F_GETOWN,
    F_GETLK,
    F_SETLK,
    F_SETLKW,
    F_OFD_GETLK,
    F_OFD_SETLK,
    F_OFD_SETLKW,
    F_GETPIPE_SZ,
    F_GET_SEALS,
    F_ADD_SEALS,
];

/// What every plugin may ask of a descriptor by ioctl(2): whether it is a terminal, and to be closed when a program
/// starts.
const IOCTLS: &[u64] = &[TCGETS, TCGETS2, TIOCGWINSZ, FIOCLEX, FIONCLEX];
/// With sockets of its own a plugin may also do what some runtimes do to set and ask whether one is ready.
const SOCKET_IOCTLS: &[u64] = &[FIONBIO, FIONREAD];
/// What else ordinary programs do: set a terminal's modes, ask who is in its foreground, and copy a file by sharing its
/// blocks. Nothing here types into a terminal, and nothing changes what Landlock doesn't govern (chattr).
const PROGRAM_IOCTLS: &[u64] = &[TCSETS, TCSETSW, TCSETSF, TIOCGPGRP, FICLONE];

/// What every plugin may do by prctl(2): names for threads and memory, and questions.
const PRCTLS: &[i32] =
    &[PR_SET_NAME, PR_GET_NAME, PR_SET_VMA, PR_GET_DUMPABLE, PR_GET_NO_NEW_PRIVS];
/// What programs may do beside: questions about themselves, and less privileges or precision.
const PROGRAM_PRCTLS: &[i32] = &[
    PR_SET_NO_NEW_PRIVS,
    PR_GET_PDEATHSIG,
    PR_GET_KEEPCAPS,
    PR_SET_KEEPCAPS,
    PR_CAPBSET_READ,
    PR_CAP_AMBIENT,
    PR_GET_SECUREBITS,
    PR_GET_SECCOMP,
    PR_GET_SPECULATION_CTRL,
    PR_GET_CHILD_SUBREAPER,
    PR_GET_TIMERSLACK,
    PR_SET_TIMERSLACK,
    PR_GET_THP_DISABLE,
];

/// The flags of clone(2) that make a thread which shares its process's descriptors, working directory and umask. One
/// with descriptors of its own would evade the limit on their number.
const THREAD: i32 = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD;
/// The flags that a thread may have beside: they say where its number and its own variables are kept.
const THREAD_MAY: i32 = CLONE_SYSVSEM
    | CLONE_SETTLS
    | CLONE_PARENT_SETTID
    | CLONE_CHILD_SETTID
    | CLONE_CHILD_CLEARTID
    | CLONE_DETACHED;
/// The flags that a new process may not have: those that make namespaces, and one that makes it the host's child.
const NO_PROCESS: i32 = CLONE_NEWNS
    | CLONE_NEWCGROUP
    | CLONE_NEWUTS
    | CLONE_NEWIPC
    | CLONE_NEWUSER
    | CLONE_NEWPID
    | CLONE_NEWNET
    | CLONE_PARENT;

/// The flags of open(2) by which its last argument is a file's mode. Otherwise that is whatever the register holds.
const MAKES_FILE: i32 = O_CREAT | (O_TMPFILE & !O_DIRECTORY);
/// The bits of a mode by which a program runs as its file's owner or group.
const OTHERS_RIGHTS: u32 = S_ISUID | S_ISGID;

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

/// What no program that a plugin starts may call: other processes, other privileges, the kernel itself, and what all
/// programs of the machine or the user share.
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
    SYS_fanotify_mark,
    SYS_finit_module,
    SYS_fsconfig,
    SYS_fsmount,
    SYS_fsopen,
    SYS_fspick,
    SYS_get_robust_list,
    SYS_init_module,
    // They tell what others do in a directory whose name is known, whether or not it may be read.
    SYS_inotify_add_watch,
    SYS_inotify_init1,
    SYS_inotify_rm_watch,
    // The machine has only so many of these queues. Without one the other calls about them do nothing.
    SYS_io_setup,
    SYS_io_uring_enter,
    SYS_io_uring_register,
    SYS_io_uring_setup,
    SYS_kcmp,
    SYS_kexec_file_load,
    SYS_kexec_load,
    SYS_keyctl,
    SYS_lookup_dcookie,
    // While somebody has such memory the machine can't hibernate.
    SYS_memfd_create,
    SYS_memfd_secret,
    SYS_migrate_pages,
    // Landlock lets no device be made where one may write, but a file whose mode is setuid.
    SYS_mknodat,
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
    SYS_process_mrelease,
    SYS_process_vm_readv,
    SYS_process_vm_writev,
    SYS_ptrace,
    SYS_quotactl,
    SYS_quotactl_fd,
    SYS_reboot,
    SYS_request_key,
    // A program with a filter and a listener of its own could answer for the host's.
    SYS_seccomp,
    // What a program starts stays in the worker's process group, by which the host can end all of it.
    SYS_setpgid,
    SYS_setsid,
    // They have the whole machine write to its disks.
    SYS_sync,
    SYS_syncfs,
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
    // Kernels had holes here that let a file be changed which may only be read, and hardly a program needs it.
    SYS_vmsplice,
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
    SYS_inotify_init,
    SYS_ioperm,
    SYS_iopl,
    SYS_mknod,
    SYS_modify_ldt,
    SYS_uselib,
    SYS_utime,
    SYS_utimes,
];
#[cfg(not(target_arch = "x86_64"))]
const NEVER_OLDER: &[i64] = &[];

/// The numbers that an architecture gave its calls before all of them went on from 424 together.
#[cfg(target_arch = "x86_64")]
const FIRST_KNOWN: RangeInclusive<i64> = 0..=SYS_rseq;
#[cfg(not(target_arch = "x86_64"))]
const FIRST_KNOWN: RangeInclusive<i64> = 0..=SYS_kexec_file_load;
/// The numbers of the newer calls that this program knows, up to futex_waitv(2). Programs that the plugin starts may
/// make the calls that it knows and that [`NEVER`] doesn't name. They can do without later ones, such as fchmodat2(2).
const THEN_KNOWN: RangeInclusive<i64> = SYS_pidfd_send_signal..=449;

/// The calls that a process with these permissions may make, with the arguments that they may have. `own` is the
/// number of the process; `scoped` says that Landlock keeps its signals, and those of the programs that it starts,
/// from other processes.
pub(super) fn allowed(
    permissions: &Permissions,
    own: u32,
    scoped: bool,
) -> Result<Rules, BackendError> {
    let direct = permissions.network == Network::Direct;
    let mut rules = if permissions.exec {
        of_programs(direct, own, scoped)?
    } else {
        of_a_library(permissions, own)?
    };
    narrow(&mut rules)?;
    map_memory(&mut rules, permissions)?;
    if direct {
        rules.insert(SYS_socket, internet_sockets()?);
    }
    Ok(rules)
}

/// The calls of a plugin that may start programs. Nobody knows which calls a program makes, so these are all but
/// those that lead out of the sandbox.
fn of_programs(direct: bool, own: u32, scoped: bool) -> Result<Rules, BackendError> {
    let sockets = NETWORKING.iter().chain(&[SYS_socket, SYS_listen, SYS_accept, SYS_accept4]);
    // From a pair of sockets of the family UNIX one can send to any other of that family.
    let closed: Vec<i64> = if direct { vec![SYS_socketpair] } else { sockets.copied().collect() };
    let never =
        |call: &i64| NEVER.contains(call) || NEVER_OLDER.contains(call) || closed.contains(call);
    let known = FIRST_KNOWN.chain(THEN_KNOWN).filter(|call| !never(call));
    let mut rules: Rules = known.map(|call| (call, vec![])).collect();
    let process = |signal| rule(vec![masked(0, NO_PROCESS | CLONE_THREAD | EXIT_SIGNAL, signal)?]);
    rules.insert(SYS_clone, vec![thread()?, process(SIGCHLD)?, process(0)?]);
    // Where Landlock can't do it: to its group (0) and to itself.
    let own = [0, own];
    send_signals(&mut rules, (!scoped).then_some(&own))?;
    rules.insert(SYS_ioctl, one_of(1, &[IOCTLS, SOCKET_IOCTLS, PROGRAM_IOCTLS].concat())?);
    rules.insert(SYS_prctl, one_of_ints(0, &[PRCTLS, PROGRAM_PRCTLS].concat())?);
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
    // These get through here, and fail by filters of their own.
    add(ABSENT);
    add(UNSUPPORTED);
    if !permissions.write.is_empty() {
        add(WRITING);
        add(WRITING_OLDER);
    }
    if direct {
        add(NETWORKING);
    }
    rules.insert(SYS_clone, vec![thread()?]);
    // abort() and raise() send signals to the process itself.
    send_signals(&mut rules, Some(&[own]))?;
    let sockets = if direct { SOCKET_IOCTLS } else { &[] };
    rules.insert(SYS_ioctl, one_of(1, &[IOCTLS, sockets].concat())?);
    rules.insert(SYS_prctl, one_of_ints(0, PRCTLS)?);
    // Its own limits can be read (no new ones are given), and not set.
    rules.insert(SYS_prlimit64, vec![rule(vec![is(0, 0)?, is_null(2)?])?]);
    #[cfg(target_arch = "x86_64")]
    rules.insert(SYS_getrlimit, vec![]);
    Ok(rules)
}

/// Takes from the calls that are allowed the arguments that lead out, which are the same for libraries and programs.
fn narrow(rules: &mut Rules) -> Result<(), BackendError> {
    let mut fcntls = one_of_ints(1, &FCNTLS)?;
    // With O_ASYNC a terminal sends signals to whoever uses it.
    fcntls.push(rule(vec![is(1, F_SETFL.cast_unsigned().into())?, masked(2, O_ASYNC, 0)?])?);
    let plain_mode = |argument| rule(vec![masked(argument, OTHERS_RIGHTS.cast_signed(), 0)?]);
    let narrowed = [
        // Not CLOSE_RANGE_UNSHARE: see THREAD.
        (SYS_close_range, one_of(2, &[0, CLOSE_RANGE_CLOEXEC.into()])?),
        (SYS_fcntl, fcntls),
        (SYS_openat, opens(2)?),
        (SYS_mkdirat, vec![plain_mode(2)?]),
        // Any other way to allocate takes disk that no limit on a file's size counts.
        (SYS_fallocate, vec![rule(vec![is(1, 0)?])?]),
        // RENAME_WHITEOUT makes a device.
        (SYS_renameat2, one_of(4, &[0, RENAME_NOREPLACE.into(), RENAME_EXCHANGE.into()])?),
        #[cfg(target_arch = "x86_64")]
        (SYS_open, opens(1)?),
        #[cfg(target_arch = "x86_64")]
        (SYS_creat, vec![plain_mode(1)?]),
        #[cfg(target_arch = "x86_64")]
        (SYS_mkdir, vec![plain_mode(1)?]),
    ];
    for (call, only) in narrowed {
        rules.entry(call).and_modify(|rules| *rules = only);
    }
    Ok(())
}

/// The calls that send signals: to `receivers`, or to whomever Landlock lets through. No SIGCONT is sent, by which a
/// plugin would wake itself while the host has stopped it between two calls.
fn send_signals(rules: &mut Rules, receivers: Option<&[u32]>) -> Result<(), BackendError> {
    for (call, argument) in [
        (SYS_kill, 1),
        (SYS_tgkill, 2),
        (SYS_tkill, 1),
        (SYS_rt_sigqueueinfo, 1),
        (SYS_rt_tgsigqueueinfo, 2),
    ] {
        let signal = || {
            let waking = SIGCONT.cast_unsigned().into();
            SeccompCondition::new(argument, Dword, SeccompCmpOp::Ne, waking)
        };
        let allowed: Vec<SeccompRule> = match receivers {
            None => vec![rule(vec![signal()?])?],
            // The others name a thread, or are for programs of their own.
            Some(receivers) if call == SYS_kill || call == SYS_tgkill => {
                let to = |receiver: &u32| rule(vec![is(0, (*receiver).into())?, signal()?]);
                receivers.iter().map(to).collect::<Result<_, _>>()?
            }
            Some(_) => {
                rules.remove(&call);
                continue;
            }
        };
        rules.insert(call, allowed);
    }
    Ok(())
}

/// Private memory, also such as Linux may drop (since 6.11: the C library keeps the state of its random numbers there),
/// and for who writes files also shared memory of a file. What is shared and no file's stays when a process gives it up
/// (madvise(2)), so that nobody would see whose it is.
///
/// What was written is not made a part of the program, unless that is granted. Linux itself refuses it since 6.3
/// (PR_SET_MDWE); a filter does it everywhere, and lets the host tell of it.
fn map_memory(rules: &mut Rules, permissions: &Permissions) -> Result<(), BackendError> {
    let mut kinds = vec![masked(3, MAP_TYPE, MAP_PRIVATE)?, masked(3, MAP_TYPE, MAP_DROPPABLE)?];
    if permissions.exec || !permissions.write.is_empty() {
        kinds.push(masked(3, MAP_ANONYMOUS, 0)?);
    }
    let mut maps = Vec::new();
    for kind in kinds {
        if permissions.makes_code() {
            maps.push(rule(vec![kind])?);
            continue;
        }
        for lacking in [PROT_WRITE, PROT_EXEC] {
            maps.push(rule(vec![kind.clone(), masked(2, lacking, 0)?])?);
        }
    }
    rules.insert(SYS_mmap, maps);
    if !permissions.makes_code() {
        rules.insert(SYS_mprotect, vec![rule(vec![masked(2, PROT_EXEC, 0)?])?]);
    }
    Ok(())
}

/// How a file may be opened; `flags` is the number of the argument with the flags, behind which stands the mode. A file
/// that is made gets no special mode, and none is emptied that is opened to be read: Landlock before Linux 6.2 doesn't
/// look. Nor may one be opened neither to be read nor to be written (the value 3), for which Landlock asks no right.
fn opens(flags: u8) -> Result<Vec<SeccompRule>, BackendError> {
    let accesses = [(O_ACCMODE | O_TRUNC, O_RDONLY), (O_ACCMODE, O_WRONLY), (O_ACCMODE, O_RDWR)];
    let mut rules = Vec::new();
    for (mask, access) in accesses {
        rules.push(rule(vec![masked(flags, mask, access)?, masked(flags, MAKES_FILE, 0)?])?);
        let plain_mode = masked(flags + 1, OTHERS_RIGHTS.cast_signed(), 0)?;
        rules.push(rule(vec![masked(flags, mask, access)?, plain_mode])?);
    }
    Ok(rules)
}

/// clone(2) for a thread.
fn thread() -> Result<SeccompRule, BackendError> {
    rule(vec![masked(0, !THREAD_MAY, THREAD)?])
}

/// Sockets for TCP and UDP. No others: raw ones forge packets, those of the family UNIX lead to other processes, and
/// other protocols have the kernel load code for them that hardly anybody uses.
fn internet_sockets() -> Result<Vec<SeccompRule>, BackendError> {
    let mut sockets = Vec::new();
    for family in [AF_INET, AF_INET6] {
        for (kind, own_protocol) in [(SOCK_STREAM, IPPROTO_TCP), (SOCK_DGRAM, IPPROTO_UDP)] {
            for protocol in [0, own_protocol] {
                sockets.push(rule(vec![
                    is(0, family.cast_unsigned().into())?,
                    // The kind is the low four bits; above them stand flags such as SOCK_CLOEXEC.
                    masked(1, 0xf, kind)?,
                    is(2, protocol.cast_unsigned().into())?,
                ])?);
            }
        }
    }
    Ok(sockets)
}

/// One rule for each value that an argument may have.
fn one_of(argument: u8, values: &[u64]) -> Result<Vec<SeccompRule>, BackendError> {
    values.iter().map(|value| rule(vec![is(argument, *value)?])).collect()
}

fn one_of_ints(argument: u8, values: &[i32]) -> Result<Vec<SeccompRule>, BackendError> {
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

/// An argument whose bits in `mask` are those of `value`. As in [`is`], the lower 32 bits.
fn masked(argument: u8, mask: i32, value: i32) -> Result<SeccompCondition, BackendError> {
    let operator = SeccompCmpOp::MaskedEq(mask.cast_unsigned().into());
    SeccompCondition::new(argument, Dword, operator, value.cast_unsigned().into())
}

fn is_null(argument: u8) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, seccompiler::SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_send_signals_to_others_only_where_landlock_keeps_them_in() {
        let permissions = Permissions { exec: true, ..Permissions::default() };
        let scoped = allowed(&permissions, 7, true).unwrap();
        let unscoped = allowed(&permissions, 7, false).unwrap();
        for call in [SYS_kill, SYS_tkill, SYS_tgkill, SYS_rt_sigqueueinfo, SYS_rt_tgsigqueueinfo] {
            assert_eq!(scoped[&call].len(), 1, "to anybody: {call}");
            assert_ne!(unscoped.get(&call), scoped.get(&call), "{call}");
        }
        assert_eq!(unscoped[&SYS_kill].len(), 2, "its group and itself");
        assert!(!unscoped.contains_key(&SYS_tkill));
    }

    #[test]
    fn every_filter_is_small_enough_for_the_kernel() {
        let arch = seccompiler::TargetArch::try_from(std::env::consts::ARCH).unwrap();
        for (exec, network) in
            [(false, Network::Direct), (true, Network::Gateway), (true, Network::Direct)]
        {
            let permissions =
                Permissions { exec, network, write: vec!["/tmp".into()], ..Permissions::default() };
            let rules = allowed(&permissions, 7, false).unwrap();
            let filter = seccompiler::SeccompFilter::new(
                rules,
                seccompiler::SeccompAction::Errno(1),
                seccompiler::SeccompAction::Allow,
                arch,
            );
            seccompiler::BpfProgram::try_from(filter.unwrap()).unwrap();
        }
    }
}
