//! `ticket-host top`: how it goes with a service, in a terminal, until somebody has seen enough.

mod screen;

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::{Method, StatusCode};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use serde_json::Value;
use ticket_plugin_api::json;
use tokio::task::{JoinHandle, spawn_blocking};
use url::Url;

use super::output::{print, print_json};
use crate::backend::gateway;
use crate::control::{self, Unclear, exchange};
use crate::error::{Error, Kind, Result};
use crate::serve::Overview;

/// How often the service is asked.
const EVERY: Duration = Duration::from_secs(1);
/// How long its answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked whether a key was pressed.
const KEYS: Duration = Duration::from_millis(100);
const PATH: &str = "/v1/overview";
/// The variable with the token for another machine's service.
const TOKEN: &str = "TICKET_HOST_TOKEN";

const EXAMPLES: &str = "\
Examples:
  ticket-host top
  ticket-host top --once
  TICKET_HOST_TOKEN=... ticket-host top --url https://tickets.example.org/";

/// Shows how it goes with the service on the config's store, every second: what needs a person, each backend, the last hour. q ends it
///
/// Where the output is no terminal it is shown once.
#[derive(Debug, clap::Args)]
#[command(after_help = super::with_exit_codes(EXAMPLES))]
pub(super) struct Arguments {
    /// Show it once, and end
    #[arg(long)]
    once: bool,
    /// The service at this address, in place of the config's own; its token, with the scope read, is in TICKET_HOST_TOKEN
    #[arg(long, value_name = "URL")]
    url: Option<Url>,
}

pub(super) async fn run(arguments: &Arguments, program: &super::Arguments) -> Result<ExitCode> {
    let asked = match &arguments.url {
        Some(url) => Asked::Url(there(url)?, std::env::var(TOKEN).ok()),
        None => Asked::Store(program.load_config()?.queue.path),
    };
    // What is wrong at the beginning is an error; later it is shown.
    let answer = asked.ask().await?;
    if program.json {
        print_json(&json::read::<Value>(&answer).map_err(odd)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let now = read(&answer)?;
    if arguments.once || !std::io::stdout().is_terminal() {
        print(&screen::text(&now))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut terminal = ratatui::try_init().map_err(unwritten)?;
    let ended = watch(Arc::new(asked), now, &mut terminal).await;
    ratatui::restore();
    ended.map(|()| ExitCode::SUCCESS)
}

fn unwritten(cause: std::io::Error) -> Error {
    Error::new(Kind::Output, "the terminal can't be used; --once needs none").cause(cause)
}

/// Shows it until somebody presses q, whether or not the service answers.
async fn watch(
    asked: Arc<Asked>,
    mut now: Overview,
    terminal: &mut ratatui::DefaultTerminal,
) -> Result<()> {
    let (mut trouble, mut last) = (None, Instant::now());
    let mut asking: Option<JoinHandle<Result<Overview>>> = None;
    loop {
        terminal.draw(|frame| screen::draw(frame, &now, trouble.as_deref())).map_err(unwritten)?;
        let pressed = spawn_blocking(ends).await.unwrap_or(Ok(true));
        if pressed.map_err(unwritten)? {
            return Ok(());
        }
        match asking.take_if(|asking| asking.is_finished()) {
            Some(answered) => {
                last = Instant::now();
                match answered.await {
                    Ok(Ok(newer)) => (now, trouble) = (newer, None),
                    Ok(Err(error)) => trouble = Some(error.to_string()),
                    Err(broke) => trouble = Some(broke.to_string()),
                }
            }
            None if asking.is_none() && last.elapsed() >= EVERY => {
                let asked = Arc::clone(&asked);
                asking = Some(tokio::spawn(async move { read(&asked.ask().await?) }));
            }
            None => {}
        }
    }
}

/// Whether somebody has pressed a key that ends it, within a moment.
fn ends() -> std::io::Result<bool> {
    if !event::poll(KEYS)? {
        return Ok(false);
    }
    let Event::Key(key) = event::read()? else { return Ok(false) };
    let is_interrupt =
        key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    let is_end = matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) || is_interrupt;
    Ok(key.kind == KeyEventKind::Press && is_end)
}

/// Which service is asked.
enum Asked {
    /// The one that works on this store.
    Store(std::path::PathBuf),
    /// The one at this URL, with a token.
    Url(Url, Option<String>),
}

impl Asked {
    /// The overview, as JSON.
    ///
    /// # Errors
    /// There is no service, it refuses, or gives no answer.
    async fn ask(&self) -> Result<Bytes> {
        let asking = async {
            match self {
                Asked::Store(store) => over_socket(store).await,
                Asked::Url(url, token) => over_http(url, token.as_deref()).await,
            }
        };
        let answer = tokio::time::timeout(PATIENCE, asking).await;
        let silent = || {
            Error::new(
                Kind::Client,
                format!("the service gave no answer within {} s", PATIENCE.as_secs()),
            )
        };
        let (status, answer) = answer.map_err(|_| silent())??;
        if status == StatusCode::OK {
            return Ok(answer);
        }
        let refusal: Value = json::read(&answer).unwrap_or_default();
        let detail = refusal["detail"].as_str().unwrap_or("it says no more");
        let help =
            "the token is one of [serve.tokens] in the service's config, with the scope read";
        let error = Error::new(Kind::Usage, format!("the service refuses ({status}): {detail}"));
        Err(error.help(format!("{help}: {TOKEN}=... ticket-host top --url URL")))
    }
}

async fn over_socket(store: &Path) -> Result<(StatusCode, Bytes)> {
    let shown = store.display();
    let help = format!(
        "run it as the service's user, or ask it over HTTP: {TOKEN}=... ticket-host top --url URL"
    );
    let stream = control::connect(store).await.map_err(|why| match why {
        Unclear::Closed(cause) => Error::settings(format!("the service on {shown} can't be asked"))
            .cause(cause)
            .help(help.as_str()),
        Unclear::Silent | Unclear::Busy => {
            Error::new(Kind::Client, format!("the service on {shown} takes no connection"))
        }
    })?;
    let Some(stream) = stream else {
        return Err(Error::usage(format!("no service works on the store {shown}")).help(help));
    };
    let lost =
        |why: exchange::Lost| Error::new(Kind::Client, "the service gave no answer").cause(why);
    let mut service = exchange::open(stream).await.map_err(lost)?;
    let request = exchange::request(Method::GET, PATH, Bytes::new());
    exchange::ask(&mut service, request).await.map_err(lost)
}

async fn over_http(url: &Url, token: Option<&str>) -> Result<(StatusCode, Bytes)> {
    let lost = |cause: reqwest::Error| {
        Error::new(Kind::Client, format!("{url} gave no answer")).cause(cause.without_url())
    };
    let request = gateway::plain_client()?.get(url.clone());
    let request = match token {
        Some(token) => request.bearer_auth(token),
        None => request,
    };
    let mut answer = request.send().await.map_err(lost)?;
    let (status, mut body) = (answer.status(), Vec::new());
    while let Some(part) = answer.chunk().await.map_err(lost)? {
        if body.len() + part.len() > exchange::LONGEST {
            return Err(Error::new(Kind::Client, format!("{url} answers more than it may")));
        }
        body.extend_from_slice(&part);
    }
    Ok((status, body.into()))
}

/// Where a service at that URL has its overview.
///
/// # Errors
/// It is no URL of a service.
fn there(url: &Url) -> Result<Url> {
    if !matches!(url.scheme(), "http" | "https")
        || !url.username().is_empty()
        || url.password().is_some()
    {
        let help =
            format!("write it like https://tickets.example.org/, and the token into {TOKEN}");
        return Err(Error::usage("that is no URL of a service").help(help));
    }
    url.join(PATH).map_err(|cause| Error::usage("that is no URL of a service").cause(cause))
}

fn read(answer: &[u8]) -> Result<Overview> {
    json::read(answer).map_err(odd)
}

fn odd(cause: impl std::fmt::Display) -> Error {
    let help = "is it a ticket-host of this version?";
    Error::new(Kind::Client, format!("the service's answer can't be understood: {cause}"))
        .help(help)
}
