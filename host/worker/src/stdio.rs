//! The standard handles: whether there was a standard output at all, and how a plugin is kept from them.
//!
//! A worker is started with the pipes to and from the host as its standard input and output. Before any code of
//! the plugin runs they are moved to other descriptors: what the plugin prints goes to standard error, and when
//! it reads standard input it finds nothing.

use std::fs::File;
use std::io;

#[cfg(target_os = "linux")]
pub use closed::output_was_closed;

/// Before main(), Rust's runtime opens /dev/null in the place of a standard handle that is closed. Only what runs earlier can
/// see that.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
mod closed {
    use std::sync::atomic::{AtomicBool, Ordering};

    static CLOSED: AtomicBool = AtomicBool::new(false);

    /// Whether the program was started without a standard output.
    pub fn output_was_closed() -> bool {
        // What nobody names may be left out of the program.
        std::hint::black_box(&LOOK);
        CLOSED.load(Ordering::Relaxed)
    }

    // SAFETY: the loader calls each function whose address is in this section once, before main(), with arguments that this
    // one may leave where they are. It uses nothing of Rust's runtime.
    #[used]
    #[unsafe(link_section = ".init_array")]
    static LOOK: extern "C" fn() = look;

    extern "C" fn look() {
        // SAFETY: the call takes no pointers, and changes nothing.
        if unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) } < 0 {
            CLOSED.store(true, Ordering::Relaxed);
        }
    }
}

/// Gives the pipe from the host and the pipe to it. The standard handles are the plugin's from then on.
#[cfg(unix)]
pub(crate) fn take() -> io::Result<(File, File)> {
    use rustix::{io::fcntl_dupfd_cloexec, stdio};
    let input = File::from(fcntl_dupfd_cloexec(stdio::stdin(), 3)?);
    let output = File::from(fcntl_dupfd_cloexec(stdio::stdout(), 3)?);
    stdio::dup2_stdin(File::open("/dev/null")?)?;
    stdio::dup2_stdout(stdio::stderr())?;
    Ok((input, output))
}

/// As on Unix, but through the C runtime: a plugin's printf() uses the runtime's descriptors 0 and 1, and the
/// runtime's dup2() sets the process's standard handles too.
#[cfg(windows)]
#[allow(unsafe_code)]
pub(crate) fn take() -> io::Result<(File, File)> {
    use std::os::windows::io::{AsHandle, AsRawHandle, IntoRawHandle};
    let input = File::from(io::stdin().as_handle().try_clone_to_owned()?);
    let output = File::from(io::stdout().as_handle().try_clone_to_owned()?);
    debug_assert_ne!(input.as_raw_handle(), output.as_raw_handle());
    let null = File::open("NUL")?.into_raw_handle();
    // SAFETY: `null` is an open handle that is handed over to the C runtime for good; 0, 1 and 2
    // are the C runtime's standard descriptors, which dup2() closes and replaces.
    let done = unsafe {
        let null = libc::open_osfhandle(null as libc::intptr_t, 0);
        null >= 0 && libc::dup2(null, 0) >= 0 && libc::dup2(2, 1) >= 0
    };
    if done { Ok((input, output)) } else { Err(io::Error::last_os_error()) }
}
