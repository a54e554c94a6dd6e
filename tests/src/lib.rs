//! What the end-to-end tests share: the real program in a directory of its own, and a stub server.
#![allow(clippy::unwrap_used)]

mod desk;
pub mod pages;
pub mod postgres;
mod service;
mod skip;
mod stub;
mod tickets;
mod webhook;

use std::env::consts::{DLL_PREFIX, DLL_SUFFIX, EXE_SUFFIX};
use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

pub use desk::{desk, key_of, ticket_of};
pub use service::{Reply, Service, agent, post, wait_for};
pub use skip::skipped;
pub use stub::{Answer, Seen, Stub};
pub use tickets::{Fate, Tickets, Written};
pub use webhook::webhook_as;

const WINDOWS_PROGRAM: &str = "ticket-host.exe";

/// Both ways to run a plugin. A plugin that doesn't crash must behave the same in both.
pub const ISOLATIONS: [&str; 2] = ["worker", "in-process"];

/// The directory with the host and the Rust plugins, as `cargo build` leaves them there. They are built first,
/// unless the variable `TICKET_HOST_BUILT` says that they are: tests/real/kernels.sh runs a copy of all that is
/// built.
pub fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        // target/debug/deps/this-test
        let own = std::env::current_exe().unwrap();
        let profile = own.parent().and_then(Path::parent).unwrap().to_owned();
        if std::env::var_os("TICKET_HOST_BUILT").is_some() {
            return profile;
        }
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
        cargo.args(["build", "--quiet", "--workspace", "--exclude", env!("CARGO_PKG_NAME")]);
        // The profile that this test was built with. Its directory has its name, but for `dev`.
        let name = profile.file_name().unwrap();
        if name != "debug" {
            cargo.arg("--profile").arg(name);
        }
        cargo.arg("--target-dir").arg(profile.parent().unwrap());
        // Cargo set these variables for this package. They would look like a change to ring's build
        // script: ring and all that is built on it would be compiled anew, here and in the next
        // build from a shell.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            let own = ["CARGO_PKG_", "CARGO_MANIFEST_", "OUT_DIR"];
            if own.iter().any(|start| text.starts_with(start)) {
                cargo.env_remove(&name);
            }
        }
        let status = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap();
        assert!(status.success(), "the host and the plugins don't build");
        profile
    })
}

/// The file of a library that is called `ticket_plugin_NAME`.
pub fn library_name(name: &str) -> String {
    format!("{DLL_PREFIX}ticket_plugin_{}{DLL_SUFFIX}", name.replace('-', "_"))
}

/// The library of a plugin that is built with the C compiler: `webhook`, `hostile`, `refused`, or the name of a variant of
/// faulty.c or breaks.c.
pub fn c_plugin(name: &str) -> PathBuf {
    Path::new(env!("C_PLUGINS")).join(library_name(name))
}

/// The library of a plugin that is built by cargo.
pub fn rust_plugin(name: &str) -> PathBuf {
    built().join(library_name(name))
}

/// The file of a recorded incident.
pub fn incident(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("incidents").join(format!("{name}.json"));
    assert!(path.exists(), "{}", path.display());
    path
}

/// The program in a directory of its own, with a plugin directory and a config.
#[derive(Debug)]
pub struct Installation {
    root: TempDir,
    /// Whether the program is the one for Windows, which runs under wine.
    wine: bool,
}

/// How a run of the program ended, and what it wrote.
#[derive(Debug)]
pub struct Run {
    /// The exit code. If it is negative, the number of the signal that ended the program.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Installation {
    /// An installation without plugins, with an empty config.
    #[expect(clippy::new_without_default, reason = "it builds the program")]
    pub fn new() -> Installation {
        // Beside what is built, so that the program can be hard-linked instead of copied.
        let root = tempfile::tempdir_in(built()).unwrap();
        let installation = Installation { root, wine: false };
        for directory in ["bin", "plugins", "tickets"] {
            fs::create_dir(installation.path(directory)).unwrap();
        }
        let program = format!("ticket-host{EXE_SUFFIX}");
        fs::hard_link(built().join(&program), installation.path("bin").join(&program)).unwrap();
        installation.config("");
        installation
    }

    /// Like [`Installation::new`], with the program for Windows that lies in the directory
    /// `WINDOWS_BUILD`; it runs under wine.
    ///
    /// # Panics
    /// Outside of tests/real/windows.sh.
    pub fn for_windows() -> Installation {
        let build = PathBuf::from(std::env::var_os("WINDOWS_BUILD").unwrap());
        let installation = Installation { root: tempfile::tempdir().unwrap(), wine: true };
        for directory in ["bin", "plugins", "tickets"] {
            fs::create_dir(installation.path(directory)).unwrap();
        }
        fs::copy(build.join(WINDOWS_PROGRAM), installation.path("bin").join(WINDOWS_PROGRAM))
            .unwrap();
        installation.config("");
        installation
    }

    /// An installation with this plugin, and with a backend `b` that uses it. `rest` is TOML: the backend's
    /// other settings.
    pub fn with(plugin: &Path, endpoint: &str, rest: &str) -> Installation {
        let installation = Installation::new();
        installation.add(plugin);
        let file = plugin.file_name().unwrap().to_string_lossy();
        let name = file.split("ticket_plugin_").last().unwrap().split('.').next().unwrap();
        installation.config(&format!(
            "[backends.b]\nplugin = \"{name}\"\nendpoint = \"{endpoint}\"\n{rest}\n"
        ));
        installation
    }

    /// The TOML of a backend whose tickets are files in the directory `tickets`.
    pub fn local(&self, backend: &str) -> String {
        let tickets = self.path("tickets");
        let endpoint = url::Url::from_directory_path(&tickets).unwrap();
        format!(
            "[backends.{backend}]\nplugin = \"local\"\nendpoint = \"{endpoint}\"\n\
             permissions = {{ write = [{tickets:?}] }}\n"
        )
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Drops a library into the plugin directory.
    pub fn add(&self, library: &Path) -> &Installation {
        let target = self.path("plugins").join(library.file_name().unwrap());
        fs::copy(library, target).unwrap();
        self
    }

    pub fn config(&self, text: &str) -> &Installation {
        let text = format!("plugin_dirs = [\"plugins\"]\n{text}");
        fs::write(self.path("config.toml"), text).unwrap();
        self
    }

    /// The command that runs the program with the installation's config, these arguments and an empty environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = if self.wine {
            let mut wine = Command::new("/usr/lib/wine/wine64");
            wine.arg(self.path("bin").join(WINDOWS_PROGRAM)).env_clear();
            wine.envs(std::env::vars_os().filter(|(name, _)| {
                name.to_string_lossy().starts_with("WINE") || name == "HOME" || name == "LC_ALL"
            }));
            wine
        } else {
            let program = self.path("bin").join(format!("ticket-host{EXE_SUFFIX}"));
            let mut command = Command::new(program);
            command.env_clear();
            command
        };
        // Else installations would share the store of this machine's user.
        command.env("XDG_STATE_HOME", self.path("state"));
        command.arg("--config").arg(self.path("config.toml")).args(arguments);
        if let Some(root) = std::env::var_os("SystemRoot") {
            command.env("SystemRoot", root);
        }
        command.current_dir(self.root.path());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Run {
        run(self.command(arguments), b"")
    }

    /// Runs `create` with a recorded incident.
    pub fn create(&self, name: &str, arguments: &[&str]) -> Run {
        let file = incident(name);
        let mut all = vec!["create", file.to_str().unwrap()];
        all.extend(arguments);
        self.run(&all)
    }

    /// Runs `create` with `input` on its standard input.
    pub fn create_from(&self, input: &[u8], arguments: &[&str]) -> Run {
        let mut all = vec!["create"];
        all.extend(arguments);
        run(self.command(&all), input)
    }
}

/// Runs a command to its end, with `input` on its standard input.
pub fn run(mut command: Command, input: &[u8]) -> Run {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // This fails if the program ends before it has read all of its input, which it may.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    let status = output.status;
    Run {
        code: status.code().or_else(|| status.signal().map(|signal| -signal)).unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Run {
    /// Asserts that the run ended with `code`.
    #[track_caller]
    pub fn ended(self, code: i32) -> Run {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    /// Asserts that the run wrote `text` to standard error.
    #[track_caller]
    pub fn says(self, text: &str) -> Run {
        assert!(self.stderr.contains(text), "no {text:?} in:\n{}", self.stderr);
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|cause| panic!("{cause}: {self:?}"))
    }
}
