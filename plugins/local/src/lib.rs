//! Tickets as Markdown files with front matter, in the directory that a `file://` endpoint names.
//!
//! Invariant: one file for each key, and a file is there whole or not at all.

mod life;

use std::fs::{self, File};
use std::io::{
    self,
    ErrorKind::{AlreadyExists, NotFound},
    Write,
};
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;
use ticket_plugin_api::{
    About, Action, Call, Check, Error, Extra, Format, Incident, Offer, Result, Settings,
    StateRequest, States, Ticket, TicketPlugin, TicketRequest, UpdateRequest, Updated,
    export_plugin, fingerprint,
};
use url::Url;

/// Files don't need a login: `secret = {}`.
#[derive(Deserialize, JsonSchema)]
struct Secret {}

/// Nothing to set: `information = {}`.
#[derive(Deserialize, JsonSchema)]
struct Information {}

struct Local {
    directory: PathBuf,
}

impl TicketPlugin for Local {
    const ABOUT: About = About {
        name: "local",
        license: "MIT OR Apache-2.0",
        description: "Writes each ticket as a Markdown file into the directory of its endpoint",
        permissions: &[(
            "write",
            "the directory that the endpoint names",
            "a ticket is a file there",
        )],
        dry_run: true,
        offers: &[Offer::State],
        actions: &[Action::Comment, Action::Close, Action::Reopen],
        marks: true,
        ..About::new(env!("CARGO_PKG_VERSION"))
    };
    type Secret = Secret;
    type Information = Information;

    fn open(settings: Settings<Secret, Information>) -> Result<Local> {
        let url = Url::parse(&settings.endpoint).ok().filter(|url| url.scheme() == "file");
        let directory = url.and_then(|url| url.to_file_path().ok()).ok_or_else(|| {
            Error::settings(
                "endpoint: must be a file:// URL of a directory, like file:///var/lib/tickets",
            )
        })?;
        Ok(Local { directory })
    }

    fn check(&mut self, _: &Call) -> Result<Vec<Check>> {
        let shown = self.directory.display();
        let looked = match fs::metadata(&self.directory) {
            Ok(_) => self.try_to_write().map(|()| "can be written to"),
            Err(cause) if cause.kind() == NotFound => {
                can_be_made(&self.directory).map(|()| "isn't there yet")
            }
            Err(cause) => Err(cause),
        };
        Ok(vec![match looked {
            Ok(found) => Check::passed("directory", format!("{shown} {found}")),
            Err(cause) => Check::failed(
                "directory",
                format!("{shown} can't be written to: {cause}"),
                "make the directory, or let the host's user write there",
            ),
        }])
    }

    fn create(&mut self, call: &Call, request: &TicketRequest<Incident>) -> Result<Ticket> {
        let title = call.title()?;
        let body = call.body(Format::Markdown, &Extra::default())?;
        let quote = |text: &str| serde_json::Value::from(text).to_string();
        // Quoted as JSON strings, which are YAML too, no title or key can end the front matter.
        let text = format!(
            "---\ntitle: {}\nkey: {}\n---\n\n{}\n",
            quote(&title),
            quote(&request.key),
            body.trim_end()
        );
        let path = self.path(&request.key);
        if request.dry_run {
            return Ok(Ticket {
                preview: Some(format!("write {}\n\n{text}", path.display())),
                ..Ticket::default()
            });
        }
        match self.write(&path, &text) {
            Ok(()) => Ok(self.ticket(&path)),
            Err(cause) => Err(failed("can't write", &path, &cause)),
        }
    }

    fn update(
        &mut self,
        call: &Call,
        request: &UpdateRequest<Incident>,
    ) -> Result<Option<Updated>> {
        life::update(self, call, request)
    }

    fn state(&mut self, call: &Call, request: &StateRequest) -> Result<States> {
        life::state(self, call, request)
    }

    fn find(&mut self, _: &Call, request: &TicketRequest<Incident>) -> Result<Option<Ticket>> {
        let path = self.path(&request.key);
        match path.try_exists() {
            Ok(true) => Ok(Some(self.ticket(&path))),
            Ok(false) => Ok(None),
            Err(cause) => Err(failed("can't look for", &path, &cause)),
        }
    }
}

export_plugin!(Local);

impl Local {
    /// The file of a key. Its name ends with half of the key's SHA-256, which makes it unique; the
    /// words before that are for people. A key without words of ASCII has none there, nor a dash,
    /// with which programs begin their options.
    fn path(&self, key: &str) -> PathBuf {
        let words: Vec<&str> = key
            .split(|c: char| !c.is_ascii_alphanumeric())
            .filter(|word| !word.is_empty())
            .collect();
        let name = words.join("-");
        let end = name[name.len().saturating_sub(40)..].trim_start_matches('-');
        let dash = if end.is_empty() { "" } else { "-" };
        self.directory.join(format!("{end}{dash}{}.md", &fingerprint(key)[..32]))
    }

    fn ticket(&self, path: &Path) -> Ticket {
        Ticket {
            // Only a path that isn't absolute has no URL, and this one came from a file:// URL.
            url: Url::from_file_path(path).map(String::from).unwrap_or_default(),
            id: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            ..Ticket::default()
        }
    }

    fn temporary(&self, what: &str) -> PathBuf {
        let thread = std::thread::current().id();
        self.directory.join(format!(".{what}-{}-{thread:?}.tmp", std::process::id()))
    }

    /// Writes to the directory, and leaves no trace there: a file without a name where the file system knows such, else
    /// one that is removed again.
    fn try_to_write(&self) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::{Mode, OFlags, open};
            use rustix::io::Errno;
            let nameless = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
            match open(&self.directory, nameless, Mode::RUSR | Mode::WUSR) {
                Ok(_) => return Ok(()),
                Err(Errno::OPNOTSUPP | Errno::ISDIR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        let probe = self.temporary("check");
        File::create_new(&probe)?;
        fs::remove_file(&probe)
    }

    fn make_directory(&self) -> io::Result<()> {
        fs::create_dir_all(&self.directory)
    }

    /// Writes a file unless it exists. Either way the whole file is on disk when this returns.
    fn write(&self, path: &Path, text: &str) -> io::Result<()> {
        self.make_directory()?;
        let temporary = self.temporary(&fingerprint(&path.to_string_lossy()));
        let linked = (|| {
            let mut file = File::create(&temporary)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            // Unlike a rename, a link never replaces what is there.
            match fs::hard_link(&temporary, path) {
                Err(cause) if cause.kind() == AlreadyExists => Ok(()),
                linked => linked,
            }
        })();
        let removed = fs::remove_file(&temporary);
        linked.and(removed)?;
        sync_directory(&self.directory)
    }
}

/// Whether a directory that isn't there could be made, as far as that can be told without making it.
fn can_be_made(directory: &Path) -> io::Result<()> {
    for above in directory.ancestors().skip(1) {
        match fs::metadata(above) {
            Err(cause) if cause.kind() == NotFound => {}
            Err(cause) => return Err(cause),
            #[cfg(unix)]
            Ok(_) => {
                use rustix::fs::{Access, access};
                return access(above, Access::WRITE_OK | Access::EXEC_OK).map_err(|errno| {
                    io::Error::other(format!("{}: {}", above.display(), io::Error::from(errno)))
                });
            }
            #[cfg(not(unix))]
            Ok(_) => return Ok(()),
        }
    }
    Err(NotFound.into())
}

/// Writes a directory to disk: only then is the name of a new file in it on disk too. Windows has
/// no such call, and needs none.
#[cfg(unix)]
fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(not(unix))]
fn sync_directory(_: &Path) -> io::Result<()> {
    Ok(())
}

fn failed(what: &str, path: &Path, cause: &io::Error) -> Error {
    Error::creation(format!("{what} {}: {cause}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use ticket_plugin_api::testkit::{self, Fixture};

    pub(crate) fn open(directory: &Path) -> Fixture {
        let endpoint = Url::from_directory_path(directory).unwrap();
        testkit::open::<Local>(endpoint.as_str(), json!({}), json!({})).unwrap()
    }

    pub(crate) fn incident() -> Value {
        json!({"description": "gw1 is \"down\"\n---"})
    }

    pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
        fs::read_dir(directory).unwrap().map(|e| e.unwrap().path()).collect()
    }

    #[test]
    fn a_ticket_is_a_file_with_front_matter_and_body() {
        let dir = tempfile::tempdir().unwrap();
        let ticket = open(dir.path()).create(incident(), "https://argus/1").unwrap();
        let path = Url::parse(&ticket.url).unwrap().to_file_path().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let head = "---\ntitle: \"gw1 is \\\"down\\\"\\n---\"\nkey: \"https://argus/1\"\n---\n\nmarkdown body";
        assert!(text.starts_with(head), "{text}");
        assert_eq!(files(dir.path()), [path], "and nothing is left beside it");
    }

    #[test]
    fn a_key_has_one_file_and_find_is_exact() {
        let dir = tempfile::tempdir().unwrap();
        let mut local = open(&dir.path().join("made/when/needed"));
        assert_eq!(local.find(incident(), "argus/12").unwrap(), None);
        let ticket = local.create(incident(), "argus/12").unwrap();
        assert_eq!(local.create(incident(), "argus/12").unwrap(), ticket);
        assert_eq!(local.find(incident(), "argus/12").unwrap(), Some(ticket));
        assert_eq!(local.find(incident(), "argus/1").unwrap(), None);
        assert_eq!(local.find(incident(), "argus-12").unwrap(), None);
    }

    #[test]
    fn a_file_is_named_by_the_words_of_its_key_and_begins_with_no_dot_and_no_dash() {
        let local = Local { directory: PathBuf::new() };
        let long = "a".repeat(20);
        for (key, words) in [
            ("https://argus.example.org/incidents/7", "https-argus-example-org-incidents-7-"),
            ("--all ..", "all-"),
            (&format!("{long} {long} {long}-b"), &format!("{}-{long}-b-", &long[..17])),
            (&format!("x {long}-{}", "c".repeat(19)), &format!("{long}-{}-", "c".repeat(19))),
            (".", ""),
            ("-", ""),
            ("../..", ""),
            ("мережа", ""),
        ] {
            let name = format!("{words}{}.md", &fingerprint(key)[..32]);
            assert_eq!(local.path(key), Path::new(&name), "{key}");
        }
    }

    #[test]
    fn a_dry_run_shows_the_file_and_writes_none() {
        let dir = tempfile::tempdir().unwrap();
        let ticket = open(dir.path()).dry_run(incident(), "k").unwrap();
        assert!(ticket.preview.unwrap().contains("key: \"k\""));
        assert!(files(dir.path()).is_empty());
    }

    #[test]
    fn an_endpoint_that_is_no_file_url_is_a_settings_error() {
        for endpoint in ["https://example.org/", "file://host/x", "nonsense"] {
            let error = testkit::open::<Local>(endpoint, json!({}), json!({})).unwrap_err();
            assert_eq!(error.kind, ticket_plugin_api::ErrorKind::Settings, "{endpoint}");
            assert!(error.message.contains("file://"), "{error}");
        }
    }

    #[test]
    fn a_directory_that_cannot_be_made_fails_check_and_create() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a-file");
        fs::write(&file, "").unwrap();
        let mut local = open(&file);
        let checks = local.check().unwrap();
        assert!(!checks[0].ok && !checks[0].help.is_empty(), "{checks:?}");
        let error = local.create(incident(), "k").unwrap_err();
        assert!(error.message.contains("can't write"), "{error}");
    }

    #[test]
    fn check_makes_nothing_and_leaves_no_trace() {
        let dir = tempfile::tempdir().unwrap();
        let changed = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
        let before = changed(dir.path());
        assert!(open(dir.path()).check().unwrap()[0].ok);
        let checks = open(&dir.path().join("made/later")).check().unwrap();
        assert!(checks[0].ok && checks[0].message.contains("isn't there yet"), "{checks:?}");
        assert!(files(dir.path()).is_empty());
        // Where there are files without a name.
        if cfg!(target_os = "linux") {
            assert_eq!(changed(dir.path()), before);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_directory_that_cannot_be_made_in_its_parent_fails_the_check() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o500)).unwrap();
        let checks = open(&dir.path().join("new")).check().unwrap();
        // Root may write everywhere.
        let is_root = rustix::process::geteuid().is_root();
        assert_eq!(checks[0].ok, is_root, "{checks:?}");
        assert!(is_root || checks[0].message.contains("Permission denied"), "{checks:?}");
    }
}
