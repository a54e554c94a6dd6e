//! Loads a plugin library into this process. No other file knows dlopen.
//!
//! Invariant: what is loaded is an [`Image`], with every symbol bound at once, and it is never unloaded (rule R7).
#![allow(unsafe_code)]

mod format;

use std::fs::File;
use std::io::{self, Read};
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};

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
    /// host's. None for any other plugin, and for one that leaves its layout out.
    pub sdk: Option<String>,
}

/// Why a file is not a plugin that can be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("can't be read")]
    Read(#[source] io::Error),
    #[error(transparent)]
    NotLoadable(#[from] NotLoadable),
    #[cfg(not(target_os = "linux"))]
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

/// A library that was looked at: what was checked of it holds for what is loaded.
#[derive(Debug)]
pub struct Image {
    /// The file that was read.
    pub path: PathBuf,
    /// The digest of its bytes.
    pub sha256: Digest,
    /// A copy of its bytes in memory that nobody can change. All workers share it, and what becomes of the file is
    /// all the same to them. Elsewhere than on Linux the file is read again when it is loaded.
    #[cfg(target_os = "linux")]
    pub copy: std::os::fd::OwnedFd,
}

impl Image {
    /// Opens the library at `path` and reads it. Runs nothing of it.
    ///
    /// # Errors
    /// It can't be read, or is larger than a library may be.
    pub fn open(path: &Path) -> Result<Image, LoadError> {
        // The loader would look for a bare name in its own directories.
        let path = path.canonicalize().map_err(LoadError::Read)?;
        let file = open_held(&path).map_err(LoadError::Read)?;
        Image::read(&file, &path)
    }

    fn read(file: &File, path: &Path) -> Result<Image, LoadError> {
        let mut bytes = Vec::new();
        file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(LoadError::Read)?;
        if bytes.len() as u64 > LARGEST {
            return Err(LoadError::TooLarge);
        }
        Image::of(&bytes, path).map_err(LoadError::Read)
    }

    /// The library of these bytes, which were read of the file `path`.
    ///
    /// # Errors
    /// There is no memory for a copy of them.
    pub fn of(bytes: &[u8], path: &Path) -> io::Result<Image> {
        Ok(Image {
            path: path.to_owned(),
            sha256: Digest::of(bytes),
            #[cfg(target_os = "linux")]
            copy: sealed(path, bytes)?,
        })
    }

    /// The file that the loader is to load, and its name. The file must stay open for as long as the library is
    /// loaded: the loader takes another file of the same name for the one that it has loaded already.
    #[cfg(target_os = "linux")]
    fn held(&self) -> Result<(File, PathBuf), LoadError> {
        use std::os::fd::AsRawFd;
        use std::os::unix::fs::MetadataExt;
        let copy = File::from(self.copy.try_clone().map_err(LoadError::Read)?);
        let name_in = |process: &str| format!("/proc/{process}/fd/{}", copy.as_raw_fd());
        // A debugger opens the file by this name, too, and in the debugger "self" is the debugger. Where /proc shows
        // another PID namespace than this process's, its number there isn't the one that it knows.
        let numbered = name_in(&std::process::id().to_string());
        let file = |file: std::fs::Metadata| (file.dev(), file.ino());
        let same = copy.metadata().ok().map(file) == std::fs::metadata(&numbered).ok().map(file);
        let name = if same { numbered } else { name_in("self") };
        Ok((copy, PathBuf::from(name)))
    }

    /// As on Linux. On Windows nobody can change the file while it is open; on other systems that is not prevented.
    #[cfg(not(target_os = "linux"))]
    fn held(&self) -> Result<(File, PathBuf), LoadError> {
        let file = open_held(&self.path).map_err(LoadError::Read)?;
        let found = Image::read(&file, &self.path)?.sha256;
        if found == self.sha256 {
            Ok((file, self.path.clone()))
        } else {
            Err(LoadError::Changed { expected: self.sha256, found })
        }
    }
}

/// Copies the bytes into memory and seals them.
#[cfg(target_os = "linux")]
fn sealed(path: &Path, bytes: &[u8]) -> io::Result<std::os::fd::OwnedFd> {
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
    let name = path.file_name().unwrap_or_default();
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut copy = File::from(memfd_create(name, flags)?);
    io::Write::write_all(&mut copy, bytes)?;
    // Nobody has the copy mapped, so there is no writing but future writing; SealFlags::WRITE would look through all
    // pages for somebody who still writes, and may wait.
    let seals = SealFlags::FUTURE_WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    fcntl_add_seals(&copy, seals)?;
    Ok(copy.into())
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

/// Loads a library and asks it for its table. This runs code of the library, so do it in a worker, unless the
/// operator trusts the plugin with the whole process.
///
/// # Errors
/// It is not a library for this machine, or not a plugin.
pub fn load(image: &Image) -> Result<Library, LoadError> {
    let (file, name) = image.held()?;
    // Neither is the file closed nor the library unloaded, even if it turns out not to be a plugin: its
    // constructors may have started a thread (rule R7).
    let _file = ManuallyDrop::new(file);
    format::check(&name)?;
    let said = |why: String| why.replace(&*name.to_string_lossy(), &image.path.to_string_lossy());
    let library = open(&name).map_err(|why| LoadError::Load(said(why)))?;
    let library = ManuallyDrop::new(library);
    // SAFETY: the symbol has this type by the contract of the header; a library that lies about
    // it is what workers are for.
    let entry: abi::Entry =
        unsafe { *library.get::<abi::Entry>(ENTRY_SYMBOL).map_err(|_| LoadError::NoEntry)? };
    let sdk = check_layout(&library)?;
    // SAFETY: as above; the library is never unloaded.
    let table = unsafe { Table::from_entry(entry) }?;
    Ok(Library { table, sdk })
}

#[cfg(unix)]
fn open(path: &Path) -> Result<libloading::Library, String> {
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
    library.map(Into::into).map_err(|cause| reason(&cause))
}

#[cfg(windows)]
fn open(path: &Path) -> Result<libloading::Library, String> {
    use libloading::os::windows::{LOAD_WITH_ALTERED_SEARCH_PATH, Library};
    // The DLLs that a plugin needs are looked for beside it, not beside the host.
    // SAFETY: runs the library's DllMain, with what that means: see load().
    let library = unsafe { Library::load_with_flags(path, LOAD_WITH_ALTERED_SEARCH_PATH) };
    library.map(Into::into).map_err(|cause| reason(&cause))
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
/// plugin-api. None if the library has no such symbol: then it is not a Rust plugin, or one that was built without
/// plugin-api's feature `layout`.
fn check_layout(library: &libloading::Library) -> Result<Option<String>, LoadError> {
    type Layout = unsafe extern "C" fn() -> *const abi::layout::Layout;
    // SAFETY: the SDK's macro gives the symbol this type, and nothing else has reason to export it.
    let Ok(symbol) = (unsafe { library.get::<Layout>(LAYOUT_SYMBOL) }) else {
        return Ok(None);
    };
    // SAFETY: as above: it returns a static of the library, which is never unloaded.
    let layout = unsafe { symbol().as_ref::<'static>() };
    let layout = layout.ok_or_else(|| LoadError::Layout("it gives no layout".to_owned()))?;
    let differences = abi::layout::differences(abi::layout::own(), layout);
    if !differences.is_empty() {
        return Err(LoadError::Layout(differences.join("; ")));
    }
    Ok(Some(layout.package_version().to_string()))
}
