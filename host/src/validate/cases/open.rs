//! How a plugin takes its settings: good ones, bad ones, and those of a later host.

use serde_json::{Value, json};
use ticket_plugin_api::abi::host_side::Operation;
use ticket_plugin_api::abi::status;

use super::answered;
use crate::validate::answer::message;
use crate::validate::bench::{Bench, KEY};
use crate::validate::incidents::incident;
use crate::validate::script::Behaviour;
use crate::validate::{Done, fail, skip, warn};

cases! {
    "open" open "opens with good settings, and asks for nothing meanwhile: open() has no network";
    "bad-settings" bad_settings "survives settings that are missing or of another type, and says which is wrong";
    "unknown-members" unknown_members "ignores JSON members that it doesn't know: hosts grow (rule R3)";
    "endpoints" endpoints "takes endpoints with and without a slash at the end, a sub-path and a port";
}

async fn open(bench: &mut Bench) -> Done {
    let settings = bench.settings.json();
    let (returned, seen) = bench.open(&settings).await?;
    if !seen.exchanges.is_empty() {
        return Err(fail("open() asked for HTTP, which is denied there"));
    }
    match returned.status {
        status::OK => Ok(()),
        status::SETTINGS_ERROR if bench.made_up => Err(skip(format!(
            "needs --settings FILE: of settings that were made up the plugin says {:?}",
            message(&returned)
        ))),
        code => Err(fail(format!("open() returned {code}: {}", message(&returned)))),
    }
}

async fn bad_settings(bench: &mut Bench) -> Done {
    let good = bench.settings.json();
    for (changed, settings) in spoiled(&good) {
        let (returned, seen) = bench.open(&settings).await?;
        let code = returned.status;
        if !seen.exchanges.is_empty() {
            return Err(fail(format!("with {changed}, open() asked for HTTP")));
        }
        if !(status::OK..=status::PLUGIN_ERROR).contains(&code) {
            return Err(fail(format!("with {changed}, open() returned {code}")));
        }
        if code != status::OK && message(&returned).is_empty() {
            return Err(fail(format!("with {changed}, open() says nothing about what is wrong")));
        }
    }
    Ok(())
}

/// The good settings with one thing changed for the worse, each with words for what was changed.
fn spoiled(good: &Value) -> Vec<(String, Value)> {
    let mut out = vec![("{} for settings".to_owned(), json!({}))];
    for part in ["endpoint", "secret", "information"] {
        for bad in [Value::Null, json!([]), json!(17), json!("")] {
            let mut settings = good.clone();
            settings[part] = bad.clone();
            out.push((format!("{part} = {bad}"), settings));
        }
        for name in good[part].as_object().into_iter().flatten().map(|(name, _)| name) {
            for bad in
                [Value::Null, json!({"a": {}}), json!([[]]), json!(-1), json!("\u{0}\n\u{202e}")]
            {
                let mut settings = good.clone();
                settings[part][name] = bad.clone();
                out.push((format!("{part}.{name} = {bad}"), settings));
            }
            let mut settings = good.clone();
            if let Some(part) = settings[part].as_object_mut() {
                part.remove(name);
            }
            out.push((format!("no {part}.{name}"), settings));
        }
    }
    for endpoint in
        ["nonsense", "https://", "http://[", "file:///", "https://x.org/%00/", "ftp://x.org"]
    {
        let mut settings = good.clone();
        settings["endpoint"] = endpoint.into();
        out.push((format!("endpoint = {endpoint:?}"), settings));
    }
    out
}

async fn unknown_members(bench: &mut Bench) -> Done {
    bench.able().await?;
    let mut settings = bench.settings.json();
    for pointer in ["", "/secret", "/information"] {
        if let Some(Value::Object(members)) = settings.pointer_mut(pointer) {
            members.insert("x-of-a-later-host".to_owned(), json!({"deep": [1, {"er": null}]}));
        }
    }
    let (returned, _) = bench.open(&settings).await?;
    if returned.status != status::OK {
        return Err(fail(format!(
            "open() refuses settings that have one more member: {}",
            message(&returned)
        )));
    }
    Ok(())
}

async fn endpoints(bench: &mut Bench) -> Done {
    let own = bench.settings.clone();
    if !own.endpoint.starts_with("http") {
        return Err(skip("its endpoint is not a web server"));
    }
    bench.able().await?;
    for endpoint in [
        "https://t.example.org",
        "https://t.example.org/",
        "https://t.example.org:8443/a/b",
        "https://t.example.org/a/b/",
    ] {
        bench.settings = own.at(endpoint);
        let tried = works_at(bench, endpoint).await;
        bench.settings.clone_from(&own);
        bench.open(&own.json()).await?;
        tried?;
    }
    Ok(())
}

/// Whether the plugin takes the endpoint, and asks for nothing beside it.
async fn works_at(bench: &mut Bench, endpoint: &str) -> Done {
    let settings = bench.settings.json();
    let (returned, _) = bench.open(&settings).await?;
    if returned.status != status::OK {
        return Err(fail(format!("open() refuses {endpoint}: {}", message(&returned))));
    }
    let behaviour = Behaviour::Always(answered(503, "{}"));
    let (_, seen) = bench.call(Operation::Check, &incident(), KEY, behaviour).await?;
    let inside = endpoint.trim_end_matches('/');
    let odd = seen.exchanges.iter().map(|exchange| &exchange.request).find(|request| {
        let path = request.url.strip_prefix(inside);
        path.is_none_or(|path| {
            !path.is_empty() && !path.starts_with(['/', '?']) || path.starts_with("//")
        })
    });
    let Some(odd) = odd else { return Ok(()) };
    // A forge's API may lie elsewhere by design; that two slashes follow each other never is.
    let verdict =
        if odd.url.get(8..).is_some_and(|rest| rest.contains("//")) { fail } else { warn };
    Err(verdict(format!("with {endpoint} check() asks for {}", odd.url)))
}
