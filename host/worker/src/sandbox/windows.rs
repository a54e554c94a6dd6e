//! On Windows there is no sandbox. There is a job object
//! (<https://learn.microsoft.com/windows/win32/procthread/job-objects>), by which workers end when their host ends.
#![allow(unsafe_code)]

use std::io;
use std::mem::size_of;
use std::ptr;
use std::sync::OnceLock;

use windows_sys::Win32::System::Diagnostics::Debug::{
    SEM_FAILCRITICALERRORS, SEM_NOGPFAULTERRORBOX, SEM_NOOPENFILEERRORBOX, SetErrorMode,
};
use windows_sys::Win32::System::JobObjects::{
    AssignProcessToJobObject, CreateJobObjectW, JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE,
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION, JobObjectExtendedLimitInformation,
    SetInformationJobObject,
};
use windows_sys::Win32::System::Threading::GetCurrentProcess;

/// Lets a crash end this process at once. By default Windows shows a dialog and waits until somebody presses a
/// button.
pub(crate) fn end_quietly() {
    // SAFETY: sets flags of this process; no pointers.
    unsafe {
        SetErrorMode(SEM_FAILCRITICALERRORS | SEM_NOGPFAULTERRORBOX | SEM_NOOPENFILEERRORBOX);
    }
}

/// Puts this process into a job, and with it every process that it will start. When this process ends, Windows
/// ends all others in the job.
///
/// # Errors
/// The job can't be made, or the process can't be put into it.
pub fn end_together() -> io::Result<()> {
    // The job is made once. Its handle is never closed: it must stay open as long as the process lives.
    static DONE: OnceLock<Result<(), i32>> = OnceLock::new();
    DONE.get_or_init(|| begin().map_err(|cause| cause.raw_os_error().unwrap_or_default()))
        .map_err(io::Error::from_raw_os_error)
}

fn begin() -> io::Result<()> {
    let check = |done: i32| if done != 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
    // SAFETY: both arguments may be NULL: a job without a name, with default security.
    let job = unsafe { CreateJobObjectW(ptr::null(), ptr::null()) };
    if job.is_null() {
        return Err(io::Error::last_os_error());
    }
    let mut limits = JOBOBJECT_EXTENDED_LIMIT_INFORMATION::default();
    limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE;
    // SAFETY: `job` is open; the class of information is that of the structure, whose size is given.
    check(unsafe {
        SetInformationJobObject(
            job,
            JobObjectExtendedLimitInformation,
            ptr::from_ref(&limits).cast(),
            size_of::<JOBOBJECT_EXTENDED_LIMIT_INFORMATION>() as u32,
        )
    })?;
    // SAFETY: `job` is open and stays so until this process ends; the other is this process's
    // pseudo handle, which needs no closing.
    check(unsafe { AssignProcessToJobObject(job, GetCurrentProcess()) })
}
