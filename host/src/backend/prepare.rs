//! Makes a backend of its settings and its plugin. Whatever is wrong with them is found here, before the first
//! call, and the error points at the setting in the config.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use ticket_host_worker::Digest;
use ticket_host_worker::permissions;
use ticket_host_worker::sandbox::Policy;
use ticket_plugin_api::message::Manifest;

use super::call::{LogAllowance, Services};
use super::gateway::{Fence, Gateway, Route};
use super::pool::{Pool, Recipe};
use super::redact::Redactor;
use super::template::{Templates, Unusable};
use super::{Backend, MadeOf, schema};
use crate::config::{BackendConfig, BackendSetting, Isolation};
use crate::error::{Error, Result};
use crate::metrics::Metrics;
use crate::origin::Origin;
use crate::plugins::catalog::Plugin;
use crate::plugins::trust;
use crate::worker::{Confinement, Denials, Missing};

/// Bytes of a file of certificates that are compared to see whether it has changed.
const LARGEST_CA_FILE: u64 = 16 << 20;

impl Backend {
    /// Checks a backend's settings, for example against its plugin's schemas. No worker is started yet. `missing` says
    /// what becomes of directories that the plugin is granted and that aren't there.
    ///
    /// # Errors
    /// Names the first setting that can't be used, and shows its line in the config.
    pub fn prepare(
        config: &BackendConfig,
        plugin: &Plugin,
        sandbox: Policy,
        missing: Missing,
        metrics: &Arc<Metrics>,
    ) -> Result<Backend> {
        let manifest = plugin.manifest.clone();
        let label = format!("backend {} ({})", config.name, manifest.name);
        let pointing = |setting, error: Error| config.pointing(setting, error.at(&label));
        let resolved = config.secret.resolve("secret");
        let resolved = resolved.map_err(|error| pointing(BackendSetting::Secret, error))?;
        let secret = resolved.value;
        fits(config, &manifest, &secret).map_err(|(setting, error)| pointing(setting, error))?;
        vouched_for(config, plugin).map_err(|error| pointing(BackendSetting::Sha256, error))?;
        let confinement = match config.isolation {
            Isolation::Worker => Confinement {
                denials: Denials::of_backend(&config.name, &label, &config.permissions, metrics),
                ..confinement(config, &manifest, sandbox, missing)
                    .map_err(|error| pointing(BackendSetting::Permissions, error))?
            },
            Isolation::InProcess => Confinement::nothing(sandbox),
        };
        let gateway = gateway(config, &manifest, metrics)
            .map_err(|error| pointing(BackendSetting::CaFile, error))?;
        let templates = Templates::new(config.title.as_deref(), config.body.as_deref()).map_err(
            |Unusable { setting, line, error }| {
                config.pointing_at_line(setting, line, error.at(&label))
            },
        )?;
        let mut warnings = resolved.warnings;
        let redactor = Redactor::new(&secret, &manifest.secret_schema);
        warnings.extend(oddities(config, plugin));
        if redactor.hides_any() {
            warnings.extend(readable_on_the_way(config));
        }
        warnings.extend(templates.warnings.iter().cloned());
        let recipe = recipe(&label, config, plugin, confinement, &secret);
        Ok(Backend {
            name: config.name.clone(),
            warnings,
            unconfined: plugin.unconfined.clone(),
            look_first: config.look_first,
            call_timeout: config.call_timeout,
            concurrency: config.concurrency,
            made_of: MadeOf {
                config: config.clone(),
                library: plugin.path.clone(),
                stamp: plugin.stamp,
                authorities: config.ca_file.as_deref().and_then(authorities),
            },
            services: Arc::new(Services {
                label,
                gateway,
                templates,
                redactor,
                log_allowance: LogAllowance::default(),
            }),
            scheme: config.endpoint.scheme().to_owned(),
            pool: Pool::new(recipe, config.concurrency),
            metrics: Arc::clone(metrics),
            manifest,
        })
    }
}

/// Checks secret and information against the plugin's schemas. The error comes with the setting that it is about.
fn fits(
    config: &BackendConfig,
    manifest: &Manifest,
    secret: &Value,
) -> std::result::Result<(), (BackendSetting, Error)> {
    schema::validate("secret", &manifest.secret_schema, secret, true)
        .map_err(|error| (BackendSetting::Secret, error))?;
    schema::validate("information", &manifest.information_schema, &config.information, false)
        .map_err(|error| (BackendSetting::Information, error))
}

/// Whether the library is the one that the backend pins, if it pins one; and otherwise whether somebody vouches for
/// it as the plugin that the backend asks for, if somebody must.
fn vouched_for(config: &BackendConfig, plugin: &Plugin) -> Result<()> {
    let file = plugin.path.display();
    if let Some(pin) = &config.sha256
        && plugin.image.sha256 != *pin
    {
        let found = plugin.image.sha256;
        let error =
            format!("the library {file} is not the one that sha256 pins: its SHA-256 is {found}");
        return Err(Error::import(error)
            .help("put the pinned version back, or pin this one's SHA-256 if you trust it"));
    }
    let allowed = plugin.vouched.allows(&config.plugin, config.sha256.is_some());
    allowed.map_err(|why| Error::import(format!("{file}: {why}")).help(trust::PIN_HERE))
}

fn gateway(config: &BackendConfig, manifest: &Manifest, metrics: &Arc<Metrics>) -> Result<Gateway> {
    let gateway = Gateway::new(Route {
        fence: Arc::new(Fence::new(&config.endpoint, config.allow_origins.clone())),
        ca_file: config.ca_file.clone(),
        proxy: config.proxy.clone(),
        max_response: config.max_response_bytes,
        user_agent: format!("ticket-host/{} ({})", env!("CARGO_PKG_VERSION"), manifest.name),
        requests_per_second: config.requests_per_second,
        backend: config.name.clone(),
        metrics: Arc::clone(metrics),
    });
    gateway.check_settings()?;
    Ok(gateway)
}

fn recipe(
    label: &str,
    config: &BackendConfig,
    plugin: &Plugin,
    confinement: Confinement,
    secret: &Value,
) -> Recipe {
    let settings = json!({
        "endpoint": config.endpoint.as_str(),
        "secret": secret,
        "information": config.information,
    });
    Recipe {
        label: label.to_owned(),
        image: Arc::clone(&plugin.image),
        confinement,
        isolation: config.isolation,
        settings: settings.to_string().into(),
    }
}

/// What works, and is most likely not what the operator meant: one sentence each.
fn oddities(config: &BackendConfig, plugin: &Plugin) -> Vec<String> {
    let schema = &plugin.manifest.information_schema;
    let mut oddities = schema::unknown_members("information", schema, &config.information);
    if let (Some(why), None) = (&plugin.vouched.unsigned, &config.sha256) {
        let file = plugin.path.display();
        oddities.push(format!("{file}: {why}, and signatures = \"warn\" lets it run"));
    }
    oddities
}

/// A sentence for each setting by which the secret goes where it can be read on the way.
fn readable_on_the_way(config: &BackendConfig) -> Vec<String> {
    let endpoint = Origin::of(&config.endpoint);
    let endpoint = endpoint.iter().map(|origin| ("endpoint", origin));
    let all = endpoint.chain(config.allow_origins.iter().map(|origin| ("allow_origins", origin)));
    let readable = all.filter(|(_, origin)| origin.is_readable_on_the_way());
    readable
        .map(|(setting, origin)| {
            format!(
                "the secret goes to {origin} unencrypted, and can be read on its way there; write https:// in {setting} \
                 (ca_file is for a certificate authority of your own)"
            )
        })
        .collect()
}

/// The digest of a file of certificates. None if it can't be read; then making the gateway has failed already.
fn authorities(file: &Path) -> Option<Digest> {
    use std::io::Read;
    let file = std::fs::File::open(file).ok()?;
    Digest::of_all(file.take(LARGEST_CA_FILE)).ok()
}

/// What the plugin is confined to, with what the operator grants.
///
/// # Errors
/// The plugin asks for more, or a file or a directory of the grant is not there.
fn confinement(
    config: &BackendConfig,
    manifest: &Manifest,
    sandbox: Policy,
    missing: Missing,
) -> Result<Confinement> {
    let directory = config.endpoint.to_file_path().ok();
    let directory = directory.as_deref().and_then(Path::to_str);
    let (mut lacking, mut settings) = (Vec::new(), Vec::new());
    for asked in config.permissions.lacking(manifest) {
        lacking.push(format!("{} ({}: {})", asked.permission, asked.what, asked.why));
        settings.extend(permissions::setting(&asked.permission, directory));
    }
    if lacking.is_empty() {
        return Confinement::open(sandbox, &config.permissions, missing);
    }
    let error = Error::settings(format!(
        "the plugin needs permissions that are not granted: {}",
        lacking.join("; ")
    ));
    Err(if settings.len() == lacking.len() {
        let settings = settings.join(", ");
        error.help(format!("to grant that, set permissions = {{ {settings} }} in the backend"))
    } else {
        error.help("no setting of this host grants that: the plugin needs a newer host")
    })
}
