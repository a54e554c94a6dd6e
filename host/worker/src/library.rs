//! Loads a plugin library into this process. No other file knows dlopen.
//!
//! Invariant: a library is loaded by its absolute path, with every symbol bound at once, and is never unloaded
//! (rule R7).
#![allow(unsafe_code)]

mod format;

use std::fs::File;
use std::io::{self, Read};
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};

use abi_stable::abi_stability::abi_checking::{
    AbiInstability, AbiInstabilityError, check_layout_compatibility,
};
use abi_stable::type_layout::TLFieldOrFunction;
use ticket_plugin_api::abi::host_side::{Table, TableError};
use ticket_plugin_api::abi::{self, ENTRY_SYMBOL, LAYOUT_SYMBOL};

use crate::digest::Digest;
pub use format::NotLoadable;

/// Bytes that a library may have.
pub const LARGEST: u64 = 512 << 20;

/// A library that is a plugin.
#[derive(Debug, Clone)]
pub struct Library {
    pub table: Table,
    /// The version of plugin-api that a Rust plugin was compiled with, after its layout has been compared with this
    /// host's. None for any other plugin.
    pub sdk: Option<String>,
}

/// Why a file is not a plugin that can be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("can't be read")]
    Read(#[source] io::Error),
    #[error(transparent)]
    NotLoadable(#[from] NotLoadable),
    #[error("is not the file that was checked: its SHA-256 is {found} now, and was {expected}")]
    Changed { expected: Digest, found: Digest },
    #[error("has more than {LARGEST} bytes, which is more than a library may have")]
    TooLarge,
    #[error("can't be loaded: {0}")]
    Load(String),
    #[error("is a library, but not a ticket plugin: it doesn't export {ENTRY_SYMBOL}")]
    NoEntry,
    #[error("is not a usable ticket plugin: {0}")]
    Table(#[from] TableError),
    #[error("was built against a plugin-api whose layout differs from this host's: {0}")]
    Layout(String),
}

/// A library that is ready to be loaded. If somebody vouches for its bytes, they have been compared.
#[derive(Debug)]
pub struct Prepared {
    path: PathBuf,
    /// Keeps the compared bytes from being changed until they are loaded.
    _held: Option<File>,
}

/// Compares the library's bytes with `sha256`, if that is given. Runs nothing of the library.
pub fn prepare(path: &Path, sha256: Option<Digest>) -> Result<Prepared, LoadError> {
    let path = absolute(path).map_err(LoadError::Read)?;
    let Some(expected) = sha256 else {
        return Ok(Prepared { path, _held: None });
    };
    let mut file = open_held(&path).map_err(LoadError::Read)?;
    let mut bytes = Vec::new();
    (&mut file).take(LARGEST + 1).read_to_end(&mut bytes).map_err(LoadError::Read)?;
    if bytes.len() as u64 > LARGEST {
        return Err(LoadError::TooLarge);
    }
    let found = Digest::of(&bytes);
    if found != expected {
        return Err(LoadError::Changed { expected, found });
    }
    hold(path, file, &bytes).map_err(LoadError::Read)
}

/// Copies the bytes into memory and seals them, so that nobody can change them. The copy is loaded instead of
/// the file.
#[cfg(target_os = "linux")]
fn hold(path: PathBuf, _: File, bytes: &[u8]) -> io::Result<Prepared> {
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
    use std::os::fd::AsRawFd;
    let name = path.file_name().unwrap_or_default();
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut copy = File::from(memfd_create(name, flags)?);
    io::Write::write_all(&mut copy, bytes)?;
    fcntl_add_seals(
        &copy,
        SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL,
    )?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", copy.as_raw_fd()));
    Ok(Prepared { path, _held: Some(copy) })
}

/// Elsewhere the file itself is loaded. On Windows nobody can change it while it is held open; on other systems
/// that is not prevented.
#[cfg(not(target_os = "linux"))]
fn hold(path: PathBuf, file: File, _: &[u8]) -> io::Result<Prepared> {
    Ok(Prepared { path, _held: Some(file) })
}

/// Opens the file so that Windows lets nobody write to it, remove it or rename it while it is open.
#[cfg(windows)]
fn open_held(path: &Path) -> io::Result<File> {
    use std::os::windows::fs::OpenOptionsExt;
    const FILE_SHARE_READ: u32 = 1;
    File::options().read(true).share_mode(FILE_SHARE_READ).open(path)
}

#[cfg(not(windows))]
fn open_held(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// Loads the library and asks it for its table. This runs code of the library, so do it in a worker, unless the
/// operator trusts the plugin with the whole process.
pub fn load(prepared: &Prepared) -> Result<Library, LoadError> {
    let path = &prepared.path;
    format::check(path)?;
    // It is not unloaded even if it turns out not to be a plugin: its constructors may have started a thread (rule
    // R7).
    let library = ManuallyDrop::new(open(path)?);
    // SAFETY: the symbol has this type by the contract of the header; a library that lies about
    // it is what workers are for.
    let entry: abi::Entry =
        unsafe { *library.get::<abi::Entry>(ENTRY_SYMBOL).map_err(|_| LoadError::NoEntry)? };
    let sdk = check_layout(&library)?;
    // SAFETY: as above; the library is never unloaded.
    let table = unsafe { Table::from_entry(entry) }?;
    Ok(Library { table, sdk })
}

fn absolute(path: &Path) -> io::Result<PathBuf> {
    // The loader would look for a bare name in its own directories.
    path.canonicalize()
}

#[cfg(unix)]
fn open(path: &Path) -> Result<libloading::Library, LoadError> {
    use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
    /// Keeps the library loaded even after dlclose(). The value is the platform's (dlfcn.h).
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

/// The loader's own words: the innermost cause of the error.
fn reason(error: &libloading::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    innermost.to_string()
}

/// Compares the layout that a Rust plugin was compiled with to this host's, and gives the version of its
/// plugin-api. None if the library has no such symbol: then it is not a Rust plugin.
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

/// Says in words what differs in one field. None if rule R3 allows it: another version of plugin-api, and a
/// table with more fields or fewer.
fn difference(error: &AbiInstabilityError) -> Option<String> {
    let (field, type_name) = match error.stack_trace.last() {
        None => ("the table", "Plugin"),
        Some(innermost) => match innermost.expected {
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
