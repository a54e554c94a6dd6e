//! `[queue]`: where accepted incidents are kept, and for how long their tickets are tried.

use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use sqlx::postgres::PgConnectOptions;
use url::Url;

use super::bounds::{Bounded, Days, Megabytes, Seconds};
use super::json::json;
use super::locations;
use super::secret::{self, SecretSource};
use super::source::{Place, Source, Spanned};
use crate::error::{Error, Errors, Result};

/// The settings of the queue.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueConfig {
    /// The store's file. With a database it is not made: the service's socket and locks lie beside it.
    pub path: PathBuf,
    /// The database that the store lies in instead, with that of other hosts.
    pub database: Option<Database>,
    /// Bytes that the store may have.
    pub max_bytes: u64,
    /// How long after it was accepted an incident's ticket is still tried.
    pub retry_for: Duration,
    /// The longest time between two tries.
    pub longest_wait: Duration,
    /// How long an incident whose ticket is created, cancelled or suppressed is kept.
    pub keep_for: Duration,
    /// How long after a call of which nobody knows what it did the plugin's "there is no ticket" is
    /// believed: until then the ticket system may still be at work on the request.
    pub settle: Duration,
}

/// A database that several hosts share.
#[derive(Debug, Clone, PartialEq)]
pub struct Database {
    /// Without a password.
    pub url: Url,
    pub password: Option<SecretSource>,
    /// Where the password stands in the config file.
    place: Option<Place>,
}

impl Database {
    /// Whether each transaction may get another connection, which knows nothing of the statements and channels of the one before. So the URL
    /// says by `statement-cache-capacity=0`.
    pub fn is_pooled(&self) -> bool {
        self.url
            .query_pairs()
            .any(|(name, value)| name == "statement-cache-capacity" && value == "0")
    }

    /// How it is connected to.
    ///
    /// # Errors
    /// A settings error: the password can't be read, or the URL has a parameter that can't be used.
    pub fn options(&self) -> Result<PgConnectOptions> {
        let options: PgConnectOptions = self.url.as_str().parse().map_err(|cause| {
            Error::settings("queue.url can't be used").cause(cause).help(URL_HELP)
        })?;
        let Some(password) = &self.password else { return Ok(options) };
        let text = password.text("queue.password");
        let text = text.map_err(|error| Place::pointing(self.place.as_ref(), error))?;
        Ok(options.password(&text))
    }
}

const URL_HELP: &str = "write postgres://USER@HOST:PORT/DATABASE, and after it ?sslmode=verify-full where the database is on another machine";

/// # Errors
/// A settings error: it is no URL of a PostgreSQL database, or holds the password.
fn database_url(text: &str) -> Result<Url> {
    let wrong = |why: &str| Error::settings(format!("queue.url {why}")).help(URL_HELP);
    let url = Url::parse(text).map_err(|cause| wrong("is no URL").cause(cause))?;
    if !matches!(url.scheme(), "postgres" | "postgresql") {
        return Err(wrong("must begin with postgres://"));
    }
    if url.password().is_some() || url.query_pairs().any(|(name, _)| name == "password") {
        return Err(wrong("holds a password")
            .help("leave it out there, and give queue.password = { file = \"/path\" } or { env = \"NAME\" }"));
    }
    if url.path().trim_start_matches('/').is_empty()
        && !url.query_pairs().any(|(name, _)| name == "dbname")
    {
        return Err(wrong("names no database"));
    }
    Ok(url)
}

/// Where `serve` keeps the incidents that it accepted, and for how long their tickets are tried.
///
/// ```toml
/// [queue]
/// path = "/var/lib/ticket-host/queue.db"
/// retry_days = 14
/// ```
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawQueue {
    /// The store's file. Without this setting it is `/var/lib/ticket-host/queue.db` with the config
    /// `/etc/ticket-host/config.toml`, else `~/.local/state/ticket-host/queue.db`. A relative path counts from the config
    /// file's directory. With `url` no such file is made: beside it lie the socket and the locks by which `create` and the
    /// service of one machine keep out of each other's way.
    path: Option<PathBuf>,
    /// The PostgreSQL database (15 or newer) that the store lies in instead, which several hosts share:
    /// `postgres://USER@HOST:PORT/DATABASE`, without a password. After it may stand libpq's `?sslmode=verify-full` and
    /// `&sslrootcert=/path`, and `&statement-cache-capacity=0` behind a pooler that gives each transaction another connection.
    url: Option<Spanned<String>>,
    /// The database's password. With `{ env = "NAME" }` it is read from an environment variable, with `{ file = "/path" }`
    /// from a file.
    #[schemars(schema_with = "secret::text_schema")]
    password: Option<Spanned<toml::Value>>,
    /// Megabytes that the store's file may have. A store that has nine tenths of them accepts no more incidents; the rest is for what
    /// becomes of those that it has.
    max_megabytes: Bounded<Megabytes, 1, { 1 << 20 }>,
    /// Days after which an incident's ticket is tried no more. It has then failed, and a person can retry it.
    retry_days: Bounded<Days, 1, 365>,
    /// Seconds that lie between two tries at most. The first ones lie closer together.
    longest_wait_seconds: Bounded<Seconds, 1, 86_400>,
    /// Days for which an incident is kept after its ticket was created, cancelled or suppressed.
    keep_days: Bounded<Days, 1, 3650>,
    /// Seconds after a lost answer until "there is no such ticket" is believed. Until then the ticket system may still be
    /// at work on the request. A plugin can say that its system needs longer, and a backend can have a `settle_seconds` of its own.
    settle_seconds: Bounded<Seconds, 0, 3600>,
}

impl Default for RawQueue {
    fn default() -> RawQueue {
        RawQueue {
            path: None,
            url: None,
            password: None,
            max_megabytes: Bounded::of::<{ 16 << 10 }>(),
            retry_days: Bounded::of::<7>(),
            longest_wait_seconds: Bounded::of::<600>(),
            keep_days: Bounded::of::<30>(),
            settle_seconds: Bounded::of::<10>(),
        }
    }
}

impl QueueConfig {
    /// The settings of a queue of which nothing is said, beside the config file `file` if there is one.
    pub(super) fn beside(file: Option<&Path>) -> QueueConfig {
        QueueConfig::new(locations::store(file), &RawQueue::default())
    }

    /// The settings of the queue in the config file `file`. A setting that can't be used is added to `errors`, with where it stands.
    pub(super) fn read(
        source: &Source,
        file: &Path,
        raw: RawQueue,
        errors: &mut Errors,
    ) -> QueueConfig {
        let base = file.parent().unwrap_or(Path::new(""));
        let path = raw.path.as_ref().map(|path| base.join(path));
        let config = QueueConfig::new(path.unwrap_or_else(|| locations::store(Some(file))), &raw);
        let url = errors
            .keep(source.read_if_given(raw.url.as_ref(), |text| database_url(text)))
            .flatten();
        let place = raw.password.as_ref().map(|password| Place::new(source, password.span()));
        let password = raw.password.map(|password| SecretSource {
            value: json(password.into_inner()),
            base: base.to_owned(),
        });
        if let (None, Some(place), None) = (&url, &place, &raw.url) {
            let error = Error::settings("queue.password without queue.url")
                .help("a store in a file has no password: leave it out, or name the database");
            errors.add(Place::pointing(Some(place), error));
        }
        let database = url.map(|url| Database { url, password, place });
        QueueConfig { database, ..config }
    }

    fn new(path: PathBuf, raw: &RawQueue) -> QueueConfig {
        QueueConfig {
            path,
            database: None,
            max_bytes: raw.max_megabytes.value(),
            retry_for: raw.retry_days.value(),
            longest_wait: raw.longest_wait_seconds.value(),
            keep_for: raw.keep_days.value(),
            settle: raw.settle_seconds.value(),
        }
    }

    /// Where the incidents are kept: for people.
    pub fn place(&self) -> String {
        match &self.database {
            Some(database) => database.url.to_string(),
            None => self.path.display().to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_named_by_its_url_without_a_password() {
        for (text, wrong) in [
            ("postgres://ticket-host@db.example.org/tickets?sslmode=verify-full", None),
            ("postgresql:///tickets?host=/run/postgresql", None),
            ("postgres://u:made-up@db/tickets", Some("queue.url holds a password")),
            ("postgres://u@db/tickets?password=made-up", Some("queue.url holds a password")),
            ("postgres://u@db/", Some("queue.url names no database")),
            ("mysql://u@db/tickets", Some("queue.url must begin with postgres://")),
            ("/var/lib/queue.db", Some("queue.url is no URL")),
        ] {
            let error = database_url(text).err();
            assert_eq!(error.as_ref().map(|error| error.message.as_str()), wrong, "{text}");
            assert!(error.is_none_or(|error| error.help.is_some()), "{text}");
        }
    }
}
