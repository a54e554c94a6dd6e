//! A plugin in the host's own process: for operators who trust it with everything that the host has.
//!
//! What a worker would contain isn't contained here: a crash ends the host, and a function that
//! doesn't return keeps a thread for good.

use std::path::Path;
use std::time::Duration;

use ticket_plugin_api::abi::host_side::{
    Host, HttpAnswer, HttpRequest, Instance, Operation, Returned,
};
use tokio::runtime::Handle;

use crate::call::CallContext;
use crate::library::{self, LoadError};

/// An open instance.
#[derive(Debug)]
pub struct InProcess {
    instance: Instance,
}

/// Loads `library`, whose bytes have that digest if one is given, and opens an instance; Err is what
/// open() returned instead.
pub fn open(
    library: &Path,
    sha256: Option<&str>,
    settings: &str,
    context: &CallContext,
) -> Result<Result<InProcess, Returned>, LoadError> {
    let library = library::load(&library::prepare(library, sha256)?)?;
    let mut host = Direct { context, runtime: Handle::current() };
    Ok(library.table.open(settings, &mut host).map(|instance| InProcess { instance }))
}

impl InProcess {
    /// Calls the instance, on this thread until it returns. Must not run on a thread that drives
    /// the runtime: http() blocks on it.
    pub fn call(&mut self, operation: Operation, request: &str, context: &CallContext) -> Returned {
        let mut host = Direct { context, runtime: Handle::current() };
        self.instance.call(operation, request, &mut host)
    }
}

struct Direct<'a> {
    context: &'a CallContext,
    runtime: Handle,
}

impl Host for Direct<'_> {
    fn http(&mut self, request: HttpRequest) -> HttpAnswer {
        self.runtime.block_on(self.context.http(request))
    }

    fn render(&mut self, part: &str, format: &str, extra: &str) -> Result<String, String> {
        self.context.render(part, format, extra)
    }

    fn log(&mut self, level: u32, message: &str) {
        self.context.log(level, message);
    }

    fn remaining(&self) -> Duration {
        self.context.remaining()
    }
}
