//! The report on a validation: a file that a vendor signs and shows.
//!
//! Invariant: the file is there as a whole, or as it was before.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use ticket_host_worker::Digest;
use ticket_plugin_api::abi::ABI_VERSION;

use crate::error::{Error, Kind, Result};
use crate::store::Timestamp;
use crate::terminal::safe_json;
use crate::validate::{self, CaseResult, Grade, Subject, milliseconds};

/// What the report says, in this order.
#[derive(Debug, Serialize)]
pub(super) struct Report<'a> {
    #[serde(flatten)]
    subject: &'a Subject,
    host: Host,
    platform: Platform,
    /// When the validation began, as RFC 3339 writes it, in UTC.
    began_at: String,
    /// How long it took.
    #[serde(rename = "milliseconds", serialize_with = "milliseconds")]
    time: Duration,
    #[serde(flatten)]
    inputs: Inputs,
    /// Whether no case was left out or excluded, of a plugin that was validated with settings.
    complete: bool,
    /// Whether it is a plugin, and no case failed.
    ok: bool,
    /// The cases that couldn't be tried, such as those of functions that the plugin doesn't have.
    skipped: Vec<&'static str>,
    cases: &'a [CaseResult],
}

#[derive(Debug, Serialize)]
struct Host {
    name: &'static str,
    version: &'static str,
    revision: &'static str,
    abi_version: u32,
}

#[derive(Debug, Serialize)]
struct Platform {
    os: &'static str,
    arch: &'static str,
}

/// What the cases were run with.
#[derive(Debug, Serialize)]
pub(super) struct Inputs {
    settings: Option<Input>,
    excludes: Option<Input>,
    in_process: bool,
}

#[derive(Debug, Serialize)]
struct Input {
    file: String,
    sha256: Digest,
}

impl Inputs {
    /// # Errors
    /// A usage error: a file can't be read.
    pub(super) fn of(arguments: &super::Arguments) -> Result<Inputs> {
        let input = |file: &Option<PathBuf>| file.as_deref().map(input).transpose();
        Ok(Inputs {
            settings: input(&arguments.settings)?,
            excludes: input(&arguments.exclude)?,
            in_process: arguments.in_process,
        })
    }
}

fn input(file: &Path) -> Result<Input> {
    let digest = File::open(file).and_then(Digest::of_all);
    let sha256 = digest
        .map_err(|cause| Error::usage(format!("{}: can't be read", file.display())).cause(cause))?;
    let name = file.file_name().unwrap_or_default();
    Ok(Input { file: name.to_string_lossy().into_owned(), sha256 })
}

impl<'a> Report<'a> {
    pub(super) fn new(
        began_at: Timestamp,
        time: Duration,
        inputs: Inputs,
        subject: &'a Subject,
        cases: &'a [CaseResult],
        ok: bool,
    ) -> Report<'a> {
        let run = cases.iter().filter(|result| result.grade != Grade::Excluded).count();
        let skipped = cases.iter().filter(|result| result.grade == Grade::Skip);
        let is_plugin = subject.plugin.is_some();
        let complete = run == validate::cases().count() && is_plugin && inputs.settings.is_some();
        Report {
            subject,
            host: Host {
                name: env!("CARGO_PKG_NAME"),
                version: env!("CARGO_PKG_VERSION"),
                revision: env!("TICKET_HOST_REVISION"),
                abi_version: ABI_VERSION,
            },
            platform: Platform { os: std::env::consts::OS, arch: std::env::consts::ARCH },
            began_at: began_at.rfc3339(),
            time,
            inputs,
            complete,
            ok: ok && is_plugin,
            skipped: skipped.map(|result| result.name).collect(),
            cases,
        }
    }
}

/// Where a report will be written: it was tried that this can be done.
#[derive(Debug)]
pub(super) struct Destination(PathBuf);

impl Destination {
    /// # Errors
    /// A usage error: nothing can be written there, or something else than a report is there.
    pub(super) fn at(file: &Path, arguments: &super::Arguments) -> Result<Destination> {
        let refused = |why: &str| {
            Error::usage(format!("the report {}: {why}", file.display()))
                .help("name another file with --report")
        };
        let Some(name) = file.file_name() else {
            return Err(refused("is not the name of a file"));
        };
        let file = file.with_file_name(name);
        match fs::symlink_metadata(&file) {
            Ok(there) if !there.is_file() => {
                return Err(refused("is there already, and is not a file"));
            }
            Ok(_) if arguments.reads(&file) => {
                return Err(refused("is what is validated, or its settings or excludes"));
            }
            _ => {}
        }
        let new = beside(&file);
        let tried = File::create_new(&new).and_then(|_| fs::remove_file(&new));
        tried.map_err(|cause| refused("can't be written").cause(cause))?;
        Ok(Destination(file))
    }

    /// # Errors
    /// It can't be written any more, such as that the disk is full. What was there before is still there.
    pub(super) fn write(&self, report: &Report<'_>) -> Result<()> {
        let json = serde_json::to_string_pretty(report).map_err(io::Error::from);
        let new = beside(&self.0);
        let put = json.and_then(|json| {
            let mut file = File::create_new(&new)?;
            file.write_all(safe_json(&format!("{json}\n")).as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &self.0)
        });
        put.map_err(|cause| {
            // The first error is the one that is told of.
            let _ = fs::remove_file(&new);
            let file = self.0.display();
            Error::new(Kind::Output, format!("the report {file} could not be written")).cause(cause)
        })
    }
}

/// The name of a new file beside this one.
fn beside(file: &Path) -> PathBuf {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    file.with_file_name(format!(".{name}-new-{:016x}", fastrand::u64(..)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validate::Library;

    fn write(destination: &Destination) -> Result<()> {
        let library = Library {
            file: "x\u{202e}.so".to_owned(),
            bytes: Some(1),
            sha256: Some(Digest::of(b"x")),
        };
        let subject = Subject { library, plugin: None };
        let inputs = Inputs { settings: None, excludes: None, in_process: false };
        let time = Duration::from_millis(1500);
        destination.write(&Report::new(Timestamp::EPOCH, time, inputs, &subject, &[], true))
    }

    #[test]
    fn a_report_says_the_same_in_the_same_order_and_takes_the_place_of_the_one_before() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("report.json");
        fs::write(&file, "the one before").unwrap();
        write(&Destination(file.clone())).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        let members = text.lines().filter_map(|line| line.strip_prefix("  \"")?.split('"').next());
        let expected = [
            "library",
            "plugin",
            "host",
            "platform",
            "began_at",
            "milliseconds",
            "settings",
            "excludes",
            "in_process",
            "complete",
            "ok",
            "skipped",
            "cases",
        ];
        assert_eq!(members.collect::<Vec<_>>(), expected);
        assert!(text.ends_with("}\n") && text.contains("x\\u202e.so"), "{text}");
        assert!(text.contains("\"began_at\": \"1970-01-01T00:00:00Z\",\n  \"milliseconds\": 1500"));
        assert!(text.contains("\"complete\": false"), "{text}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_report_that_cannot_be_put_in_its_place_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let taken = directory.path().join("report.json");
        fs::create_dir(&taken).unwrap();
        for file in [taken.clone(), directory.path().join("gone/report.json")] {
            let error = write(&Destination(file)).unwrap_err();
            assert_eq!(error.kind, Kind::Output);
            assert!(error.message.contains("report.json could not be written"), "{error:?}");
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        assert_eq!(fs::read_dir(taken).unwrap().count(), 0);
    }
}
