//! What the plugins for forges (GitHub, GitLab) share: each ticket is an issue.
//!
//! A plugin says in a [`Forge`] what is its own, and exports `Plugin<ItsForge>`. An issue carries
//! its key as a comment in its body, which no reader sees. Once the labels are known, a ticket takes
//! one request.

pub mod api;
mod changes;
mod issues;
mod life;
mod plugin;
mod states;
#[cfg(feature = "testkit")]
pub mod testkit;
pub mod webhooks;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use ticket_plugin_api::mapping::LabelMappings;
use ticket_plugin_api::{
    About, Call, Check, Request, Response, Result, Settings, Ticket, TicketStatus, Url, Webhook,
};

pub use plugin::Plugin;

/// A forge's words and limits.
#[derive(Debug)]
pub struct Dialect {
    /// Its name in messages: `GitHub`.
    pub name: &'static str,
    /// What an operator's endpoint must be.
    pub endpoint: &'static str,
    /// What it calls that which holds issues: `repository`.
    pub project: &'static str,
    /// The most characters that it takes in a title.
    pub title_limit: usize,
    /// The signs that it reads in a title as the start of a mention or of a reference.
    pub title_signs: &'static str,
    /// The name of an issue's body in its JSON.
    pub body: &'static str,
    /// A number of bytes that it certainly takes in a body: the limit itself is in characters.
    pub body_limit: usize,
    /// The signs that it reads in a body as the start of a mention, a reference or an emoji.
    pub body_signs: &'static str,
    /// The query that lists all issues, the oldest first.
    pub all_issues: &'static [(&'static str, &'static str)],
    /// The name in that query of the time before which issues are left out.
    pub since: &'static str,
    /// The name in that query of the numbers of issues, by which many are listed at once; None if the forge can't do that.
    pub numbers: Option<&'static str>,
    /// The query that lists all issues, the one first whose last change is the oldest, and the name in it of the time of that change before
    /// which issues are left out.
    pub changed_issues: &'static [(&'static str, &'static str)],
    pub changed_since: &'static str,
    /// Where in a webhook's JSON (RFC 6901) the URL of the page stands that it is about.
    pub webhook_url: &'static str,
    /// What may stand between the project and the number in the URL of an issue's page.
    pub issue_pages: &'static [&'static str],
    /// What it calls an issue's comments in URLs, and a number of bytes that it certainly takes in one.
    pub comments: &'static str,
    pub comment_limit: usize,
    /// The method of the request that changes an issue, and what that says to close it, and to open it again.
    pub changes: &'static str,
    pub closes: &'static [(&'static str, &'static str)],
    pub reopens: &'static [(&'static str, &'static str)],
    /// What a refusal says, in lower case, if a rate limit is its reason.
    pub rate_limit: &'static str,
    /// What the token's user needs so that all that an issue is asked to have is set.
    pub rights: &'static str,
}

/// The settings of an issue's labels. Flatten it into a plugin's information.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct LabelSettings {
    /// Whether labels that the project lacks are made.
    #[serde(default)]
    pub create_missing_labels: bool,
    #[serde(flatten)]
    pub mappings: LabelMappings,
}

/// What a check looks at in a project.
#[derive(Debug)]
pub struct Project {
    pub has_issues: bool,
    pub archived: bool,
    /// Whether the token may do what the settings ask for; None where any token may.
    pub permission: Option<Check>,
}

/// A forge, opened with a backend's settings.
pub trait Forge: Sized + Send + 'static {
    const ABOUT: About;
    const DIALECT: Dialect;
    type Secret: DeserializeOwned + JsonSchema;
    type Information: DeserializeOwned + JsonSchema;
    /// An issue as the forge answers it.
    type Issue: DeserializeOwned;

    fn open(settings: Settings<Self::Secret, Self::Information>) -> Result<Self>;

    /// The project as the operator names it.
    fn project_name(&self) -> &str;

    /// The project's URL in the API, to which `/issues` and `/labels` are added.
    fn project_url(&self) -> Url;

    fn labels(&self) -> &LabelSettings;

    /// The request with the headers that every request needs: the token is in one of them.
    fn with_headers(&self, request: Request) -> Request;

    /// The number of the page after `page`, which had as many items as were asked for if it
    /// `is_full`; None if it was the last one.
    ///
    /// # Errors
    /// Where the answer names a next page that can't be one: then the list isn't known as a whole.
    fn next_page(answer: &Response, page: usize, is_full: bool) -> Result<Option<usize>>;

    /// The parameter of the query, and its value, by which the list of issues goes on behind this answer's page, whose `last` issue
    /// this is; None where the forge can't do that.
    fn behind(answer: &Response, last: &Self::Issue) -> Option<(&'static str, String)>;

    /// Why the forge refused, in its own words; None if the answer isn't the forge's.
    fn reason(answer: &Response) -> Option<String>;

    /// The message of the error for a token that the forge refused with status 401.
    fn token_refused(reason: Option<&str>) -> String;

    /// What an operator should do about a refusal that comes from wrong settings; None where those
    /// aren't known to be the cause.
    fn advice(&self, status: u16, reason: &str) -> Option<String>;

    /// Asks whether the token is accepted. The text is the line of the check that says so.
    fn log_in(&self, call: &Call) -> Result<String>;

    fn project(&self, call: &Call) -> Result<Project>;

    /// Makes a label, unless the forge makes it with the issue. A label that is added to `known` is
    /// taken to exist when later issues are created.
    ///
    /// # Errors
    /// The warning that says why the issue doesn't get this label.
    fn make_label(
        &self,
        call: &Call,
        label: &str,
        known: &mut Vec<String>,
    ) -> std::result::Result<(), String>;

    /// Adds to the JSON of an issue what the settings ask for beside title, body and labels.
    fn add_settings(&self, issue: &mut Value);

    /// Which of these labels and of the settings the created issue lacks: a forge answers "created"
    /// and leaves out what the token's user may not set.
    fn not_set(&self, labels: &[String], created: &Self::Issue) -> Vec<String>;

    fn ticket(issue: &Self::Issue) -> Ticket;

    /// The issue's number and state, with the forge's own word and, of a closed one, who closed it and when; foreign for what is listed as
    /// an issue and is something else, or is in another project now.
    fn status(issue: &Self::Issue) -> TicketStatus;

    /// When the issue was last changed (RFC 3339), if the forge says so.
    fn updated(issue: &Self::Issue) -> Option<&str>;

    /// Whether this answer to a request for an issue says that it was deleted, and can mean nothing else.
    fn is_deleted(answer: &Response) -> bool;

    /// Where the API has the issue now, by an answer that says that it was moved; None if the forge doesn't say that, or names a place
    /// that isn't its own: the token is for no other.
    fn moved_to(&self, answer: &Response) -> Option<Url>;

    /// Whether the forge signed the webhook, as the settings say.
    ///
    /// # Errors
    /// Why it is taken for a forged one, with what an operator can do.
    fn is_signed(&self, webhook: &Webhook) -> std::result::Result<(), String>;

    /// The issue's body; None for what is listed as an issue and is something else.
    fn body(issue: &Self::Issue) -> Option<&str>;
}
