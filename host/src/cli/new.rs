//! `ticket-host plugins new`: a folder with a plugin that builds, passes its tests and the validator.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ticket_plugin_api::abi::host_side::{HEADER, HELPERS};

use super::print;
use crate::error::{Error, Result};
use crate::plugins::manifest::is_name;

/// Start a plugin: a folder that builds, with tests. It talks to a made-up JSON API; its README says
/// where to change what.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The plugin's name, as configs will have it
    name: String,
    /// In which language
    #[arg(long, value_enum, default_value_t = Language::Rust)]
    lang: Language,
    /// Where to put the folder [default: its name]
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Rust: where the crate ticket-plugin-api lies [default: beside this program's sources, else
    /// crates.io]
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

/// Names of files and their texts, with placeholders in both.
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

    /// What isn't written for one language: the header, the tests that play the host, and what the
    /// validator needs to know.
    fn shared(self) -> Vec<(&'static str, &'static str)> {
        const TEST: &str = include_str!("../../templates/shared/test.c");
        const VALIDATE: &str = include_str!("../../templates/shared/validate.toml");
        let mut files = vec![("validate.toml", VALIDATE)];
        if self != Language::Rust {
            files.extend([("include/ticket_plugin.h", HEADER), ("test.c", TEST)]);
        }
        if self == Language::C {
            files.push(("include/ticket_plugin_helpers.h", HELPERS));
        }
        files
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let name = &arguments.name;
    // Files and crates of these names are there already.
    if !is_name(name) || ["test", "api"].contains(&name.as_str()) {
        return Err(Error::usage(format!("{name:?} is no name for a plugin")).help(
            "1 to 64 of a-z, 0-9, - and _, beginning with a letter; neither \"test\" nor \"api\"",
        ));
    }
    let folder = arguments.to.clone().unwrap_or_else(|| PathBuf::from(name));
    let failed = |path: &Path, cause: std::io::Error| {
        let error = Error::usage(format!("{}: can't be written", path.display())).cause(cause);
        error.help("name another folder with --to")
    };
    fs::create_dir(&folder).map_err(|cause| failed(&folder, cause))?;
    let ident = name.replace('-', "_");
    let api = crate_place(arguments.api.as_deref());
    let fill = |text: &str| {
        text.replace("{{name}}", name).replace("{{ident}}", &ident).replace("{{api}}", &api)
    };
    for (file, text) in arguments.lang.files().iter().copied().chain(arguments.lang.shared()) {
        let (file, text) = (fill(file), fill(text));
        let path = folder.join(file);
        let directory = path.parent().unwrap_or(&folder);
        fs::create_dir_all(directory).map_err(|cause| failed(directory, cause))?;
        fs::write(&path, text).map_err(|cause| failed(&path, cause))?;
    }
    let folder = folder.display();
    print(&format!("{folder}\nnext: {folder}/README.md says how to build, test and validate it\n"));
    Ok(ExitCode::SUCCESS)
}

/// What stands behind `ticket-plugin-api = ` in a Cargo.toml.
fn crate_place(named: Option<&Path>) -> String {
    let named = named.and_then(|path| std::path::absolute(path).ok());
    let place = named.or_else(|| {
        let program = std::env::current_exe().ok()?;
        let beside = program.ancestors().map(|at| at.join("plugin-api"));
        beside.into_iter().find(|at| at.join("include/ticket_plugin.h").is_file())
    });
    match place {
        // TOML's basic strings are escaped like Rust's, as far as paths go.
        Some(path) => format!("{{ path = {:?} }}", path.display().to_string()),
        None => format!("{:?}", ticket_plugin_api::VERSION),
    }
}
