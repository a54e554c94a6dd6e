//! `[alarm]`: who is told when ticketing itself fails.

use std::path::Path;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

use super::json::json;
use super::secret::{self, SecretSource};
use super::source::{Place, Source, Spanned};
use super::times;
use crate::error::{Error, Errors, Result};

const AFTER: Duration = Duration::from_secs(15 * 60);
/// What fails for a moment is no failure.
const SHORTEST: Duration = Duration::from_secs(1);

/// Who is told when ticketing itself fails.
#[derive(Debug, Clone, PartialEq)]
pub struct AlarmConfig {
    /// For how long it must have failed.
    pub after: Duration,
    /// The token of a source system in the watched Argus, where an incident is raised.
    pub(crate) argus_token: Option<Text>,
    /// The URL that is told when it begins, and when it ends.
    pub(crate) webhook: Option<Text>,
    /// The URL that is called each minute while it doesn't fail.
    pub(crate) ping: Option<Text>,
}

/// A text that is a secret, by the name of its setting.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Text {
    name: &'static str,
    source: SecretSource,
    place: Place,
}

/// What is told, and whom, when ticketing itself fails (serve): for so long a ticket has not been made, or a step of a ticket not been done,
/// though it was to be; the store takes no incident; or Argus can't be watched. It ends by itself. At least one of the three is to be told.
///
/// ```toml
/// [argus]
/// url = "https://argus.example.org/"
/// token = { file = "/etc/ticket-host/argus-token" }
///
/// [alarm]
/// after = "15m"
/// argus_token = { file = "/etc/ticket-host/alarm-token" }
/// ping = { file = "/etc/ticket-host/ping-url" }
/// ```
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAlarm {
    /// For how long it must have failed, such as "15m". At least "1s", at most "7d"; without this setting "15m".
    after: Option<Spanned<String>>,
    /// The token of a source system in the Argus of `[argus]`, of one that is the alarm's alone: one incident is raised there, and ended
    /// when tickets are made again. That one gets no ticket. With `{ env = "NAME" }` it is read from an environment variable, with
    /// `{ file = "/path" }` from a file.
    #[serde(default)]
    #[schemars(schema_with = "secret::text_schema")]
    argus_token: Option<Spanned<toml::Value>>,
    /// A URL (http or https) that gets a POST when it begins to fail and when that is over: JSON with `status` (`failing` or `working`), `message`
    /// and `problems`. It counts as a secret, and may be read as `argus_token` may.
    #[serde(default)]
    #[schemars(schema_with = "secret::text_schema")]
    webhook: Option<Spanned<toml::Value>>,
    /// A dead man's switch: a URL (http or https) that gets a GET each minute as long as ticketing doesn't fail. Who is called there tells people when the
    /// calls stay away: ticketing fails, or this host is gone. It counts as a secret, and may be read as `argus_token` may.
    #[serde(default)]
    #[schemars(schema_with = "secret::text_schema")]
    ping: Option<Spanned<toml::Value>>,
}

impl AlarmConfig {
    /// A setting that can't be used is added to `errors`, with where it stands.
    pub(super) fn read(
        source: &Source,
        base: &Path,
        raw: RawAlarm,
        has_argus: bool,
        errors: &mut Errors,
    ) -> AlarmConfig {
        if raw.argus_token.is_none() && raw.webhook.is_none() && raw.ping.is_none() {
            errors.add(
                Error::settings("[alarm] tells nobody")
                    .help("set alarm.argus_token, alarm.webhook or alarm.ping"),
            );
        }
        let after = source.read_if_given(raw.after.as_ref(), |text| after(text));
        let text = |name, value: Option<Spanned<toml::Value>>| {
            value.map(|value| Text {
                name,
                place: Place::new(source, value.span()),
                source: SecretSource { value: json(value.into_inner()), base: base.to_owned() },
            })
        };
        let argus_token = text("alarm.argus_token", raw.argus_token);
        let webhook = text("alarm.webhook", raw.webhook);
        let ping = text("alarm.ping", raw.ping);
        if let Some(token) = argus_token.as_ref().filter(|_| !has_argus) {
            let error = Error::settings(
                "alarm.argus_token is for the Argus of [argus], which the config lacks",
            )
            .help("add [argus], or use alarm.webhook");
            errors.add(Place::pointing(Some(&token.place), error));
        }
        // What is written out can be looked at now.
        for url in [&webhook, &ping].into_iter().flatten().filter(|it| it.source.is_written_out()) {
            errors.keep(url.url());
        }
        AlarmConfig {
            after: errors.keep(after).flatten().unwrap_or(AFTER),
            argus_token,
            webhook,
            ping,
        }
    }

    pub(super) fn secrets(&self) -> impl Iterator<Item = &SecretSource> {
        let all = [&self.argus_token, &self.webhook, &self.ping];
        all.into_iter().flatten().map(|text| &text.source)
    }
}

impl Text {
    /// # Errors
    /// A settings error: its file or variable can't be read, or it is empty.
    pub(crate) fn read(&self) -> Result<String> {
        Place::pointing_to(&self.place, self.source.text(self.name))
    }

    /// The URL that it is.
    ///
    /// # Errors
    /// A settings error: as [`Text::read`], or it is no URL of an HTTP server. It doesn't show the text.
    pub(crate) fn url(&self) -> Result<Url> {
        let url = Url::parse(self.read()?.trim()).ok();
        let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let error = || {
            Error::settings(format!("{} is no URL of an HTTP server", self.name))
                .help("write the whole URL, like https://alarm.example.org/...")
        };
        Place::pointing_to(&self.place, url.ok_or_else(error))
    }
}

fn after(text: &str) -> Result<Duration> {
    let after = times::read("alarm.after", text, times::WEEK)?;
    if after < SHORTEST {
        return Err(Error::settings("alarm.after: is too short").help("write at least \"1s\""));
    }
    Ok(after)
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    const BACKEND: &str = "[backends.a]\nplugin = \"rt\"\nendpoint = \"https://rt.example.org\"\n";
    const ARGUS: &str = "[argus]\nurl = \"https://a.org\"\ntoken = \"t\"\n";

    fn read(alarm: &str) -> Result<AlarmConfig> {
        let text = format!("{BACKEND}{alarm}");
        Config::parse(Path::new("c.toml"), &text).map(|config| config.alarm.unwrap())
    }

    #[test]
    fn an_alarm_says_whom_it_tells_and_after_which_time() {
        let alarm = read("[alarm]\nwebhook = \"https://a.org/x?token=hunter2\"\n").unwrap();
        assert_eq!(alarm.after, Duration::from_secs(900));
        assert_eq!(alarm.webhook.unwrap().url().unwrap().query(), Some("token=hunter2"));
        assert!(alarm.argus_token.is_none() && alarm.ping.is_none());
        let alarm =
            read(&format!("{ARGUS}[alarm]\nafter = \"1h\"\nargus_token = \"hunter2\"\n")).unwrap();
        assert_eq!(alarm.after, Duration::from_secs(3600));
        assert_eq!(alarm.argus_token.unwrap().read().unwrap(), "hunter2");
    }

    #[test]
    fn what_can_be_no_alarm_is_refused_and_no_secret_of_it_shown() {
        for (alarm, why) in [
            ("[alarm]\n", "[alarm] tells nobody"),
            ("[alarm]\nping = \"hunter2\"\n", "alarm.ping is no URL of an HTTP server"),
            (
                "[alarm]\nwebhook = \"file:///hunter2\"\n",
                "alarm.webhook is no URL of an HTTP server",
            ),
            ("[alarm]\nping = \"\"\n", "alarm.ping must be a text that is not empty"),
            (
                "[alarm]\nargus_token = \"hunter2\"\n",
                "alarm.argus_token is for the Argus of [argus], which the config lacks",
            ),
            (
                "[alarm]\nafter = \"0s\"\nping = \"https://a.org/hunter2\"\n",
                "alarm.after: is too short",
            ),
            (
                "[alarm]\nafter = \"8d\"\nping = \"https://a.org/hunter2\"\n",
                "alarm.after: is too long",
            ),
        ] {
            let error = read(alarm).unwrap_err();
            assert_eq!(error.message, why, "{alarm}");
            assert!(error.help.is_some(), "{alarm}");
            assert!(!crate::report::text(&error).contains("hunter2"), "{alarm}");
        }
        let file = read("[alarm]\nping = { file = \"/no/such/file\" }\n").unwrap();
        let error = file.ping.unwrap().url().unwrap_err();
        assert!(error.message.contains("alarm.ping: the file /no/such/file can't be read"));
    }
}
