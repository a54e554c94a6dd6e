//! A worker from its start to its end: it takes its standard handles, reads the first frame, enters the
//! sandbox, loads the library, and serves calls.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;
use std::process::ExitCode;

use crate::frame::{FrameError, FromWorker, ToWorker};
use crate::library::{self, Library};
use crate::permissions::Permissions;
use crate::serve::{self, Pipe};
use crate::{sandbox, stdio};

/// The first argument, by which the host's program becomes a worker. If pairs of numbers stand after it
/// (`THREADS TIMES ...`), it becomes one for the validator, which calls many instances by itself.
pub const ARGUMENT: &str = "worker";

/// Bytes that the reason may have why a library can't be loaded. The loader's own words are a part of it.
const LONGEST_REASON: usize = 4 << 10;

/// A function that confines the process to permissions, so that the library in the file of that name can still be
/// loaded. It gives what could not be enforced, one sentence each.
pub type Confine = fn(&Permissions, &Path) -> io::Result<Vec<String>>;

/// Runs a worker with the arguments behind [`ARGUMENT`], until the host closes the pipe.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    main_with(sandbox::enter, arguments)
}

/// As [`main`], with another sandbox than the usual one, by which a benchmark measures what the sandbox costs.
pub fn main_with(confine: Confine, arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
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
    match run(confine, &arguments) {
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

fn run(confine: Confine, arguments: &[String]) -> Result<(), FrameError> {
    let (input, output) = stdio::take()?;
    let mut pipe = Pipe::new(BufReader::new(input), output);
    let Some((library, unconfined)) = load(&mut pipe, confine)? else { return Ok(()) };
    let head = FromWorker::Loaded { sdk: library.sdk, unconfined };
    pipe.send(&head, library.table.manifest.as_bytes())?;
    if arguments.is_empty() {
        return serve::serve(&mut pipe, &library.table);
    }
    let number = |text: &String| text.parse().map_err(|_| FrameError::OutOfTurn);
    let numbers: Vec<usize> = arguments.iter().map(number).collect::<Result<_, _>>()?;
    let runs = numbers.chunks_exact(2).map(|run| (run[0], run[1]));
    serve::exercise(&mut pipe, &library.table, runs)
}

/// Does what the host's first frame says: confines the process and loads the library. None if the library can't be
/// loaded; the host has been told why.
fn load(
    pipe: &mut Pipe<BufReader<File>, File>,
    confine: Confine,
) -> Result<Option<(Library, Vec<String>)>, FrameError> {
    let (ToWorker::Load { path, sha256, permissions, host }, _) = pipe.receive()? else {
        return Err(FrameError::OutOfTurn);
    };
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsFd;
        sandbox::tidy([pipe.input.get_ref().as_fd(), pipe.output.as_fd()], host)?;
    }
    #[cfg(not(target_os = "linux"))]
    let _ = host;
    // The copy in memory that is loaded (see library::prepare) is made before the sandbox, which forbids that.
    let prepared = library::prepare(&path, sha256);
    let unconfined = confine(&permissions, &path)?;
    match prepared.and_then(|prepared| library::load(&prepared)) {
        Ok(library) => Ok(Some((library, unconfined))),
        Err(error) => {
            let mut why = error.to_string();
            why.truncate(why.floor_char_boundary(LONGEST_REASON));
            pipe.send(&FromWorker::NotLoaded, why.as_bytes())?;
            Ok(None)
        }
    }
}
