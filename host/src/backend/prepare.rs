//! Makes a backend of its settings and its plugin. Whatever is wrong with them is found here, before the first
//! call, and the error points at the setting in the config.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde_json::{Value, json};
use ticket_host_worker::Digest;
use ticket_host_worker::permissions;
use ticket_host_worker::sandbox::Policy;
use ticket_plugin_api::Action;
use ticket_plugin_api::message::{HostName, Manifest};

use super::call::{LogAllowance, Services};
use super::gateway::{self, Fence, Gateway, Route, proxies};
use super::pool::{Pool, Recipe};
use super::redact::Redactor;
use super::template::{Given, Templates, Unusable};
use super::{Backend, MadeOf, schema};
use crate::config::{BackendConfig, BackendSetting, Isolation, Resolved};
use crate::error::{Error, Errors, Result};
use crate::life;
use crate::metrics::Metrics;
use crate::origin::Origin;
use crate::plugins::catalog::Plugin;
use crate::plugins::trust;
use crate::worker::{Confinement, Denials, Missing};

/// Bytes of a file of certificates that are compared to see whether it has changed.
const LARGEST_CA_FILE: u64 = 16 << 20;

impl Backend {
    /// Checks a backend's settings, for example against its plugin's schemas. No worker is started yet. `missing` says
    /// what becomes of directories that the plugin is granted and that aren't there. `errors` is what is known to be
    /// wrong with the settings already: then none is made.
    ///
    /// # Errors
    /// Names all settings that can't be used, and shows their lines in the config.
    pub fn prepare(
        config: &BackendConfig,
        plugin: &Plugin,
        sandbox: Policy,
        missing: Missing,
        metrics: &Arc<Metrics>,
        mut errors: Errors,
    ) -> Result<Backend> {
        let manifest = plugin.manifest.clone();
        let label = format!("backend {} ({})", config.name, manifest.name);
        let pointing = |setting, error| pointing(config, &label, setting, error);
        let (secret, templates) = parts(config, &label, &mut errors);
        fits(config, &label, &manifest, secret.as_ref(), &mut errors);
        let gateway = gateway(config, &manifest.name, metrics);
        let gateway = errors.keep_as(gateway, |error| pointing(BackendSetting::CaFile, error));
        let vouched = vouched_for(config, plugin);
        errors.keep_as(vouched, |error| pointing(BackendSetting::Sha256, error));
        // Where something is wrong, nothing is made.
        let missing = if errors.is_empty() { missing } else { Missing::LeftOut };
        let confinement = match config.isolation {
            Isolation::Worker => confinement(config, &manifest, sandbox, missing),
            Isolation::InProcess => Ok(Confinement::nothing(sandbox)),
        };
        let confinement =
            errors.keep_as(confinement, |error| pointing(BackendSetting::Permissions, error));
        let parts = secret.zip(templates).zip(gateway.zip(confinement));
        let ((secret, templates), (gateway, confinement)) = errors.or(parts)?;
        let confinement = match config.isolation {
            Isolation::Worker => Confinement {
                denials: Denials::of_backend(&config.name, &label, &config.permissions, metrics),
                ..confinement
            },
            Isolation::InProcess => confinement,
        };
        let redactor = Redactor::new(&secret.value, &manifest.secret_schema);
        let mut warnings = secret.warnings;
        warnings.extend(oddities(config, plugin));
        if redactor.hides_any() {
            warnings.extend(readable_on_the_way(config));
        }
        let redactor = redactor.with_logins(&proxies(config.proxy.as_ref()));
        warnings.extend(templates.warnings.iter().cloned());
        let recipe = Arc::new(recipe(&label, config, plugin, confinement, &secret.value));
        Ok(Backend {
            name: config.name.clone(),
            warnings,
            unconfined: plugin.unconfined.clone(),
            look_first: config.look_first,
            unknown: config.unknown,
            life: Arc::new(terms(config, &manifest, &plugin.offers)),
            call_timeout: config.call_timeout,
            concurrency: config.concurrency,
            offers: plugin.offers.clone(),
            cannot_find: AtomicBool::new(false),
            cannot_find_many: AtomicBool::new(false),
            made_of: made_of(config, plugin),
            services: Arc::new(Services {
                label,
                gateway,
                templates,
                redactor,
                not_done: config.not_done.clone().unwrap_or_else(|| manifest.not_done.clone()),
                log_allowance: LogAllowance::default(),
            }),
            scheme: config.endpoint.scheme().to_owned(),
            pool: Pool::new(Arc::clone(&recipe), config.concurrency),
            webhooks: Pool::new(recipe, 1),
            poll: config.poll,
            metrics: Arc::clone(metrics),
            manifest,
            told_of_no_find: AtomicBool::new(false),
        })
    }

    /// Checks the settings of a backend whose plugin isn't there, as far as that can be done.
    ///
    /// # Errors
    /// As [`Backend::prepare`].
    pub fn check_without_plugin(config: &BackendConfig) -> Result<()> {
        let label = format!("backend {}", config.name);
        let mut errors = Errors::default();
        parts(config, &label, &mut errors);
        if let Some(file) = &config.ca_file {
            let read = gateway::authorities(file);
            errors.keep_as(read, |error| pointing(config, &label, BackendSetting::CaFile, error));
        }
        errors.together()
    }
}

/// What can be done to tickets after they were made.
fn terms(config: &BackendConfig, manifest: &Manifest, offers: &[&str]) -> life::Terms {
    let can = |action: &Action| {
        offers.contains(&"update") && manifest.actions.iter().any(|name| name == action.name())
    };
    let actions =
        [Action::Comment, Action::Close, Action::Reopen].into_iter().filter(can).collect();
    life::Terms { policy: config.life.clone(), actions }
}

/// `error` with the backend's name before it, and with the lines of the config file that the setting stands in.
fn pointing(config: &BackendConfig, label: &str, setting: BackendSetting, error: Error) -> Error {
    config.pointing(setting, error.at(label))
}

/// Reads what a backend is made of, whatever its plugin. What is wrong is added to `errors`.
fn parts(
    config: &BackendConfig,
    label: &str,
    errors: &mut Errors,
) -> (Option<Resolved>, Option<Templates>) {
    let secret = errors.keep_as(config.secret.resolve("secret"), |error| {
        pointing(config, label, BackendSetting::Secret, error)
    });
    let templates = Templates::new(&Given {
        title: config.title.as_deref(),
        body: config.body.as_deref(),
        comment: config.comment.as_deref(),
        closing: config.closing.as_deref(),
    });
    let templates = templates.map_err(|all| {
        for Unusable { setting, line, error } in all {
            errors.add(config.pointing_at_line(setting, line, error.at(label)));
        }
    });
    (secret, templates.ok())
}

/// Checks secret, if it could be read, and information against the plugin's schemas. What is wrong is added to
/// `errors`.
fn fits(
    config: &BackendConfig,
    label: &str,
    manifest: &Manifest,
    secret: Option<&Resolved>,
    errors: &mut Errors,
) {
    if let Some(Resolved { value, .. }) = secret {
        let checked = schema::validate("secret", &manifest.secret_schema, value, true);
        errors.keep_as(checked, |error| pointing(config, label, BackendSetting::Secret, error));
    }
    let (schema, value) = (&manifest.information_schema, &config.information);
    let checked = schema::validate("information", schema, value, false);
    errors.keep_as(checked, |error| pointing(config, label, BackendSetting::Information, error));
}

/// What a backend is compared by with one that was made later.
fn made_of(config: &BackendConfig, plugin: &Plugin) -> MadeOf {
    MadeOf {
        config: config.clone(),
        library: plugin.path.clone(),
        stamp: plugin.stamp,
        authorities: config.ca_file.as_deref().and_then(authorities),
    }
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

fn gateway(config: &BackendConfig, plugin: &str, metrics: &Arc<Metrics>) -> Result<Gateway> {
    let gateway = Gateway::new(Route {
        fence: Arc::new(Fence::new(&config.endpoint, config.allow_origins.clone())),
        ca_file: config.ca_file.clone(),
        proxy: config.proxy.clone(),
        max_response: config.max_response_bytes,
        user_agent: format!("ticket-host/{} ({plugin})", env!("CARGO_PKG_VERSION")),
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
        "host": HostName {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        },
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
