//! The TOML config file: its tables, and how they become settings.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;
use ticket_host_worker::sandbox::Policy;

use ticket_host_worker::Digest;

use super::alarm::{AlarmConfig, RawAlarm};
use super::argus::{ArgusConfig, RawArgus};
use super::backends::{BackendConfig, RawBackend};
use super::limits::{Limits, RawLimits, WorkerLimits};
use super::queue::{QueueConfig, RawQueue};
use super::secret::{SecretSource, closing, readable_by_all};
use super::serve::{RawServe, ServeConfig, TokenConfig};
use super::settings::{Config, Draft};
use super::source::{Source, Spanned};
use super::trust::{self, RawKey};
use super::urls::quoted;
use crate::error::{Error, Errors, Result};
use crate::plugins::trust::{Signatures, Trust};

/// Bytes that a config file may have.
const LONGEST: usize = 4 << 20;

/// Which ticket systems there are, how tickets are made there, and how `serve` works.
///
/// ```toml
/// default_backend = "noc-rt"
/// plugin_dirs = ["/opt/ticket-plugins"]
/// ```
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawConfig {
    /// The backend that is meant where none is named. Without this setting it is the only one that there is.
    default_backend: Option<Spanned<String>>,
    /// Directories where plugins are looked for before the usual ones. A relative one counts from the config file's
    /// directory.
    #[serde(default)]
    plugin_dirs: Vec<PathBuf>,
    /// What becomes of a library that no trusted key signed.
    #[serde(default)]
    signatures: Signatures,
    /// What becomes of a plugin where this machine can't confine it. The default is `"require"` on Linux, and
    /// `"best-effort"` elsewhere, where there is no sandbox.
    #[serde(default)]
    sandbox: Policy,
    /// The keys that may sign plugins, each a table `[trusted_keys.NAME]` with a name of your own.
    #[serde(default)]
    trusted_keys: BTreeMap<String, RawKey>,
    #[serde(default)]
    limits: RawLimits,
    #[serde(default)]
    serve: RawServe,
    #[serde(default)]
    queue: RawQueue,
    argus: Option<RawArgus>,
    alarm: Option<RawAlarm>,
    /// The backends, each a table `[backends.NAME]` with a name of your own.
    #[serde(default)]
    backends: BTreeMap<String, RawBackend>,
}

/// Reads the config file.
///
/// # Errors
/// A settings error: it can't be read, is too long, or is not TOML.
pub(super) fn load(path: &Path) -> Result<Draft> {
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(LONGEST as u64 + 1).read_to_end(&mut bytes))
        .map_err(|cause| unreadable(path, cause))?;
    let mut draft = parse(path, &text(path, bytes)?)?;
    let config = &mut draft.config;
    let secrets = config.backends.values().map(|backend| &backend.secret);
    let password = config.queue.database.iter().filter_map(|database| database.password.as_ref());
    let holds_secret = secrets.chain(password).any(SecretSource::is_written_out);
    if holds_secret && readable_by_all(path) {
        config.warnings.push(format!(
            "the config file {} holds a secret and is readable by everybody on this machine; \
             mend it with: {}",
            path.display(),
            closing(path)
        ));
    }
    Ok(draft)
}

/// The text that a config file's bytes are.
///
/// # Errors
/// A settings error: there are too many, or they are not UTF-8.
fn text(path: &Path, bytes: Vec<u8>) -> Result<String> {
    let file = path.display();
    if bytes.len() > LONGEST {
        let error = format!("the config file {file} has more than {} MiB", LONGEST >> 20);
        return Err(Error::settings(error).help("is it the right file? --config names another"));
    }
    String::from_utf8(bytes).map_err(|cause| {
        let (before, wrong) = cause.as_bytes().split_at(cause.utf8_error().valid_up_to());
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let byte = wrong.first().map_or(0, |byte| *byte);
        let error =
            format!("the config file {file} is not UTF-8 (byte 0x{byte:02X} in line {line})");
        Error::settings(error).help("save it as UTF-8, which is the encoding of TOML")
    })
}

fn unreadable(path: &Path, cause: io::Error) -> Error {
    let file = path.display();
    let help = if cause.kind() == ErrorKind::PermissionDenied {
        "run this as a user who may read it, such as the service's: `runuser -u ticket-host -- \
         ticket-host ...`; or name another file with --config"
            .to_owned()
    } else {
        format!("`ticket-host --config {file} init` writes one to start from")
    };
    Error::settings(format!("the config file {file} can't be read")).help(help).cause(cause)
}

/// The settings that `text`, the config file `path`, gives.
///
/// # Errors
/// A settings error: it is not TOML, or so wrong that nothing of it can be read.
pub(super) fn parse(path: &Path, text: &str) -> Result<Draft> {
    let source = Source::new(path, text)?;
    let (raw, mistakes) = source.deserialize::<RawConfig>(text)?;
    let mut errors = Errors::default();
    let mut trust_is_known = !mistakes.iter().any(trust::is_open_after);
    let lacks_backends = mistakes.iter().any(|mistake| mistake.hides("backends"));
    let lacks_tokens = mistakes.iter().any(|mistake| {
        mistake.hides("serve") || mistake.path.len() == 2 && mistake.path[0] == "serve"
    });
    let has_argus = raw.argus.is_some() || mistakes.iter().any(|mistake| mistake.hides("argus"));
    mistakes.into_iter().for_each(|mistake| errors.add(source.explained(mistake)));
    // Relative file names count from the config file's directory.
    let base = path.parent().unwrap_or(Path::new(""));
    let limits = Limits::from(&raw.limits);
    let mut backends = BTreeMap::new();
    for (name, raw) in raw.backends {
        let read = BackendConfig::read(&source, base, limits, name.clone(), raw, &mut errors);
        backends.insert(name, read);
    }
    let named = [
        ("default_backend", raw.default_backend.as_ref()),
        ("argus.backend", raw.argus.as_ref().and_then(|argus| argus.backend.as_ref())),
    ];
    for (setting, name) in named.into_iter().filter(|_| !lacks_backends) {
        errors.keep(source.read_if_given(name, |name| one_of(&backends, setting, name)));
    }
    let known_keys = raw.trusted_keys.len();
    let keys = trust::keys(&source, raw.trusted_keys, &mut errors);
    trust_is_known &= keys.len() == known_keys && !backends.values().any(trust::is_open_in);
    let trust = Trust {
        signatures: raw.signatures,
        keys,
        pins: trust::pins(backends.values()),
        sandbox: raw.sandbox,
    };
    let queue = QueueConfig::read(&source, path, raw.queue, &mut errors);
    let argus = raw.argus.map(|argus| ArgusConfig::read(&source, base, argus, &mut errors));
    let alarm =
        raw.alarm.map(|alarm| AlarmConfig::read(&source, base, alarm, has_argus, &mut errors));
    let mut serve = ServeConfig::read(&source, base, raw.serve, has_argus, &mut errors);
    if lacks_tokens {
        // This isn't to be taken for a service without any.
        serve.tokens.push(TokenConfig::unreadable(String::new(), &source));
    }
    let config = Config {
        file: Some(path.to_owned()),
        default_backend: raw.default_backend.map(Spanned::into_inner),
        plugin_dirs: raw.plugin_dirs.into_iter().map(|dir| base.join(dir)).collect(),
        trust,
        max_incident_bytes: limits.max_incident_bytes,
        workers: WorkerLimits::from(&raw.limits),
        serve,
        queue,
        shown: source.shown(),
        digest: Some(Digest::of(text.as_bytes())),
        warnings: argus.iter().filter_map(ArgusConfig::warning).collect(),
        notes: Vec::new(),
        argus,
        alarm,
        backends,
    };
    errors.retain(Source::is_in_file);
    Ok(Draft { config, errors, plugins_are_known: trust_is_known })
}

/// # Errors
/// A settings error: the setting names a backend that isn't there.
fn one_of(backends: &BTreeMap<String, BackendConfig>, setting: &str, name: &String) -> Result<()> {
    if backends.contains_key(name) {
        return Ok(());
    }
    let names = backends.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    let message = format!("{setting} names a backend{} that doesn't exist", quoted(name));
    Err(Error::settings(message).help(format!("there are: {names}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Isolation, LookFirst};

    fn refuse(text: &str) -> Error {
        parse(Path::new("c.toml"), text).and_then(Draft::whole).unwrap_err()
    }

    fn pointed_at(error: &Error) -> String {
        let snippet = error.snippet.as_ref().unwrap();
        snippet.text[snippet.span.clone()].to_owned()
    }

    const BACKEND: &str = "[backends.a]\nplugin = \"rt\"\nendpoint = \"https://rt.example.org\"\n";

    #[test]
    fn a_backend_has_its_settings_and_the_defaults() {
        let text = format!(
            "plugin_dirs = [\"more\"]\n[limits]\nconcurrency = 2\n{BACKEND}secret = {{ token = {{ env = \"T\" }} }}\n[backends.a.information]\nqueue = \"NOC\"\nsince = 2026-11-23\n"
        );
        let config = parse(Path::new("/etc/x/c.toml"), &text).unwrap().whole().unwrap();
        let a = config.backend(None).unwrap();
        assert_eq!(
            (a.concurrency, a.max_response_bytes, a.call_timeout.as_secs()),
            (2, 4 << 20, 30)
        );
        assert_eq!(a.information["queue"], "NOC");
        assert_eq!(a.information["since"], "2026-11-23");
        assert_eq!(a.isolation, Isolation::Worker);
        assert_eq!(a.look_first, LookFirst::WhenInDoubt);
        assert_eq!(config.plugin_dirs, [PathBuf::from("/etc/x/more")]);
    }

    #[test]
    fn what_is_wrong_is_pointed_at() {
        for (text, at, why) in [
            (BACKEND.replace("https://", ""), "\"rt.example.org\"", "is not a valid URL"),
            (
                BACKEND.replace("plugin =", "plugn ="),
                "plugn",
                "unknown setting `plugn`; did you mean `plugin`?",
            ),
            (
                format!("{BACKEND}allow_origins = [\"https://x.org/path\"]\n"),
                "\"https://x.org/path\"",
                "that is not an origin",
            ),
            (
                format!("default_backend = \"b\"\n{BACKEND}"),
                "\"b\"",
                "names a backend \"b\" that doesn't exist",
            ),
            (
                format!("{BACKEND}[serve.tokens.a]\ntoken = \"x\"\nscopes = []\nargus = true\n"),
                "true",
                "serve.tokens.a is the token of the Argus of [argus], which the config lacks",
            ),
            (
                format!(
                    "{BACKEND}[argus]\nurl = \"https://a.org\"\ntoken = \"x\"\nfilter = \"a=1&open=false\"\n"
                ),
                "\"a=1&open=false\"",
                "argus.filter can't have the parameter open",
            ),
        ] {
            let error = refuse(&text);
            assert!(error.message.contains(why), "{error}");
            assert_eq!(pointed_at(&error), at);
            assert!(error.help.is_some());
        }
    }

    #[test]
    fn no_library_may_be_loaded_where_it_is_open_whether_it_must_be_signed() {
        let signed = "signatures = \"require\"\n";
        for text in [
            format!("[serve]\n{signed}"),
            format!("[limits]\n{signed}"),
            format!("[queue]\n{signed}"),
            format!("[trusted_keys]\n{signed}"),
            format!("[serve.tokens]\n{signed}"),
            format!("[backends]\n{signed}"),
            format!("{BACKEND}{signed}"),
            format!("{BACKEND}[backends.a.permissions]\n{signed}"),
            format!("{BACKEND}[backends.a.permissions]\nsandbx = \"require\"\n"),
            format!("{BACKEND}plugins_dirs = []\n"),
            format!("default_backend = \"b\"\n{BACKEND}[backends.a.information]\n{signed}"),
            format!("default_backend = \"b\"\n{BACKEND}[backends.a.secret]\n{signed}"),
            // What stands in the place of another value.
            format!("[[limits]]\n{signed}"),
            format!("[[backends]]\n{signed}"),
            format!("{BACKEND}[backends.a.concurrency]\n{signed}"),
            format!("[limit]\n{signed}"),
            format!("[backend.a]\n{signed}"),
            format!("{BACKEND}[backends.a.secrt]\n{signed}"),
            // Nobody knows what these mean.
            "sigs = \"require\"\n".to_owned(),
            "[serve]\nsigs = \"require\"\n".to_owned(),
            "[backends]\nsigs = \"require\"\n".to_owned(),
            "[signing]\nsignatures = \"require\"\n".to_owned(),
            format!("{BACKEND}sigs = \"require\"\n"),
            // What is wrong with the settings themselves.
            "signatures = true\n".to_owned(),
            "signatres = \"require\"\n".to_owned(),
            "Signatures = \"require\"\n".to_owned(),
            "sandbox = \"requir\"\n".to_owned(),
            "plugin_dirs = [1]\n".to_owned(),
            "[trusted_keys.a]\nkey = \"RW\"\nplugins = [\"a\"]\n".to_owned(),
            "[trusted_key.a]\nkey = \"RW\"\n".to_owned(),
        ] {
            let draft = parse(Path::new("c.toml"), &text).unwrap();
            assert!(!draft.is_whole() && !draft.plugins_are_known, "{text}");
        }
        for text in [
            format!("default_backend = \"b\"\n{BACKEND}"),
            format!("{BACKEND}concurency = 4\n"),
            format!("{BACKEND}plugn = \"x\"\n"),
            "[serve]\nlistn = \"x\"\n".to_owned(),
            "[queue]\nretry_days = 0\n".to_owned(),
            "[backends.sandbox]\nplugin = \"x\"\n".to_owned(),
        ] {
            let draft = parse(Path::new("c.toml"), &text).unwrap();
            assert!(!draft.is_whole() && draft.plugins_are_known, "{text}");
        }
    }

    #[test]
    fn a_token_that_goes_to_argus_unencrypted_is_a_warning() {
        for (url, warned) in [
            ("http://argus.example.org/", true),
            ("https://argus.example.org/", false),
            ("http://127.0.0.1:8000/", false),
        ] {
            let text = format!("{BACKEND}[argus]\nurl = \"{url}\"\ntoken = \"hunter2\"\n");
            let warnings = parse(Path::new("c.toml"), &text).unwrap().config.warnings;
            assert_eq!(!warnings.is_empty(), warned, "{url}: {warnings:?}");
            for warning in warnings {
                assert!(warning.contains("http://argus.example.org unencrypted"), "{warning}");
                assert!(warning.contains("write https:// in argus.url"), "{warning}");
            }
        }
    }

    #[test]
    fn who_may_not_read_the_file_is_told_to_run_as_one_who_may() {
        let help =
            |kind: ErrorKind| unreadable(Path::new("/etc/c.toml"), kind.into()).help.unwrap();
        let denied = help(ErrorKind::PermissionDenied);
        assert!(
            denied.contains("runuser -u ticket-host --") && !denied.contains("init"),
            "{denied}"
        );
        assert!(help(ErrorKind::NotFound).contains("`ticket-host --config /etc/c.toml init`"));
    }

    #[test]
    fn a_file_that_is_no_text_or_too_long_is_refused_with_where_and_why() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("c.toml");
        let of_all = vec![b'\n'; LONGEST];
        for (bytes, why) in [
            (b"# a\n\n# bl\xe6\n".to_vec(), "is not UTF-8 (byte 0xE6 in line 3)"),
            (b"\xff\xfe[\0s\0".to_vec(), "is not UTF-8 (byte 0xFF in line 1)"),
            ([&of_all[..], b"\n"].concat(), "has more than 4 MiB"),
        ] {
            fs::write(&file, bytes).unwrap();
            let error = load(&file).unwrap_err();
            assert!(error.message.contains(why), "{error}");
            assert!(error.help.is_some_and(|help| !help.contains("init")));
        }
        fs::write(&file, of_all).unwrap();
        assert!(load(&file).unwrap().is_whole());
    }

    #[test]
    fn no_error_shows_a_secret() {
        for text in [
            format!("{BACKEND}secret = \"hunter2-æ\"\n"),
            format!("{BACKEND}secret = {{ token = \"hunter2-æ\" }}\nconcurrency = 0\n"),
            format!("{BACKEND}secret = {{ token = \"hunter2-æ }}\n"),
            format!("{BACKEND}secret = {{ token = hunter2-æ }}\n"),
            format!(
                "{BACKEND}[backends.a.secret]\ntoken = \"hunter2-æ\"\n[backends.a.template]\ntitel = 1\n"
            ),
            format!("{BACKEND}secret = {{ token = \"\"\"\nhunter2-æ\nx\"\"\" }}\nnope = 1\n"),
            format!("{BACKEND}secret = {{ token = \"\"\"\nhunter2-æ\nx }}\n"),
            format!("{BACKEND}proxy = \"http://u:hunter2-æ@p\"\nconcurrency = 0\n"),
            // Something else stands where a table belongs.
            "argus = \"hunter2-æ\"\n".to_owned(),
            "backends = \"hunter2-æ\"\n".to_owned(),
            "backends = [{ plugin = \"hunter2-æ\" }]\n".to_owned(),
            "backends.a = \"hunter2-æ\"\n".to_owned(),
            "limits = [\"hunter2-æ\"]\n".to_owned(),
            "[serve]\ntokens = \"hunter2-æ\"\n".to_owned(),
            "[serve.tokens]\nargus = \"hunter2-æ\"\n".to_owned(),
            format!("{BACKEND}template = \"hunter2-æ\"\n"),
            format!("{BACKEND}information = \"hunter2-æ\"\n"),
            format!("{BACKEND}permissions = \"hunter2-æ\"\n"),
            // A setting that is unknown there, though it is known elsewhere, or is near one that is known.
            format!("{BACKEND}key = \"hunter2-æ\"\n"),
            format!("{BACKEND}tokens = \"hunter2-æ\"\n"),
            format!("{BACKEND}url = \"hunter2-æ\"\n"),
            format!("{BACKEND}plugn = \"hunter2-æ\"\n"),
            "[backend.a]\nplugin = \"hunter2-æ\"\n".to_owned(),
            "[queue]\npassword = \"hunter2-æ\"\n".to_owned(),
            "[queue]\nurl = \"mysql://x\"\npassword = \"hunter2-æ\"\n".to_owned(),
            "[queue]\nurl = \"postgres://u:hunter2-æ@db/x\"\n".to_owned(),
            "[queue]\nurl = \"postgres://u@db/x?password=hunter2-æ\"\n".to_owned(),
            // A token stands where its digest belongs, or what it may do.
            "[serve.tokens.x]\nsha256 = \"hunter2-æ\"\n".to_owned(),
            "[serve.tokens.x]\nsha256 = \"hunter2-æ\"\nscopes = []\n".to_owned(),
            "[serve.tokens.x]\nscopes = \"hunter2-æ\"\n".to_owned(),
            "[serve.tokens.x]\ntoken = \"t\"\nscopes = [\"read\", \"hunter2-æ\"]\n".to_owned(),
            format!("{BACKEND}sha256 = \"hunter2-æ\"\n"),
        ] {
            let error = refuse(&text);
            let snippet = error.snippet.as_ref().unwrap();
            let shown = format!("{error:?}");
            assert!(!shown.contains("hunter2"), "{shown}");
            assert_eq!(snippet.text.len(), text.len(), "spans still fit");
        }
    }
}
