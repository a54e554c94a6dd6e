//! The trait that a Rust plugin implements.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::abi::plugin_side::Call;
use crate::error::Result;
use crate::incident::Incident;
use crate::message::{
    Action, Changed, ChangesRequest, Check, FindMany, FoundMany, HostName, Manifest, Permission,
    Received, StateRequest, States, Ticket, TicketRequest, UpdateRequest, Updated, Webhook,
};

/// What a plugin says of itself in its manifest. The schemas of its settings, which are in the manifest too,
/// are made from its types.
///
/// ```
/// # use ticket_plugin_api::About;
/// const ABOUT: About = About {
///     name: "acme",
///     description: "ACME Desk",
///     ..About::new(env!("CARGO_PKG_VERSION"))
/// };
/// ```
#[derive(Debug, Clone, Copy)]
pub struct About {
    /// The name by which an operator's config names the plugin: `a-z`, `0-9`, `-` and `_`, beginning with a
    /// letter.
    pub name: &'static str,
    /// The plugin's own version; [`About::new`] takes it.
    pub version: &'static str,
    /// Who made the plugin, for operators; may be empty.
    pub vendor: &'static str,
    /// Under which licence the library is given, best as an SPDX expression; may be empty.
    pub license: &'static str,
    /// What the plugin is for, in a few words: `plugins list` shows it.
    pub description: &'static str,
    /// A URL where operators learn more; may be empty.
    pub homepage: &'static str,
    /// Other names by which configs may name the plugin, such as that of a Python class that it replaces.
    pub aliases: &'static [&'static str],
    /// What the plugin needs beside `http()`. Each is the permission (`read`, `write`, `env`, `exec`, `jit`
    /// or `network`), what exactly is needed, and why.
    pub permissions: &'static [(&'static str, &'static str, &'static str)],
    /// Whether the plugin heeds a request's `dry_run`. Only a plugin with permissions has to say so.
    pub dry_run: bool,
    /// The statuses, of 408 and 500 to 599, of which the ticket system promises that a request which it answers so was not carried
    /// out. Leave it empty unless its documentation says so: a proxy in front of it answers 502, 503 and 504, too.
    pub not_done: &'static [u16],
    /// How many seconds after a ticket was made `find` may still miss it, since the ticket system's lists or its search lag: at most
    /// 3600; None leaves it to the host.
    pub settle_seconds: Option<u32>,
    /// Which functions of [`TicketPlugin`] the host may call beside those that every plugin has. One that isn't listed is never called.
    pub offers: &'static [Offer],
    /// What [`TicketPlugin::update`] can do. It is called for nothing else, and not at all if this is empty.
    pub actions: &'static [Action],
    /// Whether `update` finds a comment of its own again by the step's id. Without it a step that may have been carried out, or was in
    /// part, is left to a person.
    pub marks: bool,
}

/// A function that a plugin may be without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// [`TicketPlugin::find_many`]
    FindMany,
    /// [`TicketPlugin::state`]
    State,
    /// [`TicketPlugin::receive`]
    Receive,
    /// [`TicketPlugin::changes`]
    Changes,
}

impl About {
    /// A manifest that has a version and is empty otherwise, to be filled in with `..`.
    pub const fn new(version: &'static str) -> About {
        About {
            name: "",
            version,
            vendor: "",
            license: "",
            description: "",
            homepage: "",
            aliases: &[],
            permissions: &[],
            dry_run: false,
            not_done: &[],
            settle_seconds: None,
            offers: &[],
            actions: &[],
            marks: false,
        }
    }
}

/// A backend's settings, in the plugin's own types.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings<S, I> {
    /// The ticket system's URL, which is absolute and has a scheme.
    pub endpoint: String,
    /// What the operator set as `secret`. Nothing of it may get into a message, a URL or a ticket.
    pub secret: S,
    /// What the operator set as `information`.
    pub information: I,
    /// The host that opens the plugin.
    pub host: HostName,
}

/// A ticket system, as the host sees it. Each value is an instance: the plugin, opened with the settings of
/// one backend. The calls of an instance never overlap, but they may come from different threads.
///
/// A panic in any of these functions becomes an error of the kind plugin. What follows is a whole plugin; a library then has
/// [`export_plugin!`](crate::export_plugin)`(Desk);` too.
///
/// ```
/// use ticket_plugin_api::*;
///
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// struct Secret {
///     /// An API token that may create and list tickets
///     token: String,
/// }
///
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// struct Information {}
///
/// struct Desk(Settings<Secret, Information>);
///
/// impl TicketPlugin for Desk {
///     const ABOUT: About = About { name: "desk", ..About::new("1.0.0") };
///     type Secret = Secret;
///     type Information = Information;
///
///     fn open(settings: Settings<Secret, Information>) -> Result<Desk> {
///         Ok(Desk(settings))
///     }
///
///     fn check(&mut self, call: &Call) -> Result<Vec<Check>> {
///         self.ask(call, Request::get(Endpoint::new(&self.0.endpoint).join("self")))?;
///         Ok(vec![Check::passed("token", "reachable and authenticated")])
///     }
///
///     fn create(&mut self, call: &Call, request: &TicketRequest<Incident>) -> Result<Ticket> {
///         let ticket = serde_json::json!({"subject": call.title()?, "key": request.key});
///         let tickets = Endpoint::new(&self.0.endpoint).join("tickets");
///         let url: String = self.ask(call, Request::post(tickets).json(&ticket))?.json()?;
///         Ok(Ticket { url, ..Ticket::default() })
///     }
/// }
///
/// impl Desk {
///     fn ask(&self, call: &Call, request: Request) -> Result<Response> {
///         let token = format!("Bearer {}", self.0.secret.token);
///         let answer = call.http(request.header("Authorization", &token))?;
///         match answer.status {
///             200..=299 => Ok(answer),
///             status => Err(answer.error(format!("the desk answered {status}"))),
///         }
///     }
/// }
/// ```
pub trait TicketPlugin: Sized + Send + 'static {
    /// Name, version and the rest of the manifest.
    const ABOUT: About;
    /// The shape of the settings' `secret`. The host strikes its values out of all that it shows. Mark one that
    /// may be shown, such as a user name, with `#[schemars(extend("x-ticket-public" = true))]`.
    type Secret: DeserializeOwned + JsonSchema;
    /// The shape of the settings' `information`: whatever else an operator sets, such as a project. Doc comments become the
    /// descriptions that operators read.
    type Information: DeserializeOwned + JsonSchema;

    /// Makes an instance. The host has checked the settings against the schemas. There is no network yet: that
    /// comes with the calls.
    ///
    /// # Errors
    /// [`Error::settings`](crate::Error::settings) about what no schema can say, such as two settings that don't go together.
    fn open(settings: Settings<Self::Secret, Self::Information>) -> Result<Self>;

    /// Finds out whether tickets can be created with these settings, without creating one. It returns a line
    /// for each thing that was looked at, also for what is not in order ([`Check::failed`]).
    ///
    /// # Errors
    /// What kept it from looking at all, such as a ticket system that can't be reached.
    fn check(&mut self, call: &Call) -> Result<Vec<Check>>;

    /// Creates the ticket. It must carry the request's key, or the key's [`fingerprint`](crate::fingerprint), so that `find` can find
    /// it by that. It sends one request that can create, and never a second one by itself.
    ///
    /// # Errors
    /// Why there is no ticket. Its [`Retry`](crate::Retry) must be `Unknown` wherever there may be one after all; what
    /// [`Response::error`](crate::Response::error), [`Response::json`](crate::Response::json) and `?` make says so by itself.
    fn create(&mut self, call: &Call, request: &TicketRequest<Incident>) -> Result<Ticket>;

    /// Looks for the ticket that was created with the request's key. None means that there certainly is none; a
    /// plugin that isn't certain returns an error.
    ///
    /// A plugin that leaves this function out says that its ticket system can't be searched. Then only the
    /// host's own memory keeps an incident from getting a second ticket.
    ///
    /// # Errors
    /// Why it isn't known whether there is such a ticket: a search that failed, or that can't be understood.
    fn find(&mut self, call: &Call, request: &TicketRequest<Incident>) -> Result<Option<Ticket>> {
        let _ = (call, request);
        Err(crate::Error::unsupported())
    }

    /// Looks for the tickets of many keys by one search that they share: after a restart there can be thousands to look for. A plugin
    /// that has it says so in [`About::offers`]; so it is with the functions below.
    ///
    /// When the call's time is nearly over, or a page didn't come, it returns what it found so far, with a cursor by which it goes on
    /// there. Tickets in every state count. It lists them by id or time of creation, and goes on behind the last one that it saw, not at
    /// a page's number: what is made or deleted meanwhile must not hide another.
    ///
    /// # Errors
    /// Why nothing was found out at all.
    fn find_many(&mut self, call: &Call, request: &FindMany) -> Result<FoundMany> {
        let _ = (call, request);
        Err(crate::Error::unsupported())
    }

    /// Carries out one step of a ticket's life: one of [`About::actions`]. None: the ticket certainly is gone.
    ///
    /// Where one request can carry the comment ([`Call::comment`]) and the state, it sends one; else first the comment, with the step's
    /// id where readers see least of it, and then the state. With `request.again` it looks for the id in all comments before, and does
    /// what is missing. To a ticket that is closed already it writes nothing, nor to one that is to be reopened and is open: then it
    /// returns `done: false`.
    ///
    /// # Errors
    /// Why the step wasn't carried out. Its [`Retry`](crate::Retry) must be `Unknown` wherever it may have been after all; if the comment
    /// is written and the rest was not carried out, it is [`Error::partial`](crate::Error::partial).
    fn update(
        &mut self,
        call: &Call,
        request: &UpdateRequest<Incident>,
    ) -> Result<Option<Updated>> {
        let _ = (call, request);
        Err(crate::Error::unsupported())
    }

    /// In which state tickets are. A ticket of which that can't be found out is left out of the reply.
    ///
    /// # Errors
    /// Why nothing was found out at all.
    fn state(&mut self, call: &Call, request: &StateRequest) -> Result<States> {
        let _ = (call, request);
        Err(crate::Error::unsupported())
    }

    /// Reads a webhook of the ticket system, after it has checked the signature, and names the tickets that it is about. HTTP is denied
    /// meanwhile, and the instance is one that gets webhooks alone.
    ///
    /// # Errors
    /// Why it can't be read. A signature that is missing or wrong is none: see [`Received::forged`].
    fn receive(&mut self, call: &Call, webhook: &Webhook) -> Result<Received> {
        let _ = (call, webhook);
        Err(crate::Error::unsupported())
    }

    /// Which tickets have changed since the last call, whoever made them.
    ///
    /// # Errors
    /// Why that isn't known.
    fn changes(&mut self, call: &Call, request: &ChangesRequest) -> Result<Changed> {
        let _ = (call, request);
        Err(crate::Error::unsupported())
    }
}

/// The manifest of the plugin `P`, with the schemas that are made from its types.
pub(crate) fn manifest<P: TicketPlugin>() -> Manifest {
    let about = P::ABOUT;
    let schema = |schema: schemars::Schema| schema.to_value();
    Manifest {
        name: about.name.to_owned(),
        version: about.version.to_owned(),
        vendor: about.vendor.to_owned(),
        license: about.license.to_owned(),
        description: about.description.to_owned(),
        homepage: about.homepage.to_owned(),
        sdk: format!("ticket-plugin-api {}", crate::VERSION),
        aliases: about.aliases.iter().map(|&a| a.to_owned()).collect(),
        secret_schema: schema(schemars::schema_for!(P::Secret)),
        information_schema: schema(schemars::schema_for!(P::Information)),
        permissions: about
            .permissions
            .iter()
            .map(|&(permission, what, why)| Permission {
                permission: permission.to_owned(),
                what: what.to_owned(),
                why: why.to_owned(),
            })
            .collect(),
        dry_run: about.dry_run,
        not_done: about.not_done.to_vec(),
        settle_seconds: about.settle_seconds,
        actions: about.actions.iter().map(|action| action.name().to_owned()).collect(),
        marks: about.marks,
    }
}
