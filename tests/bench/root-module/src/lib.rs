//! The smallest plugin as an abi_stable root module: does what the plugin `panics` does in `create`.

use abi_stable::StableAbi;
use abi_stable::export_root_module;
use abi_stable::library::RootModule;
use abi_stable::package_version_strings;
use abi_stable::prefix_type::PrefixTypeTrait;
use abi_stable::sabi_types::VersionStrings;
use abi_stable::std_types::{RResult, RStr, RString};
use ticket_plugin_api::{Incident, Ticket, TicketRequest};

#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginRef)))]
#[sabi(missing_field(panic))]
pub struct Plugin {
    /// The request's JSON to the ticket's, or to what is wrong.
    #[sabi(last_prefix_field)]
    pub create: extern "C" fn(RStr<'_>) -> RResult<RString, RString>,
}

impl RootModule for PluginRef {
    abi_stable::declare_root_module_statics! {PluginRef}
    const BASE_NAME: &'static str = "ticket_bench_root_module";
    const NAME: &'static str = "ticket_bench_root_module";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}

#[export_root_module]
fn plugin() -> PluginRef {
    Plugin { create }.leak_into_prefix()
}

extern "C" fn create(request: RStr<'_>) -> RResult<RString, RString> {
    reply(&request).map(RString::from).map_err(RString::from).into()
}

/// The JSON of the reply to a request: what every rival of the boundary does in its plugin.
///
/// # Errors
/// What is wrong with the request.
pub fn reply(request: &str) -> Result<String, String> {
    let request: TicketRequest<Incident> =
        serde_json::from_str(request).map_err(|cause| cause.to_string())?;
    std::hint::black_box(&request);
    let ticket = Ticket { url: "https://tickets.example.org/1".into(), ..Ticket::default() };
    serde_json::to_string(&ticket).map_err(|cause| cause.to_string())
}
