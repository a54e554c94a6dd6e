//! A worker from its start to its end: it takes its standard handles and what the host hands over, enters the
//! sandbox, says so, loads the library, and serves calls.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader};
#[cfg(target_os = "linux")]
use std::os::fd::BorrowedFd;
use std::process::ExitCode;

use crate::frame::{FrameError, FromWorker, ToWorker};
use crate::library::{self, Image, Library};
use crate::sandbox::{self, Policy};
use crate::serve::{self, Pipe};
use crate::{crash, stdio};

/// The first argument, by which the host's program becomes a worker.
pub const ARGUMENT: &str = "worker";
/// The second argument of a worker for the validator, which calls many instances by itself.
pub const EXERCISE: &str = "exercise";
/// The second argument of a worker for the validator, in which a plugin that reads beyond what it was given crashes.
pub const GUARDED: &str = "guarded";

/// Bytes that the reason may have why a library is not loaded. The loader's own words are a part of it.
const LONGEST_REASON: usize = 4 << 10;

/// The pipe to the host, whose ends were the standard handles.
type Standard = Pipe<BufReader<File>, File>;

/// Runs a worker with the arguments behind [`ARGUMENT`], until the host closes the pipe.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    #[cfg(windows)]
    sandbox::end_quietly();
    let arguments: Vec<String> =
        arguments.into_iter().map(|argument| argument.to_string_lossy().into_owned()).collect();
    #[cfg(unix)]
    if let [first, group] = &arguments[..]
        && first == crate::KEEP
    {
        return crate::keeper::keep(group).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
    }
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        // The host closed the pipe. That is how it tells a worker to end.
        Err(FrameError::Pipe(cause)) if cause.kind() == io::ErrorKind::UnexpectedEof => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            let cause = std::error::Error::source(&error);
            eprintln!("worker: {error}{}", cause.map(|c| format!(": {c}")).unwrap_or_default());
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<(), FrameError> {
    let (input, output) = stdio::take()?;
    let handed = Handed::take(&input, &output)?;
    let mut pipe = Pipe::new(BufReader::new(input), output);
    let Some(handed) = confine(&mut pipe, handed)? else { return Ok(()) };
    let Some(library) = load(&mut pipe, handed)? else { return Ok(()) };
    let offers = library.table.offers().into_iter().map(str::to_owned).collect();
    let loaded = FromWorker::Loaded { sdk: library.sdk, offers };
    pipe.send(&loaded, library.table.manifest.as_bytes())?;
    match arguments {
        [mode] if mode == EXERCISE => serve::exercise(&mut pipe, &library.table),
        [mode] if mode == GUARDED => serve::serve(&mut pipe.guarded(), &library.table),
        _ => serve::serve(&mut pipe, &library.table),
    }
}

/// Enters the sandbox as the host's first frame says, and tells the host how whole it is. None if it is not whole
/// enough for a library to be loaded.
fn confine(pipe: &mut Standard, mut handed: Handed) -> Result<Option<Handed>, FrameError> {
    let (ToWorker::Confine { policy, permissions, host }, _) = pipe.receive()? else {
        return Err(FrameError::OutOfTurn);
    };
    #[cfg(target_os = "linux")]
    let unconfined = {
        sandbox::end_with(host)?;
        let input = pipe.input.get_ref();
        let pass = |listener: BorrowedFd<'_>| crate::handover::send(input, &[listener]);
        match sandbox::enter(policy, &permissions, handed.granted(&permissions)?, pass) {
            Ok(unconfined) => unconfined,
            Err(sandbox::NotEntered::Io(cause)) => return Err(cause.into()),
            Err(sandbox::NotEntered::Unreachable(cause)) => {
                pipe.send(&FromWorker::NotGranted, reason(&cause.to_string()))?;
                return Ok(None);
            }
        }
    };
    #[cfg(not(target_os = "linux"))]
    let unconfined = {
        let _ = (host, &mut handed, permissions);
        sandbox::lacks(policy)
    };
    if policy == Policy::Require && !unconfined.is_empty() {
        pipe.send(&FromWorker::NotConfined, reason(&unconfined.join("; ")))?;
        return Ok(None);
    }
    pipe.send(&FromWorker::Confined { unconfined }, &[])?;
    Ok(Some(handed))
}

/// Loads the library that the host's second frame names. None if it can't be loaded; the host has been told why.
fn load(pipe: &mut Standard, handed: Handed) -> Result<Option<Library>, FrameError> {
    let (ToWorker::Load { path, sha256 }, _) = pipe.receive()? else {
        return Err(FrameError::OutOfTurn);
    };
    let image = Image {
        path,
        sha256,
        #[cfg(target_os = "linux")]
        copy: handed.image()?,
    };
    #[cfg(not(target_os = "linux"))]
    let Handed {} = handed;
    match crash::telling(&image.path, || library::load(&image)) {
        Ok(library) => Ok(Some(library)),
        Err(error) => {
            pipe.send(&FromWorker::NotLoaded, reason(&error.to_string()))?;
            Ok(None)
        }
    }
}

/// As much of a reason as the host reads.
fn reason(text: &str) -> &[u8] {
    &text.as_bytes()[..text.floor_char_boundary(LONGEST_REASON)]
}

/// What the host handed over: the descriptors of what is granted, in the order of the permissions, then the
/// library's.
#[cfg(target_os = "linux")]
struct Handed(std::collections::VecDeque<std::os::fd::OwnedFd>);

#[cfg(target_os = "linux")]
impl Handed {
    /// Closes whatever else this process was started with, and takes what the host hands over.
    fn take(input: &File, output: &File) -> io::Result<Handed> {
        use std::os::fd::AsFd;
        sandbox::tidy([input.as_fd(), output.as_fd()])?;
        Ok(Handed(crate::handover::receive(input)?.into()))
    }

    fn granted(
        &mut self,
        permissions: &crate::permissions::Permissions,
    ) -> Result<sandbox::Granted, FrameError> {
        let (read, write) = (permissions.read.len(), permissions.write.len());
        if self.0.len() < read + write {
            return Err(FrameError::OutOfTurn);
        }
        let read = self.0.drain(..read).collect();
        Ok(sandbox::Granted { read, write: self.0.drain(..write).collect() })
    }

    fn image(mut self) -> Result<std::os::fd::OwnedFd, FrameError> {
        self.0.pop_front().ok_or(FrameError::OutOfTurn)
    }
}

/// Nothing is handed over here.
#[cfg(not(target_os = "linux"))]
struct Handed {}

#[cfg(not(target_os = "linux"))]
impl Handed {
    fn take(_: &File, _: &File) -> io::Result<Handed> {
        Ok(Handed {})
    }
}
