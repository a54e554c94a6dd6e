//! What a library is before it gets any settings: a file, a table of functions, a manifest.

use std::time::Duration;

use serde_json::Value;

use crate::backend::schema;
use crate::error::Kind;
use crate::validate::bench::Bench;
use crate::validate::{Done, fail, skip, warn};

cases! {
    "symbol" symbol "exports ticket_plugin_entry, and nothing that could clash with another library's names";
    "table" table "loads, and gives a table with every function that the header requires";
    "load-time" load_time "loads within 100 ms: each worker does that, and discovery with every library";
    "manifest" manifest "says who it is: a name that a config can have, a version, a description, a license";
    "schemas" schemas "describes secret and information by JSON Schemas, so that mistakes are found before the first call";
    "permissions" permissions "asks for what it needs by names that this host can grant, and says why";
}

async fn symbol(bench: &mut Bench) -> Done {
    let bytes = std::fs::read(&bench.library).map_err(|cause| fail(cause.to_string()))?;
    let file = object::File::parse(&*bytes).map_err(|cause| fail(cause.to_string()))?;
    let exports = object::Object::exports(&file).map_err(|cause| fail(cause.to_string()))?;
    let names: Vec<String> = exports
        .iter()
        .map(|export| String::from_utf8_lossy(export.name()).trim_start_matches('_').to_owned())
        .collect();
    if !names.iter().any(|name| name == "ticket_plugin_entry") {
        return Err(fail("it doesn't export ticket_plugin_entry"));
    }
    // What linkers export by themselves.
    let own = [
        "ticket_plugin_entry",
        "ticket_plugin_layout",
        "init",
        "fini",
        "edata",
        "end",
        "bss_start",
    ];
    let others: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| !own.contains(name)).collect();
    if others.is_empty() {
        return Ok(());
    }
    let shown: Vec<&str> = others.iter().copied().take(5).collect();
    Err(warn(format!(
        "it exports {} names more, like {}; hide them (-fvisibility=hidden, a version script)",
        others.len(),
        shown.join(", ")
    )))
}

async fn table(bench: &mut Bench) -> Done {
    bench.loaded.as_ref().map(drop).map_err(Clone::clone)
}

async fn load_time(bench: &mut Bench) -> Done {
    let Ok(loaded) = &bench.loaded else { return Err(skip("it can't be loaded")) };
    match loaded.time {
        None => Err(skip("only workers tell how long it takes")),
        Some(time) if time > Duration::from_millis(100) => Err(fail(format!(
            "the quickest of five loads took {time:?}, the start of the worker's process included"
        ))),
        Some(_) => Ok(()),
    }
}

async fn manifest(bench: &mut Bench) -> Done {
    let Ok(loaded) = &bench.loaded else { return Err(skip("it can't be loaded")) };
    let manifest = loaded.manifest.as_ref().map_err(fail)?;
    let said = [
        ("version", &manifest.version),
        ("description", &manifest.description),
        ("license", &manifest.license),
    ];
    let missing: Vec<&str> =
        said.iter().filter(|(_, text)| text.is_empty()).map(|(name, _)| *name).collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(warn(format!("its manifest has no {}", missing.join(", "))))
    }
}

async fn schemas(bench: &mut Bench) -> Done {
    let manifest = bench.manifest()?;
    let mut undescribed = Vec::new();
    for (name, value, schema) in [
        ("secret", &bench.settings.secret, &manifest.secret_schema),
        ("information", &bench.settings.information, &manifest.information_schema),
    ] {
        if let Err(error) = schema::validate(name, schema, value, true) {
            let all: Vec<&str> = error.each().map(|error| error.message.as_str()).collect();
            let all = all.join("; ");
            return Err(match error.kind {
                Kind::Plugin => fail(all),
                _ => skip(format!(
                    "the settings don't fit the plugin's schemas: {all}; give others with --settings"
                )),
            });
        }
        if schema == &Value::Bool(true) {
            undescribed.push(format!("{name} has no schema"));
        }
        let settings = schema::settings(schema).into_iter().flatten();
        let bare = settings.filter(|setting| setting.description.is_empty());
        undescribed
            .extend(bare.map(|setting| format!("{name}.{} has no description", setting.name)));
    }
    undescribed.dedup();
    if undescribed.is_empty() { Ok(()) } else { Err(warn(undescribed.join("; "))) }
}

async fn permissions(bench: &mut Bench) -> Done {
    let manifest = bench.manifest()?;
    for asked in &manifest.permissions {
        let name = &asked.permission;
        if ticket_host_worker::permissions::setting(name, None).is_none() {
            return Err(fail(format!("it asks for {name:?}, which this host can't grant")));
        }
        if asked.what.is_empty() || asked.why.is_empty() {
            return Err(fail(format!("it asks for {name} and doesn't say for what, or why")));
        }
    }
    let lacking = bench.settings.permissions.lacking(manifest);
    if let Some(lacking) = lacking.first() {
        return Err(skip(format!(
            "it asks for {}; grant that in the settings file",
            lacking.permission
        )));
    }
    if !manifest.permissions.is_empty() && !manifest.dry_run {
        return Err(warn("it does more than HTTP, and offers no dry run"));
    }
    Ok(())
}
