//! What `serve` needs beside backends, looked at as it would find it: where it listens, its tokens, its store, and
//! the Argus that it watches. Nothing is made.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::row::Row;
use crate::argus::{Argus, FilterCheck, page};
#[cfg(unix)]
use crate::cli::user::user_name;
use crate::config::{AlarmConfig, ArgusConfig, Config, QueueConfig, ServeConfig};
use crate::error::{Error, Kind};
use crate::serve;
use crate::store::{self, Found};

/// How long a service that is running may take to say that it is alive.
const ALIVE: Duration = Duration::from_secs(2);
/// Bytes of a disk below which it is said that little is left.
const LITTLE: u64 = 64 << 20;

/// The rows of one table of the config.
pub(super) struct Section {
    pub name: &'static str,
    pub rows: Vec<Row>,
}

/// Looks at everything. `offline` asks nobody but this machine.
pub(super) async fn sections(config: &Config, offline: bool) -> Vec<Section> {
    let (queue, may_be_ours) = match &config.queue.database {
        None => {
            let found = store::inspect(&config.queue.path);
            // Who can't look into the store can't tell whose service it is, either.
            let may_be_ours = !matches!(found, Ok(Found::Nothing | Found::AtRest(_)));
            (storing(config, found), may_be_ours)
        }
        Some(_) if offline => (vec![Row::note("store", "a database, which was not asked")], true),
        Some(_) => (vec![in_database(&config.queue).await], true),
    };
    let mut sections = vec![
        Section { name: "serve", rows: listening(&config.serve, may_be_ours).await },
        Section { name: "queue", rows: queue },
    ];
    if let Some(argus) = &config.argus {
        sections.push(Section { name: "argus", rows: watching(config, argus, offline).await });
    }
    if let Some(alarm) = &config.alarm {
        sections.push(Section { name: "alarm", rows: alarming(config, alarm, offline).await });
    }
    if !config.is_of_a_service() {
        for section in &mut sections {
            section.rows =
                std::mem::take(&mut section.rows).into_iter().map(Row::excused).collect();
        }
    }
    sections
}

/// Whether the tokens can be read, and the address be listened on.
async fn listening(config: &ServeConfig, may_be_ours: bool) -> Vec<Row> {
    let mut rows = Vec::new();
    let names: Vec<&str> = config.tokens.iter().map(|token| token.name.as_str()).collect();
    match config.digests(config.listen) {
        Err(errors) => rows.extend(errors.apart().map(|error| Row::failed("tokens", &error))),
        Ok(_) if names.is_empty() => {
            let everybody = "there are none: everybody on this machine may ask, and nobody else";
            rows.push(Row::note("tokens", everybody));
        }
        Ok(_) => rows.push(Row::ok("tokens", names.join(", "))),
    }
    rows.push(address(config.listen, may_be_ours).await);
    rows
}

/// Whether the address is free, or the service that has it is the one that works on this config's store.
async fn address(listen: SocketAddr, may_be_ours: bool) -> Row {
    let cause = match serve::bind(listen) {
        Ok(_) => return Row::ok("listen", format!("{listen} is free")),
        Err(cause) => cause,
    };
    let is_taken = cause.kind() == io::ErrorKind::AddrInUse;
    let answers =
        is_taken && matches!(tokio::time::timeout(ALIVE, is_alive(listen)).await, Ok(Ok(true)));
    if answers && may_be_ours {
        return Row::note("listen", format!("a running service answers at {listen}"));
    }
    let failed = Row::failed("listen", &serve::unbindable(listen, cause));
    if answers {
        return failed.help(
            "a ticket-host that works on another store has it; choose another: serve.listen",
        );
    }
    failed
}

/// Whether what listens there answers as this program's service does.
async fn is_alive(listen: SocketAddr) -> io::Result<bool> {
    let to = match listen.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    let mut stream = TcpStream::connect((to, listen.port())).await?;
    stream.write_all(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n").await?;
    let mut answer = Vec::new();
    stream.take(4096).read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    Ok(answer.split("\r\n\r\n").nth(1) == Some("ok\n"))
}

/// Whether the database can be worked on.
async fn in_database(queue: &QueueConfig) -> Row {
    let looked = async {
        let store = store::look_at(queue).await?;
        store.counts().await?;
        store.close().await;
        Ok::<_, Error>(())
    };
    match looked.await {
        Ok(()) => Row::ok("store", format!("the tables in {} are of this version", queue.place())),
        Err(error) => Row::failed("store", &error),
    }
}

/// Whether the store can be worked on, and by whom.
fn storing(config: &Config, found: store::Result<Found>) -> Vec<Row> {
    let path = &config.queue.path;
    let shown = path.display();
    let owner = |path: &Path| owner(path, config.file.as_deref());
    let found = match found {
        Ok(found) => found,
        Err(error) => {
            let failed = Row::failed("store", &error.into());
            // Most likely its directory is another user's, who may look into it.
            return std::iter::once(failed).chain(path.parent().and_then(owner)).collect();
        }
    };
    let mut rows = vec![match found {
        Found::Nothing => match can_be_made(path) {
            Ok(()) => Row::ok("store", format!("{shown} isn't there yet; `serve` makes it")),
            Err(error) => Row::failed("store", &error),
        },
        Found::InUse => Row::note("store", format!("a running `serve` works on {shown}")),
        Found::AtRest(Some(version)) if version > Found::newest() => {
            let newest = Found::newest();
            let error = format!(
                "{shown} has schema version {version}; this program knows those up to {newest}"
            );
            Row::failed("store", &Error::settings(error))
                .help("run the newer ticket-host that made it")
        }
        Found::AtRest(version) => match can_be_written(path) {
            Ok(()) => Row::ok("store", version_text(path, version)),
            Err(error) => Row::failed("store", &error),
        },
    }];
    rows.extend(owner(path));
    rows.extend(space(path));
    rows
}

fn version_text(path: &Path, version: Option<i64>) -> String {
    let (path, newest) = (path.display(), Found::newest());
    match version {
        Some(version) if version == newest => format!("{path} has schema version {version}"),
        Some(version) => {
            format!("{path} has schema version {version}, which `serve` brings to {newest}")
        }
        None => format!("{path} is there; `serve` reads its journal, or gives it its schema"),
    }
}

/// The directory of the store, or the first one above it that is there.
fn nearest(path: &Path) -> &Path {
    let above = path.ancestors().skip(1);
    let mut named = above.filter(|directory| !directory.as_os_str().is_empty());
    named.find(|directory| directory.exists()).unwrap_or(Path::new("."))
}

/// # Errors
/// A settings error: this process's user can't make the store.
fn can_be_made(path: &Path) -> Result<(), Error> {
    let directory = nearest(path);
    may_write(directory).map_err(|cause| {
        let error = format!("{} can't be made in {}", path.display(), directory.display());
        Error::settings(error)
            .help(format!("let the host's user write to {}", directory.display()))
            .cause(cause)
    })
}

/// # Errors
/// A settings error: this process's user can't write to the store, or can't make SQLite's files beside it.
fn can_be_written(path: &Path) -> Result<(), Error> {
    may_write(path).and_then(|()| may_write(nearest(path))).map_err(|cause| {
        Error::settings(format!("{} or its directory can't be written to", path.display()))
            .help(format!(
                "let the host's user read and write {} and its directory",
                path.display()
            ))
            .cause(cause)
    })
}

/// Whether this process's user may write to a file, or make files in a directory.
#[cfg(unix)]
fn may_write(path: &Path) -> io::Result<()> {
    use rustix::fs::{Access, AtFlags, CWD, accessat};
    let is_directory = fs::metadata(path)?.is_dir();
    let entering = if is_directory { Access::EXEC_OK } else { Access::READ_OK };
    Ok(accessat(CWD, path, Access::WRITE_OK | entering, AtFlags::EACCESS)?)
}

/// Access lists decide it here, which are not looked at.
#[cfg(not(unix))]
fn may_write(path: &Path) -> io::Result<()> {
    fs::metadata(path).map(drop)
}

/// That the store, or its directory, belongs to another user, for whom what was found need not be true.
#[cfg(unix)]
fn owner(path: &Path, config: Option<&Path>) -> Option<Row> {
    use std::os::unix::fs::MetadataExt;
    let owner = fs::metadata(path).ok()?.uid();
    let own = rustix::process::geteuid().as_raw();
    (owner != own).then(|| {
        let become_it = if own == 0 { "runuser" } else { "sudo" };
        let end = if own == 0 { " --" } else { "" };
        let named = config.map_or_else(String::new, |file| format!(" --config {}", file.display()));
        let (owner, own) = (user_name(owner), user_name(own));
        Row::warning("user", format!("the store belongs to {owner}, and this check runs as {own}: what one may, the other may not"))
            .help(format!("check as the service's user: {become_it} -u '{owner}'{end} ticket-host{named} check"))
    })
}

#[cfg(not(unix))]
fn owner(_: &Path, _: Option<&Path>) -> Option<Row> {
    None
}

/// How much room the disk has on which the store is.
fn space(path: &Path) -> Option<Row> {
    let free = store::free(nearest(path))?;
    let detail = format!("{} MiB are free on its disk", free >> 20);
    Some(if free < LITTLE {
        Row::warning("space", detail).help("a store without room takes no incidents: free some")
    } else {
        Row::ok("space", detail)
    })
}

/// Whether Argus can be watched.
async fn watching(config: &Config, argus: &ArgusConfig, offline: bool) -> Vec<Row> {
    let mut rows = Vec::new();
    if let Err(error) = config.backend(argus.backend.as_deref()) {
        // Whoever wrote the config is at fault here, not who gave the command.
        let error = Error { kind: Kind::Settings, ..error };
        rows.push(Row::failed("backend", &error).help("set argus.backend, or default_backend"));
    }
    if let Err(error) = argus.token() {
        rows.push(Row::failed("token", &error));
        return rows;
    }
    if offline {
        rows.push(Row::note("api", format!("{} was not asked: --offline", argus.url)));
        return rows;
    }
    match Argus::new(argus).await {
        Ok(asked) => rows.extend(asking(argus, &asked).await),
        Err(error) => rows.push(Row::failed("api", &error)),
    }
    rows
}

/// Whether those can be told of a failure who are to be.
async fn alarming(config: &Config, alarm: &AlarmConfig, offline: bool) -> Vec<Row> {
    let mut rows = Vec::new();
    if let Some((token, argus)) = alarm.argus_token.clone().zip(config.argus.as_ref()) {
        let name = "argus_token";
        rows.push(match token.read() {
            Err(error) => Row::failed(name, &error),
            Ok(_) if offline => Row::note(name, "Argus was not asked: --offline"),
            Ok(_) => {
                let asked =
                    async { Argus::with(argus, move || token.read()).await?.alarms().await };
                match asked.await {
                    Ok(_) => Row::ok(
                        name,
                        "Argus takes it; that it is a source's shows when an incident is raised",
                    ),
                    Err(error) => Row::failed(name, &error),
                }
            }
        });
    }
    for (name, url) in [("webhook", &alarm.webhook), ("ping", &alarm.ping)] {
        rows.extend(url.as_ref().map(|url| match url.url() {
            Ok(_) => {
                Row::note(name, "can be read; it was not called, since that would tell people")
            }
            Err(error) => Row::failed(name, &error),
        }));
    }
    rows
}

/// Whether Argus takes the token and the filter, and has its pages where the config says.
async fn asking(config: &ArgusConfig, argus: &Argus<'_>) -> Vec<Row> {
    let version = match argus.look().await {
        Ok(version) => version.map(|version| format!(" (Argus {version})")).unwrap_or_default(),
        Err(error) => return vec![Row::failed("api", &error)],
    };
    let taken = format!("{} is there{version}, and takes the token", config.url);
    let mut rows = vec![Row::ok("api", taken)];
    if !config.filter.is_empty() {
        rows.push(match argus.knows_filter().await {
            Ok(FilterCheck::Known) => Row::ok("filter", "Argus knows each of its parameters"),
            Ok(FilterCheck::Untold | FilterCheck::NoSchema) => Row::note(
                "filter",
                "this Argus doesn't tell which parameters it knows; it would ignore one that is misspelt",
            ),
            Err(error) => Row::failed("filter", &error),
        });
    }
    rows.push(match argus.frontend().await {
        None => Row::note(
            "frontend_url",
            "this Argus doesn't tell its FRONTEND_URL; argus.frontend_url must be the same",
        ),
        Some(told)
            if page(config, 1)
                == page(&ArgusConfig { frontend_url: told.clone(), ..config.clone() }, 1) =>
        {
            Row::ok("frontend_url", format!("{told} is Argus's FRONTEND_URL, too"))
        }
        Some(told) => Row::warning(
            "frontend_url",
            format!("Argus's own FRONTEND_URL is {told}, and not {}", config.frontend_url),
        )
        .help(format!("set argus.frontend_url = \"{told}\"")),
    });
    rows
}
