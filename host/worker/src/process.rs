//! A worker from its start to its end: standard handles, first frame, sandbox, library, calls.

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

/// The first argument that makes the program a worker. Pairs of numbers after it, `THREADS TIMES ...`, make
/// one for the validator, which calls many instances by itself.
pub const ARGUMENT: &str = "worker";

/// Bytes of the reason why a library can't be loaded, of which a loader's own words may be a part.
const LONGEST_REASON: usize = 4 << 10;

/// Gives up what a plugin in the file of that name doesn't need. Returns what could not be enforced, a
/// sentence each.
pub type Confine = fn(&Permissions, &Path) -> io::Result<Vec<String>>;

/// Runs a worker with the arguments behind [`ARGUMENT`], until the host closes the pipe.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    main_with(sandbox::enter, arguments)
}

/// As [`main`], with another sandbox, so that what the sandbox costs can be measured.
pub fn main_with(confine: Confine, arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    #[cfg(windows)]
    sandbox::end_quietly();
    let arguments: Vec<String> =
        arguments.into_iter().map(|argument| argument.to_string_lossy().into_owned()).collect();
    match run(confine, &arguments) {
        Ok(()) => ExitCode::SUCCESS,
        // The host closed the pipe: that is how a worker is told to end.
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

/// Does what the host's first frame says. None where the library can't be loaded, of which the host was told.
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
    // Before the sandbox, in which nobody makes memory that can be loaded.
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
