//! Compiles the C plugins that the tests load: each variant of `faulty/faulty.c`, the hostile one, the greedy
//! one, the one that makes refused calls, the webhook, and the clock that can be set.
//!
//! The tests find them in the directory `env!("C_PLUGINS")`. The variable `CC` names the compiler; without it,
//! it is `cc`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// The variants of `faulty.c`. The comments there say what they do.
const VARIANTS: [&str; 23] = [
    "no_symbol",
    "null_table",
    "other_version",
    "small_table",
    "null_create",
    "null_open",
    "null_find",
    "larger_table",
    "not_json",
    "no_name",
    "bad_name",
    "not_utf8",
    "huge_manifest",
    "constructor_segfault",
    "constructor_prints",
    "constructor_spins",
    "entry_exits",
    "misbehaves",
    "schema_bomb",
    "schema_circle",
    "schema_within",
    "alias_local",
    "promises",
];

/// The validator's cases for which `breaks.c` is compiled to a library of its own.
const COMPILED_IN: [&str; 7] =
    ["symbol", "table", "load_time", "manifest", "schemas", "permissions", "find_offered"];

fn main() {
    if let Err(message) = build() {
        // Cargo takes one line for one error.
        for line in message.lines() {
            println!("cargo::error={line}");
        }
        std::process::exit(1);
    }
}

fn build() -> Result<(), String> {
    let tests = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let root = tests.parent().ok_or("the tests lie in no workspace")?;
    let include = root.join("plugin-api/include");
    let faulty = tests.join("faulty/faulty.c");
    let webhook = root.join("plugins/webhook-c/webhook.c");
    let hostile = tests.join("faulty/hostile.c");
    let greedy = tests.join("faulty/greedy.c");
    let refused = tests.join("faulty/refused.c");
    for source in
        [&faulty, &hostile, &greedy, &refused, &webhook, &include, &tests.join("build.rs")]
    {
        println!("cargo::rerun-if-changed={}", source.display());
    }
    println!("cargo::rerun-if-env-changed=CC");

    let plugins = PathBuf::from(variable("OUT_DIR")?).join("plugins");
    let made_anew =
        fs::remove_dir_all(&plugins).or(Ok(())).and_then(|()| fs::create_dir_all(&plugins));
    made_anew.map_err(|cause| format!("can't make {}: {cause}", plugins.display()))?;

    let compiler = Compiler::of_this_target(&include, &plugins)?;
    compiler.library("webhook", &webhook, &["-pedantic".into()])?;
    // This one is compiled against a copy of the header of ABI v1 as it was released.
    let v1 = tests.join("abi/v1");
    println!("cargo::rerun-if-changed={}", v1.display());
    let then = Compiler { include: v1.clone(), ..compiler.clone() };
    then.library("frozen", &v1.join("plugin.c"), &["-pedantic".into()])?;
    // And this one against a copy of the day when it grew.
    let grown = tests.join("abi/v1-grown");
    println!("cargo::rerun-if-changed={}", grown.display());
    let later = Compiler { include: grown.clone(), ..compiler.clone() };
    later.library("grown", &grown.join("plugin.c"), &["-pedantic".into()])?;
    if compiler.extension != "dll" {
        let host = tests.join("abi/other_host.c");
        println!("cargo::rerun-if-changed={}", host.display());
        then.program("earlier_host", &host, &["-DEARLIER".into()])?;
        later.program("later_host", &host, &[])?;
    }
    let breaks = tests.join("faulty/breaks.c");
    println!("cargo::rerun-if-changed={}", breaks.display());
    let hidden = "-fvisibility=hidden".to_owned();
    compiler.library("breaks", &breaks, std::slice::from_ref(&hidden))?;
    for case in COMPILED_IN {
        let define = format!("-DBREAKS_{}", case.to_uppercase());
        compiler.library(&format!("breaks_{case}"), &breaks, &[hidden.clone(), define])?;
    }
    let life = tests.join("faulty/breaks_life.c");
    println!("cargo::rerun-if-changed={}", life.display());
    compiler.library("breaks_life", &life, std::slice::from_ref(&hidden))?;
    let offered = "-DBREAKS_UPDATE_OFFERED".to_owned();
    compiler.library("breaks_update_offered", &life, &[hidden.clone(), offered])?;
    let many = tests.join("faulty/many.c");
    println!("cargo::rerun-if-changed={}", many.display());
    compiler.library("many", &many, &[])?;
    // What these try are system calls of Linux.
    if compiler.extension == "so" {
        compiler.library("refused", &refused, &["-std=gnu11".into()])?;
        let filtered = tests.join("faulty/filtered.c");
        println!("cargo::rerun-if-changed={}", filtered.display());
        compiler.program("filtered", &filtered, &[])?;
        compiler.library("hostile", &hostile, &["-std=gnu11".into()])?;
        compiler.library("quiet", &hostile, &["-std=gnu11".into(), "-DQUIET".into()])?;
        let forges = ["-std=gnu11".into(), "-DFORGES_LOADED".into()];
        compiler.library("forges_loaded", &hostile, &forges)?;
        compiler.library("greedy", &greedy, &["-std=gnu11".into()])?;
        let clock = tests.join("faulty/clock.c");
        println!("cargo::rerun-if-changed={}", clock.display());
        compiler.library("clock", &clock, &["-std=gnu11".into()])?;
    }
    for variant in VARIANTS {
        let defines =
            [format!("-DFAULT_{}", variant.to_uppercase()), format!("-DPLUGIN_NAME=\"{variant}\"")];
        compiler.library(variant, &faulty, &defines)?;
    }
    println!("cargo::rustc-env=C_PLUGINS={}", plugins.display());
    Ok(())
}

fn variable(name: &str) -> Result<OsString, String> {
    env::var_os(name).ok_or_else(|| format!("cargo did not set {name}"))
}

#[derive(Clone)]
struct Compiler {
    /// The compiler's program, and the arguments that every call of it begins with.
    command: Vec<String>,
    flags: Vec<OsString>,
    include: PathBuf,
    plugins: PathBuf,
    extension: &'static str,
}

impl Compiler {
    fn of_this_target(include: &Path, plugins: &Path) -> Result<Compiler, String> {
        let from_env = env::var("CC").unwrap_or_default();
        let mut command: Vec<String> = from_env.split_whitespace().map(str::to_owned).collect();
        if command.is_empty() {
            command.push("cc".to_owned());
        }
        let target = variable("CARGO_CFG_TARGET_OS")?;
        let extension = match target.to_str() {
            Some("windows") => "dll",
            Some("macos") => "dylib",
            _ => "so",
        };
        let mut flags: Vec<OsString> = Vec::new();
        flags.extend(["-O1", "-std=c99", "-Wall", "-Wextra", "-Werror"].map(Into::into));
        if extension != "dll" {
            flags.extend(["-fPIC", "-pthread"].map(Into::into));
        }
        let (include, plugins) = (include.to_owned(), plugins.to_owned());
        Ok(Compiler { command, flags, include, plugins, extension })
    }

    /// Compiles `source` to the plugin library `name`.
    fn library(&self, name: &str, source: &Path, defines: &[String]) -> Result<(), String> {
        let library = self.plugins.join(format!("libticket_plugin_{name}.{}", self.extension));
        let more: Vec<OsString> =
            std::iter::once("-shared".into()).chain(defines.iter().map(Into::into)).collect();
        self.compile(source, &library, &more, &[])
    }

    /// Compiles `source` to a program beside the libraries.
    fn program(&self, name: &str, source: &Path, defines: &[OsString]) -> Result<(), String> {
        let program = self.plugins.join(format!("libticket_plugin_{name}"));
        self.compile(source, &program, defines, &["-ldl".into()])
    }

    fn compile(
        &self,
        source: &Path,
        target: &Path,
        more: &[OsString],
        libraries: &[OsString],
    ) -> Result<(), String> {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).args(&self.flags).arg("-I").arg(&self.include).args(more);
        command.arg("-o").arg(target).arg(source).args(libraries);
        let output = command.output().map_err(|cause| {
            format!(
                "the tests' plugins are in C, and the C compiler `{}` can't be run: {cause}\n\
                 Install one (Debian: apt install gcc libc6-dev), or name it in the variable CC.",
                self.command[0]
            )
        })?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("{} does not compile: {command:?}\n{said}", source.display()))
    }
}
