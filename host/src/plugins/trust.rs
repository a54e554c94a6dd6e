//! Who vouches for a library: keys that the operator trusts, or a digest that a backend pins; and
//! whether anybody else could have written to it.
//!
//! Invariant: what is vouched for is a SHA-256, and `ticket_host_worker::library` loads just the bytes that have it.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use minisign_verify::{PublicKey, Signature};
use serde::Deserialize;
use ticket_host_worker::Digest;
use ticket_host_worker::library::LARGEST;
use ticket_plugin_api::message::Manifest;

use crate::error::{Error, Result};

/// Ending of a signature's file name, after the library's own.
pub const SIGNATURE: &str = "minisig";
/// Bytes that a signature's file may have.
const LARGEST_SIGNATURE: u64 = 16 << 10;

/// What becomes of libraries that nobody vouches for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signatures {
    /// Signatures are not looked at.
    #[default]
    Off,
    /// They are used, with a warning.
    Warn,
    /// They are not loaded at all.
    Require,
}

/// A key, and the plugins that it may sign.
#[derive(Debug, Clone)]
pub struct TrustedKey {
    /// Its name in the config.
    pub name: String,
    pub key: PublicKey,
    /// Manifest names and aliases.
    pub plugins: BTreeSet<String>,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    pub signatures: Signatures,
    pub keys: Vec<TrustedKey>,
    /// The digests that backends pin.
    pub pins: BTreeSet<Digest>,
}

/// What is known of a library before it is loaded.
#[derive(Debug)]
pub struct Examined<'a> {
    pub sha256: Digest,
    /// Whose signature is beside it.
    pub key: Option<&'a TrustedKey>,
    /// Why nobody's is; None if it doesn't matter.
    pub unsigned: Option<String>,
}

impl Trust {
    /// Whether the digest of every library matters.
    pub fn is_off(&self) -> bool {
        self.signatures == Signatures::Off && self.pins.is_empty()
    }

    /// # Errors
    /// An import error: the signature beside the library is another file's, or nobody vouches
    /// for it and somebody must.
    pub fn examine(&self, library: &Path) -> Result<Examined<'_>> {
        let bytes = read(library, LARGEST)?;
        let sha256 = Digest::of(&bytes);
        let pinned = self.pins.contains(&sha256);
        let signed = match self.signatures {
            Signatures::Off => Err(None),
            Signatures::Warn | Signatures::Require => self.signer(library, &bytes)?.map_err(Some),
        };
        let (key, unsigned) = match signed {
            Ok(key) => (Some(key), None),
            Err(why) => (None, why.filter(|_| !pinned)),
        };
        match unsigned {
            Some(why) if self.signatures == Signatures::Require => {
                Err(Error::import(format!("{}: {why}", library.display())).help(
                    "ask its vendor for a signature and a key for trusted_keys; or pin its sha256 in its \
                     backend, or set signatures = \"warn\"",
                ))
            }
            unsigned => Ok(Examined { sha256, key, unsigned }),
        }
    }

    /// The trusted key that signed `bytes`; the inner error is why none did.
    ///
    /// # Errors
    /// A trusted key signed something else: the library, or its signature, was changed.
    fn signer(
        &self,
        library: &Path,
        bytes: &[u8],
    ) -> Result<std::result::Result<&TrustedKey, String>> {
        let file = signature_of(library);
        let text = match fs::metadata(&file) {
            Err(_) => return Ok(Err("nobody signed it".to_owned())),
            Ok(_) => String::from_utf8(read(&file, LARGEST_SIGNATURE)?).unwrap_or_default(),
        };
        let Ok(signature) = Signature::decode(&text) else {
            return Ok(Err(format!("{} is no signature of minisign's", file.display())));
        };
        for key in &self.keys {
            match key.key.verify(bytes, &signature, false) {
                Ok(()) => return Ok(Ok(key)),
                Err(minisign_verify::Error::UnexpectedKeyId) => {}
                Err(cause) => {
                    return Err(Error::import(format!(
                        "{}: the signature by the key {} is not this file's: {cause}",
                        library.display(),
                        key.name
                    ))
                    .help(
                        "the library was changed after it was signed: get it from its vendor anew",
                    ));
                }
            }
        }
        Ok(Err("its signature is by no key in trusted_keys".to_owned()))
    }
}

impl TrustedKey {
    /// # Errors
    /// An import error: the key may not sign a plugin of this name, or of one of its aliases.
    pub fn may_sign(&self, manifest: &Manifest) -> Result<()> {
        let mut names = std::iter::once(&manifest.name).chain(&manifest.aliases);
        match names.find(|name| !self.plugins.contains(*name)) {
            None => Ok(()),
            Some(name) => Err(Error::import(format!(
                "the key {} signed it, which may not sign a plugin called {name:?}",
                self.name
            ))
            .help(format!("if that is meant, add {name:?} to trusted_keys.{}.plugins", self.name))),
        }
    }
}

/// Where a library's signature lies.
pub fn signature_of(library: &Path) -> PathBuf {
    library.with_added_extension(SIGNATURE)
}

/// The SHA-256 of a file.
///
/// # Errors
/// It can't be read, or is larger than a library may be.
pub fn sha256(path: &Path) -> Result<Digest> {
    let failed = |cause| Error::import(format!("{}: can't be read", path.display())).cause(cause);
    let file = fs::File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.len() > LARGEST {
        return Err(too_large(path, LARGEST));
    }
    Digest::of_all(file.take(LARGEST)).map_err(failed)
}

fn too_large(path: &Path, most: u64) -> Error {
    Error::import(format!("{}: has more than {most} bytes", path.display()))
}

fn read(path: &Path, most: u64) -> Result<Vec<u8>> {
    let failed = |cause| Error::import(format!("{}: can't be read", path.display())).cause(cause);
    let mut bytes = Vec::new();
    fs::File::open(path).map_err(failed)?.take(most + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > most {
        return Err(too_large(path, most));
    }
    Ok(bytes)
}

/// Whether nobody but root and the host's user can write to `path` or put something else in its
/// place: the rule that sshd has for keys (StrictModes).
///
/// # Errors
/// An import error with the command that mends it.
#[cfg(unix)]
pub fn only_ours(path: &Path) -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    const GROUP: u32 = 0o020;
    const ALL: u32 = 0o002;
    const STICKY: u32 = 0o1000;
    let failed =
        |at: &Path, cause| Error::import(format!("{}: can't be read", at.display())).cause(cause);
    let whole = path.canonicalize().map_err(|cause| failed(path, cause))?;
    let own = rustix::process::geteuid().as_raw();
    for (depth, at) in whole.ancestors().enumerate() {
        let metadata = fs::metadata(at).map_err(|cause| failed(at, cause))?;
        let (mode, owner) = (metadata.mode(), metadata.uid());
        if owner != 0 && owner != own {
            return Err(Error::import(format!(
                "{}: {} belongs to another user (number {owner}), who could change what is loaded",
                path.display(),
                at.display()
            ))
            .help(format!("chown root {}", at.display())));
        }
        // A group of the owner's own, as Debian makes them, is nobody else.
        let group = mode & GROUP != 0 && metadata.gid() != owner;
        // In a sticky directory, such as /tmp, nobody can replace what is another's.
        let sticky = depth > 1 && metadata.is_dir() && mode & STICKY != 0;
        if (group || mode & ALL != 0) && !sticky {
            return Err(Error::import(format!(
                "{}: others can write to {} (mode {:04o}), and so change what is loaded",
                path.display(),
                at.display(),
                mode & 0o7777
            ))
            .help(format!("chmod go-w {}", at.display())));
        }
    }
    Ok(())
}

/// Access lists are not looked at here.
#[cfg(not(unix))]
pub fn only_ours(_: &Path) -> Result<()> {
    Ok(())
}
