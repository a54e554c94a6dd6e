//! Who vouches for a library: keys that the operator trusts, or a digest that a backend pins.
//!
//! Invariant: what is vouched for are bytes. An [`Image`] holds a copy of those that were looked at, and on Linux that
//! copy is what workers load. Elsewhere they read the file again, and compare its SHA-256.
//!
//! Both ways bind a library to names. A key signs plugins by their names: a library that claims another one, be it as
//! an alias, is refused as a whole. A pin says that these bytes are the plugin which its backend names, for
//! that backend. It says nothing about other names that the library claims: these it doesn't get.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use minisign_verify::{PublicKey, Signature};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use ticket_host_worker::Digest;
use ticket_host_worker::library::{Image, LARGEST};
use ticket_host_worker::sandbox::Policy;
use ticket_plugin_api::message::Manifest;

use crate::error::{Error, Result};
use crate::plugins::manifest;
use crate::plugins::ours::{no_file, unreadable};

/// What is appended, after a dot, to a library's file name to name the file of its signature.
pub const SIGNATURE: &str = "minisig";
/// Bytes that a signature's file may have: a signature has some 300, and may have a comment.
const LARGEST_SIGNATURE: u64 = 16 << 10;

/// What the operator does about a backend whose library nobody vouches for as its plugin.
pub const PIN_HERE: &str = "if this backend is to have that library, pin its sha256 in it too";

/// What becomes of libraries that nobody vouches for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, PartialEq)]
pub struct TrustedKey {
    /// Its name in the config.
    pub name: String,
    pub key: PublicKey,
    /// The names and aliases of these plugins, as they stand in manifests.
    pub plugins: BTreeSet<String>,
}

/// What the operator says about whose libraries may be loaded.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trust {
    pub signatures: Signatures,
    pub keys: Vec<TrustedKey>,
    /// The digests that backends pin, each with the names by which these backends ask for their plugin.
    pub pins: BTreeMap<Digest, BTreeSet<String>>,
    /// Whether a plugin is loaded where it can't be confined.
    pub sandbox: Policy,
}

/// What is known of a library before it is loaded.
#[derive(Debug)]
pub struct Examined {
    pub image: Image,
    /// The trusted key that signed it.
    pub key: Option<TrustedKey>,
    pub vouched: Vouched,
}

/// Who vouches for a library, and as what.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Vouched {
    /// The name of the trusted key that signed it.
    pub signed_by: Option<String>,
    /// Why no trusted key did. None also where signatures are off.
    pub unsigned: Option<String>,
    /// The names by which backends that pin it ask for it.
    pub pinned_as: BTreeSet<String>,
    /// Whether somebody must vouch for it: signatures are required.
    pub required: bool,
}

impl Vouched {
    /// Whether a backend gets the library that asks for the plugin `name`, and pins this library or doesn't.
    ///
    /// # Errors
    /// The reason why not, which follows the library's file name in a sentence.
    pub fn allows(&self, name: &str, pinned_here: bool) -> std::result::Result<(), String> {
        if self.signed_by.is_some() || pinned_here {
            return Ok(());
        }
        if !self.pinned_as.is_empty() && !self.pinned_as.contains(name) {
            let names: Vec<_> = self.pinned_as.iter().map(|name| format!("{name:?}")).collect();
            let names = names.join(", ");
            return Err(format!("no trusted key signed it, and backends pin it as {names} only"));
        }
        match &self.unsigned {
            Some(why) if self.required => Err(format!("{why}, and only other backends pin it")),
            _ => Ok(()),
        }
    }
}

impl Trust {
    /// Looks who vouches for `library`, of which `file` is open. Nothing of it is run.
    ///
    /// # Errors
    /// An import error: it can't be read, the signature beside it is another file's, or nobody vouches for it
    /// though somebody must.
    pub fn examine(&self, library: &Path, mut file: &File) -> Result<Examined> {
        file.rewind().map_err(|cause| unreadable(library, cause))?;
        let bytes = read(library, file, LARGEST)?;
        let image = Image::of(&bytes, library).map_err(|cause| unreadable(library, cause))?;
        let signer = match self.signatures {
            Signatures::Off => None,
            Signatures::Warn | Signatures::Require => Some(self.signer(library, &bytes)?),
        };
        let (key, unsigned) = match signer {
            None => (None, None),
            Some(Signer::Trusted(key)) => (Some(key.clone()), None),
            Some(Signer::Nobody(why)) => (None, Some(why)),
        };
        let vouched = Vouched {
            signed_by: key.as_ref().map(|key| key.name.clone()),
            unsigned,
            pinned_as: self.pins.get(&image.sha256).cloned().unwrap_or_default(),
            required: self.signatures == Signatures::Require,
        };
        match &vouched.unsigned {
            Some(why) if vouched.required && vouched.pinned_as.is_empty() => {
                Err(Error::import(format!("{}: {why}", library.display())).help(
                    "ask its vendor for a signature and a key for trusted_keys; or pin its sha256 in its \
                     backend, or set signatures = \"warn\"",
                ))
            }
            _ => Ok(Examined { image, key, vouched }),
        }
    }

    /// Who signed `bytes`, by the signature that lies beside `library`.
    ///
    /// # Errors
    /// The signature can't be read, or it is a trusted key's and another file's: the library or the
    /// signature was changed.
    fn signer(&self, library: &Path, bytes: &[u8]) -> Result<Signer<'_>> {
        let file = signature_of(library);
        let text = match open_signature(&file) {
            Ok(opened) => read(&file, &opened, LARGEST_SIGNATURE)?,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                return Ok(Signer::Nobody("nobody signed it".to_owned()));
            }
            Err(cause) => return Err(unreadable(&file, cause)),
        };
        let text = String::from_utf8(text).unwrap_or_default();
        let Ok(signature) = Signature::decode(&text) else {
            return Ok(Signer::Nobody(format!(
                "{} is not a signature of minisign's",
                file.display()
            )));
        };
        // Whoever makes a key chooses its number. Two keys may have the same, so each is tried.
        let mut changed = None;
        for key in &self.keys {
            match key.key.verify(bytes, &signature, false) {
                Ok(()) => return Ok(Signer::Trusted(key)),
                Err(minisign_verify::Error::UnexpectedKeyId) => {}
                Err(cause) => changed = changed.or(Some((key, cause))),
            }
        }
        let Some((key, cause)) = changed else {
            return Ok(Signer::Nobody("its signature is by no key in trusted_keys".to_owned()));
        };
        Err(Error::import(format!(
            "{}: the signature by the key {} is not this file's: {cause}",
            library.display(),
            key.name
        ))
        .help("the library was changed after it was signed: get it from its vendor anew"))
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
        match manifest::names(manifest).find(|name| !self.plugins.contains(*name)) {
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

/// Opens a signature. Who could have written to it doesn't matter, since it proves itself. What is not a file, such as
/// a pipe, is not waited for.
fn open_signature(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed());
    }
    options.open(path)
}

/// What is left to read of an open file.
fn read(path: &Path, file: &File, most: u64) -> Result<Vec<u8>> {
    let metadata = file.metadata().map_err(|cause| unreadable(path, cause))?;
    if !metadata.is_file() {
        return Err(no_file(path));
    }
    // Read at once, and not into room that grows by pieces.
    let mut bytes =
        Vec::with_capacity(usize::try_from(metadata.len().min(most)).unwrap_or_default());
    file.take(most + 1).read_to_end(&mut bytes).map_err(|cause| unreadable(path, cause))?;
    if bytes.len() as u64 > most {
        return Err(Error::import(format!("{}: has more than {most} bytes", path.display())));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_is_a_plugin_only_as_somebody_vouches_for_it() {
        let (acme, jira) = ("acme", "argus_ticket_jira.JiraPlugin");
        let pinned = || BTreeSet::from([acme.to_owned()]);
        for (signed, pinned_as, required) in
            [(true, pinned(), true), (true, BTreeSet::new(), true), (false, BTreeSet::new(), false)]
        {
            let why = (!signed).then(|| "nobody signed it".to_owned());
            let signed_by = signed.then(|| "key".to_owned());
            let vouched = Vouched { signed_by, unsigned: why, pinned_as, required };
            assert!(vouched.allows(jira, false).is_ok(), "{vouched:?}");
        }
        // A pin alone, with signatures required, with a warning and off: the name, whether the asking backend is
        // the one that pins, and why it doesn't get the library.
        for (unsigned, required) in [(true, true), (true, false), (false, false)] {
            let unsigned = unsigned.then(|| "nobody signed it".to_owned());
            let vouched = Vouched { signed_by: None, unsigned, pinned_as: pinned(), required };
            let other = required.then_some("nobody signed it, and only other backends pin it");
            let jiras = Some("no trusted key signed it, and backends pin it as \"acme\" only");
            for (name, pinned_here, why) in
                [(acme, true, None), (acme, false, other), (jira, false, jiras)]
            {
                let found = vouched.allows(name, pinned_here).err();
                assert_eq!(found.as_deref(), why, "{name} {pinned_here} {vouched:?}");
            }
        }
    }

    #[test]
    fn a_key_signs_all_names_or_none() {
        let text = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
        let key = TrustedKey {
            name: "acme".to_owned(),
            key: PublicKey::from_base64(text).unwrap(),
            plugins: ["acme", "argus.Acme"].map(str::to_owned).into(),
        };
        for (aliases, refused) in [
            (vec![], None),
            (vec!["argus.Acme", "acme"], None),
            (vec!["argus.Acme", "jira"], Some("\"jira\"")),
            (vec!["argus.acme"], Some("\"argus.acme\"")),
            (vec!["acme "], Some("\"acme \"")),
            (vec![""], Some("\"\"")),
            (vec!["аcme"], Some("\"аcme\"")),
        ] {
            let manifest = serde_json::json!({"name": "acme", "aliases": aliases});
            let manifest = serde_json::from_value(manifest).unwrap();
            let error = key.may_sign(&manifest).err().map(|error| error.message);
            assert_eq!(error.is_some(), refused.is_some(), "{aliases:?}");
            assert!(error.is_none_or(|error| error.ends_with(refused.unwrap())), "{aliases:?}");
        }
    }
}
