//! Tries in create() what a Rust plugin can with the standard library alone; the ticket's warnings tell
//! what became of it. `faulty/hostile.c` goes deeper.

use std::env;
use std::fs;
use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::Command;

use schemars::JsonSchema;
use serde::Deserialize;
use ticket_plugin_api::{
    About, Call, Check, Incident, Result, Settings, Ticket, TicketPlugin, TicketRequest,
    export_plugin,
};

#[derive(Deserialize, JsonSchema)]
struct Nothing {}

struct Hostile;

impl TicketPlugin for Hostile {
    const ABOUT: About = About { name: "hostile_rust", ..About::new("1") };
    type Secret = Nothing;
    type Information = Nothing;

    fn open(_: Settings<Nothing, Nothing>) -> Result<Hostile> {
        Ok(Hostile)
    }

    fn check(&mut self, _: &Call) -> Result<Vec<Check>> {
        Ok(Vec::new())
    }

    fn create(&mut self, _: &Call, _: &TicketRequest<Incident>) -> Result<Ticket> {
        let parent = std::os::unix::process::parent_id();
        let of_parent = |what: &str| fs::read(format!("/proc/{parent}/{what}")).map(drop);
        let mut memory = Vec::<u8>::new();
        let attempts: [(&str, io::Result<()>); 14] = [
            ("TcpStream::connect", TcpStream::connect("127.0.0.1:9").map(drop)),
            ("TcpListener::bind", TcpListener::bind("127.0.0.1:0").map(drop)),
            ("UdpSocket::bind", UdpSocket::bind("127.0.0.1:0").map(drop)),
            ("resolve a name", TcpStream::connect("localhost:9").map(drop)),
            ("read /etc/passwd", fs::read("/etc/passwd").map(drop)),
            ("read the host's environment", of_parent("environ")),
            ("read the host's command line", of_parent("cmdline")),
            ("list /", fs::read_dir("/").map(drop)),
            ("list the working directory", fs::read_dir(".").map(drop)),
            ("write to /tmp", fs::write("/tmp/ticket-host-hostile-rust", "x")),
            ("make a directory", fs::create_dir("/tmp/ticket-host-hostile-rust.d")),
            ("Command", Command::new("/bin/true").status().map(drop)),
            ("see a variable", env::vars().next().map(drop).ok_or(io::ErrorKind::NotFound.into())),
            ("allocate 100 GiB", memory.try_reserve(100 << 30).map_err(io::Error::other)),
        ];
        let warnings = attempts.into_iter().map(|(name, result)| match result {
            Ok(()) => format!("{name}: OK"),
            Err(cause) => format!("{name}: {cause}"),
        });
        let warnings = warnings.collect();
        let url = "https://tickets.example.org/1".to_owned();
        Ok(Ticket { url, warnings, ..Ticket::default() })
    }

    fn find(&mut self, _: &Call, _: &TicketRequest<Incident>) -> Result<Option<Ticket>> {
        Ok(None)
    }
}

export_plugin!(Hostile);
