//! A PostgreSQL server of a test's own.

use std::fs;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::wait_for;

/// A PostgreSQL server in a directory of its own, with an empty database `tickets`. Root runs it as the user postgres, since it refuses root.
#[derive(Debug)]
pub struct Postgres {
    pub directory: TempDir,
    pub port: u16,
    settings: Vec<String>,
    process: Option<Child>,
}

/// Where PostgreSQL's programs are, which tests/real/postgres.sh installs.
pub fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let number = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions.map(|version| version.path()).max_by_key(number)?;
    Some(newest.join("bin"))
}

/// A program of PostgreSQL's, as a user that it doesn't refuse.
pub fn program(name: &str) -> Command {
    as_postgres(&programs().unwrap().join(name))
}

/// A program that refuses root: root runs it as the user postgres.
pub fn as_postgres(program: &Path) -> Command {
    let mut command = if is_root() {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.current_dir("/").stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Gives a directory, and what is in it, to who runs such a program.
pub fn give_away(directory: &Path) {
    if is_root() {
        let given = Command::new("chown").args(["-R", "postgres"]).arg(directory).status();
        assert!(given.unwrap().success());
    }
}

fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

impl Postgres {
    /// One that forgets what it has committed if the machine loses its power, which no test does to it.
    pub fn start() -> Postgres {
        Postgres::start_with(&["fsync=off"])
    }

    /// One with these settings, such as `max_connections=200`.
    pub fn start_with(settings: &[&str]) -> Postgres {
        let directory = tempfile::tempdir().unwrap();
        give_away(directory.path());
        let data = directory.path().join("data");
        let made = program("initdb")
            .arg("-D")
            .arg(&data)
            .args(["-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"])
            .status();
        assert!(made.unwrap().success());
        // It is free now. Whoever takes it before the server does makes this test fail, and no other one.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let settings = settings.iter().map(|&setting| setting.to_owned()).collect();
        let mut server = Postgres { directory, port, settings, process: None };
        server.start_again();
        server.sql("postgres", "CREATE DATABASE tickets");
        server
    }

    /// Starts the server that was killed.
    pub fn start_again(&mut self) {
        // What the one before has left of itself may still be about to end.
        wait_for("the server to start", || {
            let mut command = program("postgres");
            command.arg("-D").arg(self.directory.path().join("data"));
            command.args(["-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
            command.args(["-c", "unix_socket_directories="]);
            for setting in &self.settings {
                command.args(["-c", setting]);
            }
            let mut started = command.process_group(0).spawn().unwrap();
            let mut answers = false;
            wait_for("the server to answer or end", || {
                answers = self.try_sql("postgres", "SELECT 1").is_some();
                answers || started.try_wait().unwrap().is_some()
            });
            self.process = Some(started);
            answers
        });
    }

    /// The process that all others of the server are children of.
    pub fn id(&self) -> Option<u32> {
        let pid = fs::read_to_string(self.directory.path().join("data/postmaster.pid")).ok()?;
        pid.lines().next()?.parse().ok()
    }

    /// Kills all of it at once, as a machine that loses its power.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let pid = self.id().and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed()));
            if let Some(pid) = pid {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
            let _ = process.kill();
            process.wait().unwrap();
        }
    }

    /// What a statement prints; None if it failed.
    pub fn try_sql(&self, database: &str, sql: &str) -> Option<String> {
        let done = Command::new(programs().unwrap().join("psql"))
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "postgres"])
            .args(["-d", database, "-qAt", "-v", "ON_ERROR_STOP=1", "-c", sql])
            .output()
            .unwrap();
        done.status.success().then(|| String::from_utf8(done.stdout).unwrap().trim().to_owned())
    }

    /// What a statement prints.
    #[track_caller]
    pub fn sql(&self, database: &str, sql: &str) -> String {
        self.try_sql(database, sql).unwrap_or_else(|| panic!("{sql}"))
    }

    /// A host's setting `queue.url` for one of the databases.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Lets a host that works on the database be sure that what begins now is new: as if it had known the server for long.
    pub fn is_known_for_long(&self, database: &str) {
        self.sql(database, "UPDATE ticket_host.clock SET since = since - 3600000");
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
    }
}
