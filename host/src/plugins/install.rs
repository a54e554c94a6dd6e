//! Puts a plugin into a plugin directory, whole or not at all, and keeps the version before it.
//!
//! Invariant: what is in the directory is the old library or the new one, with its own signature; a
//! host that looks in between sees one that works.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use ticket_plugin_api::message::Manifest;

use crate::error::{Error, Result};
use crate::plugins::catalog::{self, Catalog, PluginDir, is_library, library_name};
use crate::plugins::trust::{self, Trust, signature_of};

/// Below a plugin directory: the versions before, and what is on its way in.
const PREVIOUS: &str = ".previous";
const STAGING: &str = ".staging";
/// Bytes that an archive may unpack to.
const LARGEST: u64 = 512 << 20;
/// Bytes of an archive's entry that only tells about the next one.
const LONGEST_HEADER: u64 = 64 << 10;

/// What was put in place.
#[derive(Debug)]
pub struct Installed {
    pub path: PathBuf,
    pub manifest: Manifest,
    /// The version that it took the place of, which `rollback` brings back.
    pub replaced: Option<String>,
}

/// A library that is ready to be put in place.
#[derive(Debug)]
pub struct Staged {
    directory: PathBuf,
    pub library: PathBuf,
    manifest: Manifest,
    _staging: Staging,
}

/// The directory that it lies in until then.
#[derive(Debug)]
struct Staging(PathBuf);

impl Drop for Staging {
    fn drop(&mut self) {
        // What is left of it is in nobody's way.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Brings `source`, a library or a .tar.gz with one, beside `directory`'s plugins, and looks whether
/// `trust` lets it be loaded.
///
/// # Errors
/// It can't be read, is no plugin, or nobody vouches for it who should.
pub async fn stage(source: &Path, directory: &Path, trust: &Trust) -> Result<Staged> {
    let failed = |at: &Path, cause: io::Error| {
        let error = Error::import(format!("{}: {cause}", at.display()));
        error.help("nothing was installed; may the user write to the plugin directory?")
    };
    fs::create_dir_all(directory).map_err(|cause| failed(directory, cause))?;
    trust::only_ours(directory)?;
    let staging = directory.join(format!("{STAGING}-{:016x}", fastrand::u64(..)));
    fs::create_dir(&staging).map_err(|cause| failed(&staging, cause))?;
    let removed = Staging(staging.clone());
    let name = source.to_string_lossy();
    if name.ends_with(".tar.gz") || name.ends_with(".tgz") {
        unpack(source, &staging)?;
    } else {
        let file = source.file_name().unwrap_or_default();
        let metadata = fs::metadata(source).map_err(|cause| failed(source, cause))?;
        if !metadata.is_file() || metadata.len() > LARGEST {
            let why = format!("is not a file of at most {LARGEST} bytes");
            return Err(failed(source, io::Error::other(why)));
        }
        fs::copy(source, staging.join(file)).map_err(|cause| failed(source, cause))?;
        let signature = signature_of(source);
        if signature.is_file() {
            let target = signature_of(&staging.join(file));
            fs::copy(&signature, target).map_err(|cause| failed(&signature, cause))?;
        }
    }
    let files = fs::read_dir(&staging).map_err(|cause| failed(&staging, cause))?;
    let mut libraries: Vec<PathBuf> =
        files.flatten().map(|entry| entry.path()).filter(|path| is_library(path)).collect();
    let (Some(library), true) = (libraries.pop(), libraries.is_empty()) else {
        return Err(Error::import(format!(
            "{}: holds no library, or more than one",
            source.display()
        ))
        .help(format!("a file like {}, or a .tar.gz with one", library_name("NAME"))));
    };
    // Others may read it, and nobody write to it, whatever it was before.
    readable(&library).map_err(|cause| failed(&library, cause))?;
    let manifest = catalog::inspect(&library, trust).await?.manifest;
    Ok(Staged { directory: directory.to_owned(), library, manifest, _staging: removed })
}

impl Staged {
    /// Puts it in place; the version that was there is kept.
    pub async fn install(self, trust: &Trust) -> Result<Installed> {
        let current = find(&self.directory, &self.manifest.name, trust).await;
        let file = match &current {
            Some((path, _)) => path.file_name().unwrap_or_default().to_owned(),
            None => library_name(&self.manifest.name).into(),
        };
        let path = self.directory.join(&file);
        let previous = self.directory.join(PREVIOUS);
        let put_in_place = || -> io::Result<()> {
            File::open(&self.library)?.sync_all()?;
            if path.exists() {
                fs::create_dir_all(&previous)?;
                keep(&path, &previous.join(&file))?;
            }
            put(&self.library, &path)?;
            sync(&self.directory)
        };
        put_in_place().map_err(|cause| not_written(&path, &cause))?;
        let replaced = current.map(|(_, version)| version);
        Ok(Installed { path, manifest: self.manifest.clone(), replaced })
    }
}

/// Brings the version back that `install` kept, and keeps the one that is there now.
///
/// # Errors
/// There is none, or nobody vouches for it any more.
pub async fn rollback(name: &str, directory: &Path, trust: &Trust) -> Result<Installed> {
    let previous = directory.join(PREVIOUS);
    let Some((kept, _)) = find(&previous, name, trust).await else {
        return Err(Error::import(format!(
            "{}: there is no earlier version of the plugin {name}",
            directory.display()
        ))
        .help("`plugins install` keeps the version that it takes the place of"));
    };
    let plugin = catalog::inspect(&kept, trust).await?;
    let path = directory.join(kept.file_name().unwrap_or_default());
    // What is there now may be broken: it is known by its file alone.
    let current = catalog::inspect(&path, trust).await.ok();
    let aside = previous.join(format!("{STAGING}-{:016x}", fastrand::u64(..)));
    let put_in_place = || -> io::Result<()> {
        if path.exists() {
            keep(&path, &aside)?;
        }
        put(&kept, &path)?;
        if aside.exists() {
            put(&aside, &kept)?;
        }
        sync(directory)
    };
    put_in_place().map_err(|cause| not_written(&path, &cause))?;
    let replaced = current.map(|plugin| plugin.manifest.version);
    Ok(Installed { path, manifest: plugin.manifest, replaced })
}

fn not_written(path: &Path, cause: &io::Error) -> Error {
    Error::import(format!("{}: can't be put in place: {cause}", path.display()))
        .help("may the user write to the plugin directory?")
}

/// The library of that plugin in a directory, and its version.
async fn find(directory: &Path, name: &str, trust: &Trust) -> Option<(PathBuf, String)> {
    let wanted = PluginDir { directory: directory.to_owned(), marked_only: false, named: false };
    let catalog = Catalog::discover(vec![wanted], trust).await;
    let plugin = catalog.plugins().find(|plugin| plugin.manifest.name == name)?;
    Some((plugin.path.clone(), plugin.manifest.version.clone()))
}

/// A second name for a library and its signature.
fn keep(library: &Path, target: &Path) -> io::Result<()> {
    for (from, to) in
        [(library.to_owned(), target.to_owned()), (signature_of(library), signature_of(target))]
    {
        match fs::remove_file(&to) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
            _ if from.exists() => {
                fs::hard_link(&from, &to).or_else(|_| fs::copy(&from, &to).map(drop))?
            }
            _ => {}
        }
    }
    Ok(())
}

/// Moves a library and its signature to where another one may be.
fn put(library: &Path, target: &Path) -> io::Result<()> {
    let (from, to) = (signature_of(library), signature_of(target));
    if from.exists() {
        // Before its library: one that isn't signed yet would be refused where it must be.
        fs::rename(&from, &to)?;
        replace(library, target)
    } else {
        replace(library, target)?;
        match fs::remove_file(&to) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(cause),
            _ => Ok(()),
        }
    }
}

#[cfg(not(windows))]
fn replace(library: &Path, target: &Path) -> io::Result<()> {
    fs::rename(library, target)
}

/// A library that is loaded can't be replaced on Windows, but it can be renamed.
#[cfg(windows)]
fn replace(library: &Path, target: &Path) -> io::Result<()> {
    if target.exists() {
        let aside = target.with_extension(format!("old-{:016x}", fastrand::u64(..)));
        fs::rename(target, &aside)?;
        // Until nobody has it loaded any more it stays.
        let _ = fs::remove_file(&aside);
    }
    fs::rename(library, target)
}

#[cfg(unix)]
fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(not(unix))]
fn sync(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
fn readable(library: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(library, fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn readable(_: &Path) -> io::Result<()> {
    Ok(())
}

/// The libraries and signatures of an archive, in whatever folders they lie, and nothing else of it. What a
/// header says of lengths is believed only within bounds: nobody has vouched for anything yet.
fn unpack(archive: &Path, staging: &Path) -> Result<()> {
    let failed = |cause: io::Error| {
        Error::import(format!("{}: can't be unpacked: {cause}", archive.display()))
            .help("it must be a .tar.gz; nothing was installed")
    };
    let file = File::open(archive).map_err(failed)?;
    // One byte more than may be: that it came shows that there is too much.
    let unpacked = GzDecoder::new(file).take(LARGEST + 1);
    let mut tar = tar::Archive::new(unpacked);
    let mut long_name = None;
    // Raw: else the library would read a long name of any length into memory.
    for entry in tar.entries().map_err(failed)?.raw(true) {
        let mut entry = entry.map_err(failed)?;
        let kind = entry.header().entry_type();
        if kind.is_gnu_longname() || kind.is_pax_local_extensions() {
            long_name = name_of_next(&mut entry).map_err(failed)?;
            continue;
        }
        let path = match long_name.take() {
            Some(path) => path,
            None => entry.path().map_err(failed)?.into_owned(),
        };
        let Some(name) = path.file_name() else { continue };
        let signature = path.extension().is_some_and(|extension| extension == trust::SIGNATURE);
        if !kind.is_file() || !(signature || is_library(&path)) {
            continue;
        }
        let mut target = File::create_new(staging.join(name)).map_err(failed)?;
        io::copy(&mut entry, &mut target).map_err(failed)?;
    }
    if tar.into_inner().limit() == 0 {
        return Err(failed(io::Error::other(format!("it holds more than {LARGEST} bytes"))));
    }
    Ok(())
}

/// The name that an entry gives to the one behind it, if it gives one: GNU's long names, and PAX's `path`
/// (POSIX.1-2001, pax, "pax Extended Header").
fn name_of_next(entry: &mut tar::Entry<'_, impl Read>) -> io::Result<Option<PathBuf>> {
    if entry.size() > LONGEST_HEADER {
        return Err(io::Error::other(format!("a name in it has more than {LONGEST_HEADER} bytes")));
    }
    let gnu = entry.header().entry_type().is_gnu_longname();
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    if gnu {
        return Ok(Some(PathBuf::from(text.trim_end_matches('\0'))));
    }
    // Lines of "LENGTH KEYWORD=VALUE".
    let path = text.lines().find_map(|line| line.split_once(' ')?.1.strip_prefix("path="));
    Ok(path.map(PathBuf::from))
}
