//! Loads a plugin library into this process: all that knows dlopen.
//!
//! Invariant: a library is never unloaded (rule R7), and is loaded by its absolute path with every
//! symbol bound at once.
#![allow(unsafe_code)]

mod format;

use std::io;
use std::path::{Path, PathBuf};

use abi_stable::abi_stability::abi_checking::{
    AbiInstability, AbiInstabilityError, check_layout_compatibility,
};
use abi_stable::type_layout::TLFieldOrFunction;
use ticket_plugin_api::abi::host_side::{Table, TableError};
use ticket_plugin_api::abi::{self, ENTRY_SYMBOL, LAYOUT_SYMBOL};

pub use format::NotLoadable;

/// A library that is a plugin.
#[derive(Debug, Clone)]
pub struct Library {
    pub table: Table,
    /// The plugin-api version of a Rust plugin, whose layout was compared; None for any other.
    pub sdk: Option<String>,
}

/// Why a file is not a plugin that can be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("can't be read")]
    Read(#[source] io::Error),
    #[error(transparent)]
    NotLoadable(#[from] NotLoadable),
    #[error("can't be loaded: {0}")]
    Load(String),
    #[error("is a library, and no ticket plugin: it doesn't export {ENTRY_SYMBOL}")]
    NoEntry,
    #[error("is no usable ticket plugin: {0}")]
    Table(#[from] TableError),
    #[error("was built against a plugin-api whose layout differs from this host's: {0}")]
    Layout(String),
}

/// Loads `path` and asks it for its table. Runs the library's constructors: do it in a worker
/// unless the operator trusts the library with the whole process.
pub fn load(path: &Path) -> Result<Library, LoadError> {
    let path = absolute(path).map_err(LoadError::Read)?;
    format::check(&path)?;
    let library = open(&path)?;
    // SAFETY: the symbol has this type by the contract of the header; a library that lies about
    // it is what workers are for.
    let entry: abi::Entry =
        unsafe { *library.get::<abi::Entry>(ENTRY_SYMBOL).map_err(|_| LoadError::NoEntry)? };
    let sdk = check_layout(&library)?;
    // SAFETY: as above; the library is never unloaded, see below.
    let table = unsafe { Table::from_entry(entry) };
    // Never unloaded, whatever it turned out to be: it may have started a thread.
    std::mem::forget(library);
    Ok(Library { table: table?, sdk })
}

fn absolute(path: &Path) -> io::Result<PathBuf> {
    // The loader would look for a bare name in its own directories.
    path.canonicalize()
}

#[cfg(unix)]
fn open(path: &Path) -> Result<libloading::Library, LoadError> {
    use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
    /// Keeps the library even after dlclose; the value is the platform's (dlfcn.h).
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const RTLD_NODELETE: i32 = 0x1000;
    #[cfg(any(target_os = "macos", target_os = "ios"))]
    const RTLD_NODELETE: i32 = 0x80;
    #[cfg(not(any(
        target_os = "linux",
        target_os = "android",
        target_os = "macos",
        target_os = "ios"
    )))]
    const RTLD_NODELETE: i32 = 0;
    // SAFETY: runs the library's constructors, with what that means: see load().
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE) };
    library.map(Into::into).map_err(|cause| LoadError::Load(reason(&cause)))
}

#[cfg(windows)]
fn open(path: &Path) -> Result<libloading::Library, LoadError> {
    use libloading::os::windows::{LOAD_WITH_ALTERED_SEARCH_PATH, Library};
    // The DLLs that a plugin needs are looked for beside it, not beside the host.
    // SAFETY: runs the library's DllMain, with what that means: see load().
    let library = unsafe { Library::load_with_flags(path, LOAD_WITH_ALTERED_SEARCH_PATH) };
    library.map(Into::into).map_err(|cause| LoadError::Load(reason(&cause)))
}

/// The loader's own words.
fn reason(error: &libloading::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    innermost.to_string()
}

/// Compares the layout that a Rust plugin was compiled with to this host's, and gives the version
/// of its plugin-api. A plugin that has no such symbol is not a Rust one.
fn check_layout(library: &libloading::Library) -> Result<Option<String>, LoadError> {
    type Layout = unsafe extern "C" fn() -> *const abi::Layout;
    // SAFETY: the SDK's macro gives the symbol this type, and nothing else has reason to export it.
    let Ok(symbol) = (unsafe { library.get::<Layout>(LAYOUT_SYMBOL) }) else {
        return Ok(None);
    };
    // SAFETY: as above: it returns a static of the library, which is never unloaded.
    let layout = unsafe { symbol().as_ref::<'static>() };
    let layout = layout.ok_or_else(|| LoadError::Layout("it gives no layout".to_owned()))?;
    if let Err(found) = check_layout_compatibility(abi::layout(), layout) {
        let differences: Vec<String> = found.errors.iter().filter_map(difference).collect();
        if !differences.is_empty() {
            return Err(LoadError::Layout(differences.join("; ")));
        }
    }
    Ok(Some(layout.package_version().to_string()))
}

/// The tables that may grow at their end (rule R3), each of which says its size.
const GROWING: [&str; 4] = ["Plugin", "Call", "HttpRequest", "HttpResponse"];

/// What differs at one place, in words; None for what rule R3 allows: another version of
/// plugin-api, and a table with more fields or fewer.
fn difference(error: &AbiInstabilityError) -> Option<String> {
    let (field, type_name) = match error.stack_trace.last() {
        None => ("the table", "Plugin"),
        Some(place) => match place.expected {
            TLFieldOrFunction::Field(field) => (field.name(), field.layout().name()),
            TLFieldOrFunction::Function(_) => ("a function", ""),
        },
    };
    let grows = GROWING.contains(&type_name);
    let what = error.errs.iter().find_map(|what| match what {
        AbiInstability::PackageVersion(_) => None,
        AbiInstability::Size(_) | AbiInstability::FieldCountMismatch(_) if grows => None,
        AbiInstability::Name(v) => {
            Some(format!("is {} here and {} there", v.expected.name(), v.found.name()))
        }
        AbiInstability::UnexpectedField(v) => {
            Some(format!("has {} here and {} there", v.expected.name(), v.found.name()))
        }
        other => Some(format!("{other:?}").chars().take(200).collect()),
    })?;
    Some(format!("{field} {what}"))
}
