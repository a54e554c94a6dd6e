//! A plugin in the host's own process: for operators who trust it with everything that the host has.
//!
//! Nothing contains such a plugin: if it crashes the host ends, and a function that doesn't return keeps its
//! thread for good.

use std::time::Duration;

use ticket_host_worker::library::{self, Image, LoadError};
use ticket_plugin_api::abi::host_side::{Host, HttpAnswer, HttpRequest, Table};
use tokio::runtime::Handle;

use crate::worker::Peer;

/// Loads a library and gives its table.
pub(crate) fn load(image: &Image) -> Result<Table, LoadError> {
    Ok(library::load(image)?.table)
}

/// Connects a plugin's functions, which block while they ask the host for something, with a [`Peer`], whose
/// functions are async. It must not be used on a thread that drives the runtime.
pub(super) struct Blocking<'a, P> {
    peer: &'a P,
    runtime: Handle,
}

impl<'a, P: Peer> Blocking<'a, P> {
    pub(super) fn new(peer: &'a P, runtime: Handle) -> Blocking<'a, P> {
        Blocking { peer, runtime }
    }
}

impl<P: Peer> Host for Blocking<'_, P> {
    fn http(&mut self, request: HttpRequest) -> HttpAnswer {
        self.runtime.block_on(self.peer.http(request))
    }

    fn render(&mut self, part: &str, format: &str, extra: &str) -> Result<String, String> {
        let rendered = self.peer.render(part.to_owned(), format.to_owned(), extra.to_owned());
        self.runtime.block_on(rendered)
    }

    fn log(&mut self, level: u32, message: &str) {
        self.peer.log(level, message);
    }

    fn remaining(&self) -> Duration {
        self.peer.remaining()
    }
}
