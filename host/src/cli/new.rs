//! `ticket-host plugins new`: a folder with a plugin that builds, passes its tests and the validator.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;
use ticket_plugin_api::abi::host_side::{HEADER, HELPERS};

use super::folder::Staged;
use super::output::{print, print_json};
use super::sdk;
use crate::error::{Error, Result};
use crate::plugins::manifest::is_name;
use crate::terminal::line;

const EXAMPLES: &str = "\
Examples:
  ticket-host plugins new acme
  ticket-host plugins new acme --lang c --to ~/src/acme";

/// Start a plugin of your own: a folder that builds, with tests. It talks to a made-up JSON API, and its
/// README says what to change where. Its files are yours to close, change and sell (MIT-0; the SDK of a plugin in Rust: MIT or
/// Apache-2.0).
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The plugin's name, by which configs will name it
    name: String,
    /// The language to write it in
    #[arg(long, value_enum, default_value_t = Language::Rust)]
    lang: Language,
    /// The folder to make [default: one with the plugin's name, in the current directory]
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// For Rust, the folder of an SDK that several plugins share [default: the plugin gets one of its own, in its
    /// folder sdk]
    #[arg(long, value_name = "DIR")]
    api: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Language {
    Rust,
    C,
    Cpp,
    Zig,
    Go,
}

/// The folder of the SDK in a new plugin in Rust.
const SDK: &str = "sdk";

/// The names of files and their texts. Both have placeholders, like `{{name}}`.
type Files = &'static [(&'static str, &'static str)];

macro_rules! files {
    ($folder:literal: $($target:literal = $file:literal),*) => {
        &[$(($target, include_str!(concat!("../../templates/", $folder, "/", $file)))),*]
    };
}

impl Language {
    const fn files(self) -> Files {
        match self {
            Language::Rust => {
                files!("rust": ".gitignore" = "gitignore", "Cargo.toml" = "Cargo.toml.in",
                "README.md" = "README.md", "src/lib.rs" = "src/lib.rs", "src/tests.rs" = "src/tests.rs")
            }
            Language::C => files!("c": ".gitignore" = "gitignore", "Makefile" = "Makefile",
                "README.md" = "README.md", "{{ident}}.c" = "plugin.c"),
            Language::Cpp => files!("cpp": ".gitignore" = "gitignore", "Makefile" = "Makefile",
                "README.md" = "README.md", "json.hpp" = "json.hpp", "{{ident}}.cpp" = "plugin.cpp"),
            Language::Zig => files!("zig": ".gitignore" = "gitignore", "build.zig" = "build.zig",
                "README.md" = "README.md", "src/main.zig" = "src/main.zig", "src/abi.zig" = "src/abi.zig"),
            Language::Go => files!("go": ".gitignore" = "gitignore", "Makefile" = "Makefile",
                "README.md" = "README.md", "go.mod" = "go.mod", "main.go" = "main.go",
                "plugin.c" = "plugin.c", "plugin.h" = "plugin.h"),
        }
    }

    /// The files that are the same for several languages: the licence of all that is written, the settings for the
    /// validator, the C header, the tests in C that play the host, and the list of exported symbols.
    fn shared(self) -> Vec<(&'static str, &'static str)> {
        const LICENSE: &str = include_str!("../../templates/shared/LICENSE-TEMPLATE");
        const TEST: &str = include_str!("../../templates/shared/test.c");
        const VALIDATE: &str = include_str!("../../templates/shared/validate.toml");
        const EXPORTS: &str = include_str!("../../templates/shared/exports.map");
        let mut files = vec![("LICENSE-TEMPLATE", LICENSE), ("validate.toml", VALIDATE)];
        if self != Language::Rust {
            files.extend([("include/ticket_plugin.h", HEADER), ("test.c", TEST)]);
        }
        // Zig exports what its source marks, and no more.
        if matches!(self, Language::C | Language::Cpp | Language::Go) {
            files.push(("exports.map", EXPORTS));
        }
        if self == Language::C {
            files.push(("include/ticket_plugin_helpers.h", HELPERS));
        }
        files
    }
}

pub(super) fn run(arguments: &Arguments, program: &super::Arguments) -> Result<ExitCode> {
    let name = &arguments.name;
    // The source of a plugin "test" would have the name of its own tests (test.c), and the crate of a plugin
    // "api" that of the crate that it needs (ticket-plugin-api).
    if !is_name(name) || ["test", "api"].contains(&name.as_str()) {
        return Err(Error::usage(format!("{name:?} can't be the name of a plugin")).help(
            "take 1 to 64 of a-z, 0-9, - and _, beginning with a letter; not \"test\" and not \"api\"",
        ));
    }
    let folder = arguments.to.clone().unwrap_or_else(|| PathBuf::from(name));
    let failed = |path: &Path, cause: std::io::Error| {
        let error = Error::usage(format!("{} can't be written", path.display())).cause(cause);
        error.help("name another folder with --to")
    };
    let api = match &arguments.api {
        Some(folder) => api_dependency(folder)?,
        None => format!("{{ path = {SDK:?} }}"),
    };
    if folder.symlink_metadata().is_ok() {
        return Err(failed(&folder, std::io::ErrorKind::AlreadyExists.into()));
    }
    let staged = Staged::beside(&folder).map_err(|cause| failed(&folder, cause))?;
    let ident = name.replace('-', "_");
    let fill = |text: &str| {
        text.replace("{{name}}", name).replace("{{ident}}", &ident).replace("{{api}}", &api)
    };
    for (file, text) in arguments.lang.files().iter().copied().chain(arguments.lang.shared()) {
        let file = fill(file);
        staged.write(&file, &fill(text)).map_err(|cause| failed(&folder.join(file), cause))?;
    }
    if arguments.lang == Language::Rust && arguments.api.is_none() {
        sdk::write(&staged.path().join(SDK))?;
    }
    staged.put(&folder).map_err(|cause| failed(&folder, cause))?;
    let readme = folder.join("README.md");
    let (folder, readme) = (folder.display().to_string(), readme.display().to_string());
    let answered = if program.json {
        print_json(&json!({"folder": folder, "readme": readme}))
    } else {
        let (folder, readme) = (line(&folder), line(&readme));
        print(&format!("{folder}\nnext: {readme} says how to build, test and validate it\n"))
    };
    answered.map_err(|lost| lost.at(&format!("the plugin is in {folder}")))?;
    Ok(ExitCode::SUCCESS)
}

/// What a plugin's Cargo.toml says after `ticket-plugin-api = `.
fn api_dependency(folder: &Path) -> Result<String> {
    let unusable = |cause| Error::usage(format!("{} is no folder", folder.display())).cause(cause);
    let absolute = std::path::absolute(folder).map_err(unusable)?;
    let manifest = absolute.join("Cargo.toml");
    if !manifest.is_file() {
        let error = Error::usage(format!("{} is not there", manifest.display()));
        return Err(error
            .help("--api names the folder of an SDK; `ticket-host plugins sdk DIR` writes one"));
    }
    // What a path can hold is escaped in a TOML string as Rust's Debug escapes it.
    Ok(format!("{{ path = {:?} }}", absolute.display().to_string()))
}
