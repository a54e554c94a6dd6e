//! Puts a plugin into a plugin directory, whole or not at all, and keeps the version that was there before.
//!
//! Invariant: at every moment the directory holds either the old library or the new one, and the one it holds can
//! be loaded: a running host may look at any time.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use ticket_host_worker::library::LARGEST;
use ticket_plugin_api::message::Manifest;

use crate::error::{Error, Result};
use crate::plugins::catalog::{self, Catalog, PluginDir, is_library, library_name};
use crate::plugins::trust::{self, Trust, signature_of};
use crate::plugins::{manifest, ours};

/// The directory below a plugin directory in which the versions before are kept.
const PREVIOUS: &str = ".previous";
/// How the name of a directory begins in which a plugin lies until it is put in place. It is made beside its
/// target, so that putting it in place is a rename within one file system.
const STAGING: &str = ".staging";
/// Libraries and signatures that are unpacked of an archive. One with more than one library is refused anyway.
const MOST_FILES: usize = 8;
/// Bytes of an entry in an archive that does nothing but name the next entry.
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

/// The directory in which a staged library lies. Dropping it removes the directory.
#[derive(Debug)]
struct Staging(PathBuf);

impl Drop for Staging {
    fn drop(&mut self) {
        // If it can't be removed, it stays, and no host looks into it.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Copies `source`, a library or a .tar.gz with one, into a staging directory below `directory`, and asks it
/// what it is, if `trust` lets it be loaded.
///
/// # Errors
/// It can't be read, it is not a plugin, or nobody vouches for it though somebody must.
pub async fn stage(source: &Path, directory: &Path, trust: &Trust) -> Result<Staged> {
    let failed = |at: &Path, cause: io::Error| {
        let error = Error::import(format!("{}: {cause}", at.display()));
        error.help("nothing was installed; may the user write to the plugin directory?")
    };
    fs::create_dir_all(directory).map_err(|cause| failed(directory, cause))?;
    ours::only_ours(directory)?;
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
        .help(format!(
            "give a file like {}, or a .tar.gz with one such file in it",
            library_name("NAME")
        )));
    };
    // Whatever its mode was before: everybody may read it, and only its owner may write to it.
    readable(&library).map_err(|cause| failed(&library, cause))?;
    let manifest = catalog::inspect(&library, trust).await?.manifest;
    Ok(Staged { directory: directory.to_owned(), library, manifest, _staging: removed })
}

impl Staged {
    /// Puts it in place, and keeps the version that was there.
    ///
    /// # Errors
    /// Another plugin there has one of its names, or a file can't be written; what was there stays.
    pub async fn install(self, trust: &Trust) -> Result<Installed> {
        let catalog = look(&self.directory, trust).await;
        let current = catalog.plugins().find(|plugin| plugin.manifest.name == self.manifest.name);
        let file = match current {
            Some(plugin) => plugin.path.file_name().unwrap_or_default().to_owned(),
            None => library_name(&self.manifest.name).into(),
        };
        let path = self.directory.join(&file);
        is_free(&catalog, &self.manifest, &path)?;
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
        let replaced = current.map(|plugin| plugin.manifest.version.clone());
        Ok(Installed { path, manifest: self.manifest.clone(), replaced })
    }
}

/// Brings back the version that `install` kept, and keeps the one that is there now in its stead.
///
/// # Errors
/// No earlier version was kept, nobody vouches for it any more, or another plugin has one of its names by now.
pub async fn rollback(name: &str, directory: &Path, trust: &Trust) -> Result<Installed> {
    let previous = directory.join(PREVIOUS);
    let catalog = look(&previous, trust).await;
    let Some(plugin) = catalog.plugins().find(|plugin| plugin.manifest.name == name) else {
        return Err(Error::import(format!(
            "{}: there is no earlier version of the plugin {name}",
            directory.display()
        ))
        .help("`plugins install` keeps the version that it takes the place of"));
    };
    let kept = &plugin.path;
    let path = directory.join(kept.file_name().unwrap_or_default());
    is_free(&look(directory, trust).await, &plugin.manifest, &path)?;
    // The version that is there now may be broken, so it is found by its file's name, and not by its manifest.
    let current = catalog::inspect(&path, trust).await.ok();
    let aside = previous.join(format!("{STAGING}-{:016x}", fastrand::u64(..)));
    let put_in_place = || -> io::Result<()> {
        if path.exists() {
            keep(&path, &aside)?;
        }
        put(kept, &path)?;
        if aside.exists() {
            put(&aside, kept)?;
        }
        sync(directory)
    };
    put_in_place().map_err(|cause| not_written(&path, &cause))?;
    let replaced = current.map(|plugin| plugin.manifest.version);
    Ok(Installed { path, manifest: plugin.manifest.clone(), replaced })
}

fn not_written(path: &Path, cause: &io::Error) -> Error {
    Error::import(format!("{}: can't be put in place: {cause}", path.display()))
        .help("may the user write to the plugin directory?")
}

/// The plugins in one directory.
async fn look(directory: &Path, trust: &Trust) -> Catalog {
    let wanted = PluginDir { directory: directory.to_owned(), marked_only: false, named: false };
    Catalog::discover(vec![wanted], trust).await
}

/// Whether a plugin can be put at `path` without another one's losing a name, or its file.
///
/// # Errors
/// An import error that names the other library.
fn is_free(catalog: &Catalog, new: &Manifest, path: &Path) -> Result<()> {
    for other in catalog.plugins() {
        let replaced = other.path == path;
        let taken = if replaced && other.manifest.name != new.name {
            Some(other.manifest.name.as_str())
        } else if replaced {
            None
        } else {
            manifest::names(new).find(|name| manifest::answers_to(&other.manifest, name))
        };
        if let Some(name) = taken {
            return Err(Error::import(format!(
                "the plugin {} was not installed: {} is there as {name:?} already",
                new.name,
                other.path.display()
            ))
            .help("remove that library first, or install into another directory with --to"));
        }
    }
    Ok(())
}

/// Gives a library and its signature a second name, or copies them where the file system has no hard links.
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

/// Moves a library and its signature to where another library, with a signature of its own or without, may be.
fn put(library: &Path, target: &Path) -> io::Result<()> {
    let (from, to) = (signature_of(library), signature_of(target));
    if from.exists() {
        // The signature goes first: a library that comes before its signature would be refused by a host that
        // requires one.
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
        // This fails while a process has the library loaded; then the file stays.
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

/// Unpacks the libraries and signatures of an archive, in whatever folders they lie, into `staging` itself, and
/// nothing else. Nobody has vouched for the archive yet, so whatever its headers say of lengths has a bound.
fn unpack(archive: &Path, staging: &Path) -> Result<()> {
    let failed = |cause: io::Error| {
        Error::import(format!("{}: can't be unpacked: {cause}", archive.display()))
            .help("it must be a .tar.gz; nothing was installed")
    };
    // What is not a file, such as a pipe, might be waited for for ever.
    if !fs::metadata(archive).map_err(failed)?.is_file() {
        return Err(failed(io::Error::other("it is not a file")));
    }
    let file = File::open(archive).map_err(failed)?;
    // One byte more than is allowed: if it is read too, the archive is too large.
    let unpacked = GzDecoder::new(file).take(LARGEST + 1);
    let mut tar = tar::Archive::new(unpacked);
    let mut long_name = None;
    let mut files = 0;
    // Raw entries: otherwise the crate tar itself would read long names, of any length, into memory.
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
        files += 1;
        if files > MOST_FILES {
            return Err(failed(io::Error::other("it holds more than one library")));
        }
        let mut target = File::create_new(staging.join(name)).map_err(failed)?;
        io::copy(&mut entry, &mut target).map_err(failed)?;
    }
    if tar.into_inner().limit() == 0 {
        return Err(failed(io::Error::other(format!("it holds more than {LARGEST} bytes"))));
    }
    Ok(())
}

/// The name that an entry of GNU's long names or of PAX (POSIX.1-2001, pax, "pax Extended Header") gives to the
/// entry after it. A PAX entry may say other things only, and no name.
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
    // A PAX entry has lines of the form "LENGTH KEYWORD=VALUE".
    let path = text.lines().find_map(|line| line.split_once(' ')?.1.strip_prefix("path="));
    Ok(path.map(PathBuf::from))
}
