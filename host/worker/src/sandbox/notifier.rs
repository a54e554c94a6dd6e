//! Tells the host which system calls are refused: the kernel makes a notification of each for whoever holds the
//! filter's listener, and the caller waits until it is answered.
//!
//! Invariants: the answer is always EPERM. The worker doesn't hold its listener any more when a plugin is loaded, for
//! whoever holds it could also let calls through. Once nobody holds it, refused calls fail with ENOSYS.
//!
//! Document: seccomp_unotify(2).
#![allow(unsafe_code)]

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::mpsc;
use std::thread;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};
use seccompiler::BpfProgram;

/// The instruction by which a filter ends with the action in its operand (BPF_RET | BPF_K).
const RETURN: u16 = 0x06;
/// The action by which a call fails with EPERM.
const REFUSE: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned();

const RECEIVE: Opcode = opcode::read_write::<libc::seccomp_notif>(b'!', 0);
const SEND: Opcode = opcode::read_write::<libc::seccomp_notif_resp>(b'!', 1);

/// Installs a filter that refuses calls with EPERM, and has the host told of what it refuses. The caller must be the
/// only thread of its process, and must have set no_new_privs.
///
/// `pass` sends the listener to the host. It runs on a thread without the filter, since sending a descriptor takes a
/// call that the filter may refuse, and nobody would answer that. The thread and this process's copy of the listener are
/// gone when this function returns. `pass` isn't called where there can be no listener (Linux before 5.0, or a
/// container manager has one on this process already): calls are refused there all the same.
///
/// # Errors
/// The filter could not be installed.
pub(super) fn install(
    program: &BpfProgram,
    pass: impl FnOnce(BorrowedFd<'_>) -> io::Result<()> + Send,
) -> Result<(), seccompiler::Error> {
    let (to_passing, from_here) = mpsc::channel::<OwnedFd>();
    thread::scope(|scope| {
        let passing = thread::Builder::new().spawn_scoped(scope, move || {
            // Without a listener the channel is closed. If passing fails the host is gone, and this process ends soon.
            if let Ok(listener) = from_here.recv() {
                let _ = pass(listener.as_fd());
            }
        });
        let passing = passing.map_err(seccompiler::Error::Seccomp)?;
        match check_sizes().and_then(|()| load(program)) {
            // Err means that the thread has panicked, and then it has closed the listener.
            Ok(listener) => drop(to_passing.send(listener)),
            Err(_) => seccompiler::apply_filter(program)?,
        }
        drop(to_passing);
        // Waited for here, so that it has ended, also for the kernel, before a plugin is loaded.
        let _ = passing.join();
        Ok(())
    })
}

/// Installs the filter for this thread and those that it will start, with notifications where it refuses. Gives the
/// listener.
fn load(program: &BpfProgram) -> io::Result<OwnedFd> {
    let mut program: Vec<libc::sock_filter> = program
        .iter()
        .map(|step| {
            let refuses = step.code == RETURN && step.k == REFUSE;
            let k = if refuses { libc::SECCOMP_RET_USER_NOTIF } else { step.k };
            libc::sock_filter { code: step.code, jt: step.jt, jf: step.jf, k }
        })
        .collect();
    let len = u16::try_from(program.len()).map_err(io::Error::other)?;
    let program = libc::sock_fprog { len, filter: program.as_mut_ptr() };
    // SAFETY: `program` names `len` instructions in a Vec that lives until the end of this function, and the kernel
    // only reads them.
    let listener = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const program,
        )
    };
    if listener < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: with this flag the kernel returns a descriptor that it has just opened, which nobody else knows.
    Ok(unsafe { OwnedFd::from_raw_fd(listener as RawFd) })
}

/// What the kernel writes to and reads from, with room for members that a later kernel may have at the end.
#[repr(C)]
struct Roomy<T> {
    known: T,
    later: [u64; 32],
}

/// Whether the kernel's notifications and answers fit into this program's.
fn check_sizes() -> io::Result<()> {
    let mut sizes =
        libc::seccomp_notif_sizes { seccomp_notif: 0, seccomp_notif_resp: 0, seccomp_data: 0 };
    // SAFETY: the kernel writes one such structure, and `sizes` is one.
    let asked = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_NOTIF_SIZES, 0, &raw mut sizes)
    };
    if asked < 0 {
        return Err(io::Error::last_os_error());
    }
    let fit = usize::from(sizes.seccomp_notif) <= size_of::<Roomy<libc::seccomp_notif>>()
        && usize::from(sizes.seccomp_notif_resp) <= size_of::<Roomy<libc::seccomp_notif_resp>>();
    if fit { Ok(()) } else { Err(io::ErrorKind::Unsupported.into()) }
}

/// A call that waits to be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// The number of the system call, on this machine's architecture.
    pub call: i64,
    id: u64,
}

/// The host's end: it receives the notifications of one worker and of whatever that starts.
#[derive(Debug)]
pub struct Listener(OwnedFd);

impl Listener {
    /// A descriptor from a worker, which must be a listener. The worker is not in its plugin's hands yet when it sends it.
    pub fn new(listener: OwnedFd) -> Listener {
        Listener(listener)
    }

    /// The next call that waits for its answer. None if there is none now. It doesn't wait.
    ///
    /// # Errors
    /// UnexpectedEof if no process has the filter any more (Linux before 5.9 doesn't tell that). Any other: the descriptor
    /// is no listener, or the kernel is out of memory.
    pub fn receive(&self) -> io::Result<Option<Refused>> {
        // The kernel has no receiving that doesn't wait; it never waits after poll() told of a notification.
        let mut polled = [PollFd::new(&self.0, PollFlags::IN)];
        poll(&mut polled, Some(&Timespec::default()))?;
        let told = polled[0].revents();
        if !told.contains(PollFlags::IN) {
            let over = told.contains(PollFlags::HUP);
            return if over { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(None) };
        }
        let mut notification = Roomy {
            // SAFETY: it has only integers, for which zeros are a value. The kernel demands zeros.
            known: unsafe { std::mem::zeroed::<libc::seccomp_notif>() },
            later: [0; 32],
        };
        // SAFETY: `RECEIVE` writes a notification, which fits into `notification`: the worker has compared the sizes
        // before it made the listener.
        let received = unsafe { ioctl(&self.0, Updater::<RECEIVE, _>::new(&mut notification)) };
        match received {
            Ok(()) => {
                let known = notification.known;
                Ok(Some(Refused { call: known.data.nr.into(), id: known.id }))
            }
            // The caller was killed or got a signal since poll().
            Err(Errno::NOENT | Errno::INTR) => Ok(None),
            Err(cause) => Err(cause.into()),
        }
    }

    /// Answers EPERM.
    ///
    /// # Errors
    /// The descriptor is no listener.
    pub fn refuse(&self, refused: Refused) -> io::Result<()> {
        let known =
            libc::seccomp_notif_resp { id: refused.id, val: 0, error: -libc::EPERM, flags: 0 };
        let mut answer = Roomy { known, later: [0; 32] };
        // SAFETY: `SEND` reads an answer, which is not longer than `answer`: see `receive`.
        match unsafe { ioctl(&self.0, Updater::<SEND, _>::new(&mut answer)) } {
            // The caller was killed meanwhile, or got a signal; then it makes its call again.
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(cause) => Err(cause.into()),
        }
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::mpsc::Receiver;

    use seccompiler::{SeccompAction, SeccompFilter, TargetArch};

    use super::*;

    /// What a thread of a test got from a refused call, as an error number.
    type Got = Receiver<i32>;

    /// Refuses sethostname(2), and nothing else.
    fn filter() -> BpfProgram {
        let refuse = SeccompAction::Errno(libc::EPERM.cast_unsigned());
        let rules = BTreeMap::from([(libc::SYS_sethostname, vec![])]);
        let arch = TargetArch::try_from(std::env::consts::ARCH).unwrap();
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch);
        filter.unwrap().try_into().unwrap()
    }

    /// Makes a call that the filter refuses, with arguments that no kernel takes. Gives the number of its error.
    fn refused_call() -> i32 {
        // SAFETY: a null pointer and a negative length, by which the kernel reads nothing.
        let done = unsafe { libc::syscall(libc::SYS_sethostname, 0, -1) };
        assert_eq!(done, -1);
        io::Error::last_os_error().raw_os_error().unwrap()
    }

    /// Starts a thread that gets a filter of its own and then makes a call that it refuses. Gives its listener, the
    /// number of the thread, and what the call gives.
    fn refused_thread() -> (Listener, libc::pthread_t, Got) {
        let (pass, passed) = mpsc::channel();
        let (tell, got) = mpsc::channel();
        thread::spawn(move || {
            rustix::thread::set_no_new_privs(true).unwrap();
            // SAFETY: it only gives a number.
            let own = unsafe { libc::pthread_self() };
            let installed = install(&filter(), |listener| {
                pass.send((Listener::new(listener.try_clone_to_owned()?), own)).unwrap();
                Ok(())
            });
            installed.unwrap();
            tell.send(refused_call()).unwrap();
        });
        let (listener, thread) = passed.recv().unwrap();
        (listener, thread, got)
    }

    fn next(listener: &Listener) -> Refused {
        loop {
            let mut polled = [PollFd::new(&listener.0, PollFlags::IN)];
            poll(&mut polled, None).unwrap();
            if let Some(refused) = listener.receive().unwrap() {
                return refused;
            }
        }
    }

    #[test]
    fn a_refused_call_is_told_and_fails_with_eperm() {
        let (listener, _, got) = refused_thread();
        let refused = next(&listener);
        assert_eq!(refused.call, libc::SYS_sethostname);
        assert!(got.try_recv().is_err(), "it waits for the answer");
        assert_eq!(listener.receive().unwrap(), None, "told once");
        listener.refuse(refused).unwrap();
        assert_eq!(got.recv().unwrap(), libc::EPERM);
    }

    #[test]
    fn a_listener_ends_with_the_last_that_has_the_filter() {
        let (listener, _, got) = refused_thread();
        listener.refuse(next(&listener)).unwrap();
        got.recv().unwrap();
        let mut polled = [PollFd::new(&listener.0, PollFlags::empty())];
        poll(&mut polled, None).unwrap();
        let over = listener.receive().unwrap_err();
        assert_eq!(over.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_call_fails_when_nobody_is_there_to_refuse_it() {
        let (listener, _, got) = refused_thread();
        next(&listener);
        drop(listener);
        assert_eq!(got.recv().unwrap(), libc::ENOSYS);
    }

    extern "C" fn ignore(_: libc::c_int) {}

    #[test]
    fn a_signal_interrupts_a_call_that_waits_and_then_it_is_told_again() {
        // SAFETY: all zeros are a sigaction, and the handler does nothing.
        unsafe {
            let mut action = std::mem::zeroed::<libc::sigaction>();
            action.sa_sigaction = ignore as *const () as usize;
            action.sa_flags = libc::SA_RESTART;
            assert_eq!(libc::sigaction(libc::SIGUSR2, &raw const action, std::ptr::null_mut()), 0);
        }
        let (listener, thread, got) = refused_thread();
        let first = next(&listener);
        // SAFETY: the thread waits for its answer, so it is there.
        assert_eq!(unsafe { libc::pthread_kill(thread, libc::SIGUSR2) }, 0);
        let again = next(&listener);
        assert_eq!(again.call, first.call);
        assert_ne!(again, first);
        listener.refuse(first).unwrap();
        assert!(got.try_recv().is_err(), "the first answer comes to nothing");
        listener.refuse(again).unwrap();
        assert_eq!(got.recv().unwrap(), libc::EPERM);
    }

    #[test]
    fn where_there_is_a_listener_already_calls_are_refused_untold() {
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            rustix::thread::set_no_new_privs(true).unwrap();
            let _others = load(&filter()).unwrap();
            assert_eq!(load(&filter()).unwrap_err().raw_os_error(), Some(libc::EBUSY));
            install(&filter(), |_| panic!("there is nothing to pass")).unwrap();
            tell.send(refused_call()).unwrap();
        });
        assert_eq!(told.recv().unwrap(), libc::EPERM);
    }

    #[test]
    fn where_the_listener_can_not_be_passed_the_filter_is_there_all_the_same() {
        let refused = || {
            rustix::thread::set_no_new_privs(true).unwrap();
            install(&filter(), |_| Err(io::ErrorKind::BrokenPipe.into())).unwrap();
            refused_call()
        };
        assert_eq!(thread::spawn(refused).join().unwrap(), libc::ENOSYS);
    }

    #[test]
    fn no_program_that_is_started_inherits_the_listener() {
        let listener = || {
            rustix::thread::set_no_new_privs(true).unwrap();
            rustix::io::fcntl_getfd(load(&filter()).unwrap()).unwrap()
        };
        assert!(thread::spawn(listener).join().unwrap().contains(rustix::io::FdFlags::CLOEXEC));
    }
}
