//! The trait that a Rust plugin implements.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::abi::plugin_side::Call;
use crate::error::Result;
use crate::incident::Incident;
use crate::message::{Check, Manifest, Permission, Ticket, TicketRequest};

/// What a plugin says of itself; the schemas come from its types.
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
    /// The name in an operator's config: `a-z`, `0-9`, `-`, `_`, beginning with a letter.
    pub name: &'static str,
    pub version: &'static str,
    pub vendor: &'static str,
    pub license: &'static str,
    pub description: &'static str,
    pub homepage: &'static str,
    pub aliases: &'static [&'static str],
    /// What the plugin does beside `http()`: permission, what, why.
    pub permissions: &'static [(&'static str, &'static str, &'static str)],
    /// Whether a plugin with permissions heeds `dry_run`.
    pub dry_run: bool,
}

impl About {
    /// Everything empty but the version.
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
        }
    }
}

/// A backend's settings, in the plugin's own types.
#[derive(Debug, Clone)]
pub struct Settings<S, I> {
    /// Absolute, with a scheme.
    pub endpoint: String,
    pub secret: S,
    pub information: I,
}

/// A ticket system. One value is one instance: the plugin opened with one backend's settings.
/// Calls on it never overlap, but may come from different threads.
pub trait TicketPlugin: Sized + Send + 'static {
    const ABOUT: About;
    /// The shape of the settings' `secret`. Mark what may be shown (a user name) with
    /// `#[schemars(extend("x-ticket-public" = true))]`.
    type Secret: DeserializeOwned + JsonSchema;
    /// The shape of the settings' `information`.
    type Information: DeserializeOwned + JsonSchema;

    /// Makes an instance. The settings already fit the schemas. No network.
    fn open(settings: Settings<Self::Secret, Self::Information>) -> Result<Self>;

    /// Can tickets be created with these settings? A line for each thing looked at; creates nothing.
    fn check(&mut self, call: &Call) -> Result<Vec<Check>>;

    /// Creates the ticket, with the request's key where `find` finds it.
    fn create(&mut self, call: &Call, request: &TicketRequest<Incident>) -> Result<Ticket>;

    /// The ticket that was created with the request's key; None means certainly none.
    ///
    /// Not writing it says that this system can't be searched: then nothing but the host's own
    /// memory stands between an incident and its second ticket.
    fn find(&mut self, call: &Call, request: &TicketRequest<Incident>) -> Result<Option<Ticket>> {
        let _ = (call, request);
        Err(crate::Error::unsupported())
    }
}

/// The manifest of `P`, with the schemas of its types.
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
    }
}
