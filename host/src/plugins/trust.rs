//! Who vouches for a library: keys that the operator trusts, or a digest that a backend pins; and
//! whether anybody else could have written to it.
//!
//! Invariant: what is vouched for is a SHA-256. `ticket_host_worker::library` compares it with the bytes that it
//! is about to load, so that a file which changes after the check isn't loaded.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use minisign_verify::{PublicKey, Signature};
use serde::Deserialize;
use ticket_host_worker::Digest;
use ticket_host_worker::library::LARGEST;
use ticket_host_worker::sandbox::Policy;
use ticket_plugin_api::message::Manifest;

use crate::error::{Error, Result};

/// What is appended, after a dot, to a library's file name to name the file of its signature.
pub const SIGNATURE: &str = "minisig";
/// Bytes that a signature's file may have: a signature has some 300, and may have a comment.
const LARGEST_SIGNATURE: u64 = 16 << 10;

/// What becomes of libraries that nobody vouches for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signatures {
    /// Signatures are not looked at.
    #[default]
    Off,
    /// Such a library is used, with a warning.
    Warn,
    /// Such a library is not loaded.
    Require,
}

/// A key, and the plugins that it may sign.
#[derive(Debug, Clone)]
pub struct TrustedKey {
    /// Its name in the config.
    pub name: String,
    pub key: PublicKey,
    /// The names and aliases of these plugins, as they stand in manifests.
    pub plugins: BTreeSet<String>,
}

/// What the operator says about whose libraries may be loaded.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    pub signatures: Signatures,
    pub keys: Vec<TrustedKey>,
    /// The digests that backends pin.
    pub pins: BTreeSet<Digest>,
    /// Whether a plugin is loaded where it can't be confined.
    pub sandbox: Policy,
}

/// What is known of a library before it is loaded.
#[derive(Debug)]
pub struct Examined {
    pub sha256: Digest,
    /// The trusted key that signed it.
    pub key: Option<TrustedKey>,
    /// Why no trusted key did. None also where nobody needs to: signatures are off, or the library is pinned.
    pub unsigned: Option<String>,
}

impl Trust {
    /// Whether every library may be loaded: signatures are off, and no backend pins a digest.
    pub fn is_off(&self) -> bool {
        self.signatures == Signatures::Off && self.pins.is_empty()
    }

    /// Looks who vouches for a library. Nothing of it is run.
    ///
    /// # Errors
    /// An import error: the signature beside the library is another file's, or nobody vouches for the
    /// library though somebody must.
    pub fn examine(&self, library: &Path) -> Result<Examined> {
        if self.signatures == Signatures::Off {
            return Ok(Examined { sha256: sha256(library)?, key: None, unsigned: None });
        }
        let bytes = read(library, LARGEST)?;
        let sha256 = Digest::of(&bytes);
        let pinned = self.pins.contains(&sha256);
        let (key, unsigned) = match self.signer(library, &bytes)? {
            Signer::Trusted(key) => (Some(key.clone()), None),
            Signer::Nobody(why) => (None, Some(why).filter(|_| !pinned)),
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

    /// Who signed `bytes`, by the signature that lies beside `library`.
    ///
    /// # Errors
    /// The signature can't be read, or it is a trusted key's and another file's: the library or the
    /// signature was changed.
    fn signer(&self, library: &Path, bytes: &[u8]) -> Result<Signer<'_>> {
        let file = signature_of(library);
        if fs::metadata(&file).is_err() {
            return Ok(Signer::Nobody("nobody signed it".to_owned()));
        }
        let text = String::from_utf8(read(&file, LARGEST_SIGNATURE)?).unwrap_or_default();
        let Ok(signature) = Signature::decode(&text) else {
            return Ok(Signer::Nobody(format!(
                "{} is not a signature of minisign's",
                file.display()
            )));
        };
        for key in &self.keys {
            match key.key.verify(bytes, &signature, false) {
                Ok(()) => return Ok(Signer::Trusted(key)),
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
        Ok(Signer::Nobody("its signature is by no key in trusted_keys".to_owned()))
    }
}

/// Who signed a library.
enum Signer<'a> {
    Trusted(&'a TrustedKey),
    /// No trusted key did; the text says why not.
    Nobody(String),
}

impl TrustedKey {
    /// Whether the operator lets this key sign the plugin of that manifest.
    ///
    /// # Errors
    /// An import error: the key may not sign a plugin of this name, or of one of its aliases.
    pub fn may_sign(&self, manifest: &Manifest) -> Result<()> {
        let mut names = std::iter::once(&manifest.name).chain(&manifest.aliases);
        match names.find(|name| !self.plugins.contains(*name)) {
            None => Ok(()),
            Some(name) => Err(Error::import(format!(
                "it is signed by the key {}, which may not sign a plugin called {name:?}",
                self.name
            ))
            .help(format!("if that is meant, add {name:?} to trusted_keys.{}.plugins", self.name))),
        }
    }
}

/// The file in which a library's signature lies: beside the library.
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
    // What is not a file, such as a pipe, might be waited for for ever.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(Error::import(format!("{}: is not a file", path.display())));
    }
    let mut bytes = Vec::new();
    fs::File::open(path).map_err(failed)?.take(most + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > most {
        return Err(too_large(path, most));
    }
    Ok(bytes)
}

/// Whether nobody but root and the host's user can write to `path`, or to a directory above it and so replace
/// it. sshd has the same rule for keys (StrictModes).
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
        // Debian gives each user a group of its own with the user's number: its only member is the owner.
        let group = mode & GROUP != 0 && metadata.gid() != owner;
        // In a sticky directory, such as /tmp, nobody can replace what belongs to somebody else. That protects
        // only directories in it: for the one in which the library itself lies the rule stays strict.
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

/// Windows' access lists are not looked at.
#[cfg(not(unix))]
pub fn only_ours(_: &Path) -> Result<()> {
    Ok(())
}
