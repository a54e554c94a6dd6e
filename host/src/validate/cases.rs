//! The cases, in the order in which they run: what each demands, and why.

use std::pin::Pin;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ticket_plugin_api::abi::host_side::{HttpAnswer, Operation, Returned};
use ticket_plugin_api::abi::status;
use ticket_plugin_api::http::is_safe;
use ticket_plugin_api::message::fingerprint;
use ticket_plugin_api::{Error as PluginError, ErrorKind, Retry, Ticket};

use super::bench::{Answer, Bench, KEY};
use super::script::{Behaviour, Scripted, Seen, When};
use super::{Done, Verdict, crash, fail, skip, warn};
use crate::backend::schema;
use crate::worker::Worker;

/// A case: see the module.
pub(crate) struct Case {
    pub name: &'static str,
    pub demands: &'static str,
    pub(super) run: for<'a> fn(&'a mut Bench) -> Pin<Box<dyn Future<Output = Done> + 'a>>,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

macro_rules! cases {
    ($($name:literal $function:ident $demands:literal;)*) => {
        /// All cases.
        pub(crate) const CASES: &[Case] = &[$(Case {
            name: $name,
            demands: $demands,
            run: |bench| Box::pin($function(bench)),
        }),*];
    };
}

cases! {
    "symbol" symbol "exports ticket_plugin_entry, and nothing that could clash with another library's names";
    "table" table "loads, and gives a table with every function that the header requires";
    "load-time" load_time "loads within 100 ms: each worker does that, and discovery with every library";
    "manifest" manifest "says who it is: a name that a config can have, a version, a description, a license";
    "schemas" schemas "describes secret and information by JSON Schemas, so that mistakes are found before the first call";
    "permissions" permissions "asks for what it needs by names that this host can grant, and says why";
    "open" open "opens with good settings, and asks for nothing meanwhile: open() has no network";
    "bad-settings" bad_settings "survives settings that are missing or of another type, and says which is wrong";
    "unknown-members" unknown_members "ignores JSON members that it doesn't know: hosts grow (rule R3)";
    "endpoints" endpoints "takes endpoints with and without a slash at the end, a sub-path and a port";
    "find-offered" find_offered "offers find(): without it nobody knows whether a lost answer left a ticket";
    "check" check_works "check() tells the state of a working ticket system, line by line";
    "create" create_works "create() makes a ticket in a working ticket system, and replies its URL";
    "key" key_counts "puts the key where find() finds it: other keys make other tickets";
    "create-again" create_again "asks for the same with the same key: a retry is no other ticket";
    "find-none" find_none "find() says NOT_FOUND in an empty ticket system";
    "find" find_works "find() gives the ticket of its key";
    "find-exact" find_exact "find() doesn't take another key's ticket for its own, though a search gives it";
    "dry-run" dry_run "makes nothing in a dry run";
    "incidents" odd_incidents "survives incidents that are empty, huge, deep, of other types, in any script";
    "http-results" http_results "takes every way that a request can fail for what it is: a lost answer is unknown, an unsent request is not";
    "http-statuses" http_statuses "survives every status from 100 to 599; a search that failed is not NOT_FOUND";
    "http-bodies" http_bodies "survives bodies that are empty, huge, HTML, no UTF-8, of another shape; what may have made a ticket is unknown";
    "deadline" deadline "returns when its time is over (rule R6)";
    "cancelled" cancelled "returns at once when it has no time at all";
    "silence" silence "prints nothing: standard output is nobody's";
    "threads" threads "works with many instances on many threads at once (rule R4)";
    "leak" leak "gives back what it took, in 10,000 calls of instances that are opened and closed";
    "secret" secret "keeps the secret out of replies, logs and URLs";
}

fn incident() -> Value {
    json!({
        "description": "gw1 is down", "pk": 17, "level": 3, "source": {"name": "nav"},
        "start_time": "2026-11-23T07:00:00+00:00", "end_time": "infinity",
        "details_url": "https://nav.example.org/1", "argus_url": KEY,
        "tags": ["severity=major", "host=gw1.example.org"],
    })
}

const OPERATIONS: [Operation; 3] = [Operation::Check, Operation::Find, Operation::Create];

fn answered(status: u16, body: impl Into<Vec<u8>>) -> HttpAnswer {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    HttpAnswer::Answered { status, headers, body: body.into() }
}

/// Whether one of the requests can have made something.
fn could_create(seen: &Seen) -> bool {
    seen.requests.iter().any(|request| !is_safe(&request.method))
}

fn explain(answer: &Answer) -> String {
    match answer {
        Answer::Ticket(ticket) => format!("the ticket {}", ticket.url),
        Answer::Checks(checks) => format!("{} checks", checks.checks.len()),
        Answer::NotFound => "NOT_FOUND".to_owned(),
        Answer::Unsupported => "UNSUPPORTED".to_owned(),
        Answer::Error(PluginError { kind, message, retry, .. }) => {
            format!("a {kind:?} error ({retry:?}): {message}")
        }
    }
}

/// The first lack of the script's that explains a failure.
fn unscripted(seen: &Seen) -> String {
    match seen.unknown.first() {
        Some(request) => format!(" (the script has nothing for {request})"),
        None => String::new(),
    }
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
    // The linker's own.
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
    match &bench.loaded {
        Ok(_) => Ok(()),
        Err((true, why)) => Err(crash(why)),
        Err((false, why)) => Err(fail(why)),
    }
}

async fn load_time(bench: &mut Bench) -> Done {
    let Ok(loaded) = &bench.loaded else { return Err(skip("it can't be loaded")) };
    if loaded.time > Duration::from_millis(100) {
        return Err(fail(format!(
            "the quickest of five took {:?}, with the worker's start",
            loaded.time
        )));
    }
    Ok(())
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
        Err(warn(format!("it says no {}", missing.join(", "))))
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
            return Err(match error.kind {
                crate::error::Kind::Plugin => fail(error.message),
                _ => skip(format!(
                    "the settings don't fit: {}; give others with --settings",
                    error.message
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

async fn open(bench: &mut Bench) -> Done {
    let settings = bench.settings.json();
    let (returned, seen) = bench.open(&settings).await?;
    if !seen.requests.is_empty() {
        return Err(fail("open() asked for HTTP, which is denied there"));
    }
    match returned.status {
        status::OK => Ok(()),
        status::SETTINGS_ERROR if bench.made_up => Err(skip(format!(
            "needs --settings FILE: of made-up ones it says {}",
            message(&returned)
        ))),
        code => Err(fail(format!("open() returned {code}: {}", message(&returned)))),
    }
}

fn message(returned: &Returned) -> String {
    let reply = returned.reply.as_ref().ok().and_then(Option::as_ref);
    let json = reply.and_then(|reply| serde_json::from_str::<Value>(reply).ok());
    json.and_then(|json| Some(json["message"].as_str()?.to_owned())).unwrap_or_default()
}

async fn bad_settings(bench: &mut Bench) -> Done {
    let good = bench.settings.json();
    for (changed, settings) in spoiled(&good) {
        let (returned, seen) = bench.open(&settings).await?;
        let code = returned.status;
        if !seen.requests.is_empty() {
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

/// Settings with one thing wrong, and what.
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
    for place in ["", "/secret", "/information"] {
        if let Some(Value::Object(members)) = settings.pointer_mut(place) {
            members.insert("x-of-a-later-host".to_owned(), json!({"deep": [1, {"er": null}]}));
        }
    }
    let (returned, _) = bench.open(&settings).await?;
    if returned.status != status::OK {
        return Err(fail(format!(
            "open() refuses settings with a member more: {}",
            message(&returned)
        )));
    }
    Ok(())
}

async fn endpoints(bench: &mut Bench) -> Done {
    let own = bench.settings.endpoint.clone();
    if !own.starts_with("http") {
        return Err(skip("its endpoint is no web server"));
    }
    bench.able().await?;
    for endpoint in [
        "https://t.example.org",
        "https://t.example.org/",
        "https://t.example.org:8443/a/b",
        "https://t.example.org/a/b/",
    ] {
        bench.settings.endpoint = endpoint.to_owned();
        let settings = bench.settings.json();
        let opened = bench.open(&settings).await;
        let called = match &opened {
            Ok((returned, _)) if returned.status == status::OK => {
                let behaviour = Behaviour::Always(answered(503, "{}"));
                bench.call(Operation::Check, &incident(), KEY, behaviour).await.map(Some)
            }
            _ => Ok(None),
        };
        bench.settings.endpoint.clone_from(&own);
        let (returned, _) = opened?;
        if returned.status != status::OK {
            return Err(fail(format!("open() refuses {endpoint}: {}", message(&returned))));
        }
        let inside = endpoint.trim_end_matches('/');
        let requests = called?.map(|(_, seen)| seen.requests).unwrap_or_default();
        let odd = requests.iter().find(|request| {
            let path = request.url.strip_prefix(inside);
            path.is_none_or(|path| {
                !path.is_empty() && !path.starts_with(['/', '?']) || path.starts_with("//")
            })
        });
        if let Some(odd) = odd {
            // A forge's API may lie elsewhere by design; that two slashes follow each other never is.
            let verdict = if odd.url[8..].contains("//") { fail } else { warn };
            return Err(verdict(format!("with {endpoint} check() asks for {}", odd.url)));
        }
    }
    let settings = bench.settings.json();
    bench.open(&settings).await?;
    Ok(())
}

async fn find_offered(bench: &mut Bench) -> Done {
    let behaviour = Behaviour::Always(answered(503, "{}"));
    match bench.call(Operation::Find, &incident(), KEY, behaviour).await?.0 {
        Answer::Unsupported => Err(warn("it has no find(): operators are warned with each ticket")),
        _ => Ok(()),
    }
}

async fn check_works(bench: &mut Bench) -> Done {
    bench.scripted()?;
    let (answer, seen) =
        bench.call(Operation::Check, &incident(), KEY, Behaviour::Script(When::Empty)).await?;
    if could_create(&seen) {
        return Err(fail("check() sends what can create something"));
    }
    let Answer::Checks(checks) = answer else {
        return Err(fail(format!("check() gives {}{}", explain(&answer), unscripted(&seen))));
    };
    if let Some(failed) = checks.checks.iter().find(|check| !check.ok) {
        let lack = unscripted(&seen);
        return Err(fail(format!("check() fails at {}: {}{lack}", failed.name, failed.message)));
    }
    if checks.checks.is_empty() { Err(warn("check() checks nothing")) } else { Ok(()) }
}

async fn created(bench: &mut Bench, key: &str) -> Result<(Ticket, Seen), Verdict> {
    bench.scripted()?;
    let (answer, seen) =
        bench.call(Operation::Create, &incident(), key, Behaviour::Script(When::Empty)).await?;
    match answer {
        Answer::Ticket(ticket) => Ok((ticket, seen)),
        other => Err(fail(format!("create() gives {}{}", explain(&other), unscripted(&seen)))),
    }
}

async fn create_works(bench: &mut Bench) -> Done {
    created(bench, KEY).await.map(drop)
}

/// All that a plugin sent, as one text.
fn sent(seen: &Seen) -> String {
    let requests = seen.requests.iter().map(|request| {
        format!("{} {} {}", request.method, request.url, String::from_utf8_lossy(&request.body))
    });
    requests.collect::<Vec<_>>().join("\n")
}

async fn key_counts(bench: &mut Bench) -> Done {
    let (first, one) = created(bench, "key-one").await?;
    let (second, two) = created(bench, "key-two").await?;
    if one.requests.is_empty() {
        // Made without HTTP: where it is must tell it.
        return if first.url == second.url {
            Err(fail("tickets of different keys are one"))
        } else {
            Ok(())
        };
    }
    if sent(&one) == sent(&two) {
        return Err(fail("tickets of different keys are the same to the ticket system"));
    }
    let carries = sent(&one).contains("key-one") || sent(&one).contains(&fingerprint("key-one"));
    if carries { Ok(()) } else { Err(warn("neither the key nor its SHA-256 is sent as it is")) }
}

async fn create_again(bench: &mut Bench) -> Done {
    let (first, one) = created(bench, KEY).await?;
    let (again, two) = created(bench, KEY).await?;
    if first.url != again.url {
        return Err(fail(format!("the same answers give {} and then {}", first.url, again.url)));
    }
    let last = |seen: &Seen| {
        let creating = seen.requests.iter().rev().find(|request| !is_safe(&request.method));
        creating.map(|request| (request.url.clone(), request.body.clone()))
    };
    if last(&one) == last(&two) {
        Ok(())
    } else {
        Err(warn("the same incident and key make another request the second time"))
    }
}

async fn find(bench: &mut Bench, key: &str, when: When) -> Result<(Answer, Seen), Verdict> {
    bench.scripted()?;
    let (answer, seen) =
        bench.call(Operation::Find, &incident(), key, Behaviour::Script(when)).await?;
    if matches!(answer, Answer::Unsupported) {
        return Err(skip("it has no find()"));
    }
    if could_create(&seen) && seen.requests.iter().any(|request| request.method != "POST") {
        return Err(fail("find() sends what can change something"));
    }
    Ok((answer, seen))
}

async fn find_none(bench: &mut Bench) -> Done {
    match find(bench, "a key that no ticket has", When::Empty).await? {
        (Answer::NotFound, _) => Ok(()),
        (other, seen) => {
            Err(fail(format!("find() gives {}{}", explain(&other), unscripted(&seen))))
        }
    }
}

async fn find_works(bench: &mut Bench) -> Done {
    let (made, _) = created(bench, KEY).await?;
    match find(bench, KEY, When::Made).await? {
        (Answer::Ticket(found), _) if found.url == made.url => Ok(()),
        (Answer::Ticket(found), _) => {
            Err(fail(format!("create() replied {}, and find() {}", made.url, found.url)))
        }
        (other, seen) => {
            Err(fail(format!("find() gives {}{}", explain(&other), unscripted(&seen))))
        }
    }
}

async fn find_exact(bench: &mut Bench) -> Done {
    let tells = |rule: &super::script::Rule| {
        let keyed = rule.body.contains("{{key}}") || rule.body.contains("{{fingerprint}}");
        keyed && rule.when.is_none_or(|when| when == When::Other)
    };
    if !bench.settings.http.iter().any(tells) {
        return Err(skip("needs a scripted search whose answer has {{key}} or {{fingerprint}}"));
    }
    match find(bench, KEY, When::Other).await? {
        (Answer::NotFound, _) => Ok(()),
        (other, seen) => Err(fail(format!(
            "there is a ticket of another key only, and find() gives {}{}",
            explain(&other),
            unscripted(&seen)
        ))),
    }
}

async fn dry_run(bench: &mut Bench) -> Done {
    if !bench.manifest()?.permissions.is_empty() && !bench.manifest()?.dry_run {
        return Err(skip("it does more than HTTP, and offers no dry run"));
    }
    let behaviour = Behaviour::Always(HttpAnswer::DryRun);
    let time = Duration::from_secs(5);
    let (answer, _) =
        bench.timed(Operation::Create, &incident(), KEY, true, behaviour, time).await?;
    match answer {
        Answer::Error(PluginError { kind: ErrorKind::Client, .. }) => Ok(()),
        Answer::Ticket(Ticket { preview: Some(_), .. }) => Ok(()),
        Answer::Ticket(ticket) => {
            Err(fail(format!("nothing was sent, and create() replied the ticket {}", ticket.url)))
        }
        other => Err(warn(format!("create() gives {}, and no client error", explain(&other)))),
    }
}

/// Incidents as no good source sends them.
pub(super) fn odd() -> Vec<Value> {
    let mut deep = json!(0);
    for _ in 0..100 {
        deep = json!([deep]);
    }
    let with = |name: &str, value: Value| {
        let mut incident = incident();
        incident[name] = value;
        incident
    };
    vec![
        json!({}),
        json!({"description": ""}),
        with("description", json!("x".repeat(200_000))),
        with(
            "description",
            json!("nul \u{0} bell \u{7} escape \u{1b}[31m \u{202e}desrever\u{2028}"),
        ),
        with(
            "description",
            json!("<script>alert(1)</script> [x](javascript:x) {{ x }} {% raw %} ' \" ; --"),
        ),
        with("description", json!("網路 мережа شبكة 🦀\u{1F468}\u{200D}\u{1F469}")),
        with("description", json!(17)),
        with("pk", json!(u64::MAX)),
        with("pk", json!("seventeen")),
        with("level", json!(-1)),
        with("level", json!(1e300)),
        with("tags", json!(null)),
        with("tags", json!([null, 7, {"tag": "a=b"}, "noequals", "=", "a=b=c", ""])),
        with("tags", json!((0..2000).map(|n| format!("k{n}=v")).collect::<Vec<_>>())),
        with("source", json!(null)),
        with("source", json!({"name": null})),
        with("start_time", json!("yesterday")),
        with("end_time", json!("9999-12-31T23:59:59.999999+00:00")),
        with("start_time", json!("+292278994-08-17T07:12:55Z")),
        with("details_url", json!("not a url")),
        with("metadata", deep),
    ]
}

async fn odd_incidents(bench: &mut Bench) -> Done {
    for incident in odd() {
        for operation in [Operation::Find, Operation::Create] {
            let behaviours =
                [Behaviour::Script(When::Empty), Behaviour::Always(answered(500, "{}"))];
            for behaviour in behaviours {
                let called = bench.call(operation, &incident, KEY, behaviour).await;
                let shown: String = incident.to_string().chars().take(100).collect();
                called.map_err(|verdict| of(verdict, &format!("with the incident {shown}")))?;
            }
        }
    }
    Ok(())
}

fn of(verdict: Verdict, place: &str) -> Verdict {
    Verdict { message: format!("{place}: {}", verdict.message), ..verdict }
}

async fn http_results(bench: &mut Bench) -> Done {
    let text = || "the validator".to_owned();
    for (name, answer) in [
        ("NOT_SENT", HttpAnswer::NotSent(text())),
        ("UNKNOWN", HttpAnswer::Unknown(text())),
        ("DENIED", HttpAnswer::Denied(text())),
        ("DRY_RUN", HttpAnswer::DryRun),
    ] {
        for operation in OPERATIONS {
            for behaviour in
                [Behaviour::Always(answer.clone()), Behaviour::Creations(answer.clone())]
            {
                let place = format!("{} when a request is {name}", operation.name());
                let always = matches!(behaviour, Behaviour::Always(_));
                let called = bench.call(operation, &incident(), KEY, behaviour).await;
                let (answer, seen) = called.map_err(|verdict| of(verdict, &place))?;
                let refused =
                    |why: &str| Err(fail(format!("{place}: {why}; it gives {}", explain(&answer))));
                match (&answer, operation) {
                    (Answer::NotFound, Operation::Find) if always && !seen.requests.is_empty() => {
                        return refused("a search that failed is not \"certainly none\"");
                    }
                    (Answer::Ticket(_), Operation::Create) if could_create(&seen) => {
                        return refused("there can be no ticket");
                    }
                    (Answer::Error(error), Operation::Create)
                        if could_create(&seen)
                            && name == "UNKNOWN"
                            && error.retry != Retry::Unknown =>
                    {
                        return refused("the ticket may exist: retry must be \"unknown\"");
                    }
                    (Answer::Error(error), Operation::Create)
                        if name == "NOT_SENT"
                            && (always || could_create(&seen))
                            && error.retry == Retry::Never =>
                    {
                        return refused(
                            "nothing was created, and trying again can help: \"later\"",
                        );
                    }
                    _ => {}
                }
            }
        }
    }
    Ok(())
}

async fn http_statuses(bench: &mut Bench) -> Done {
    let mut doubts = Vec::new();
    for code in 100..600 {
        for operation in OPERATIONS {
            let behaviours = [
                Behaviour::Always(answered(code, r#"{"message": "the validator"}"#)),
                Behaviour::Creations(answered(code, r#"{"message": "the validator"}"#)),
            ];
            for behaviour in behaviours {
                let place = format!("{} when a request is answered {code}", operation.name());
                let always = matches!(behaviour, Behaviour::Always(_));
                let called = bench.call(operation, &incident(), KEY, behaviour).await;
                let (answer, seen) = called.map_err(|verdict| of(verdict, &place))?;
                match (&answer, operation) {
                    (Answer::NotFound, Operation::Find)
                        if always
                            && !seen.requests.is_empty()
                            && matches!(code, 400..=403 | 405..=409 | 411..=599) =>
                    {
                        return Err(fail(format!(
                            "{place}: NOT_FOUND, though the search failed: the next step is a second ticket"
                        )));
                    }
                    (Answer::Ticket(ticket), Operation::Create)
                        if code >= 400 && always && !seen.requests.is_empty() =>
                    {
                        return Err(fail(format!("{place}: the ticket {}", ticket.url)));
                    }
                    (Answer::Error(error), Operation::Create)
                        if could_create(&seen)
                            && matches!(code, 500 | 502 | 504)
                            && error.retry != Retry::Unknown =>
                    {
                        doubts.push(code);
                    }
                    _ => {}
                }
            }
        }
    }
    doubts.dedup();
    if doubts.is_empty() {
        return Ok(());
    }
    Err(warn(format!(
        "create() is sure that nothing was created after {doubts:?}; a server that broke off, or its proxy, \
         may have created it: \"unknown\" is on the safe side"
    )))
}

async fn http_bodies(bench: &mut Bench) -> Done {
    let deep = "[".repeat(100_000);
    let bodies: [(&str, Vec<u8>); 14] = [
        ("nothing", vec![]),
        ("HTML", b"<!DOCTYPE html><html><body><h1>Log in</h1></body></html>".to_vec()),
        ("null", b"null".to_vec()),
        ("[]", b"[]".to_vec()),
        ("{}", b"{}".to_vec()),
        ("a text", b"\"text\"".to_vec()),
        ("a number", b"17".to_vec()),
        ("half of JSON", b"{\"id\": 17, \"url\": \"https://x.or".to_vec()),
        (
            "other types",
            br#"{"id": {"a": []}, "url": 17, "number": "x", "key": null, "items": {"a": 1}}"#
                .to_vec(),
        ),
        ("other types in a list", br#"[{"id": null}, [], "x", 17, {"url": {}}]"#.to_vec()),
        ("no UTF-8", b"{\"url\": \"https://x.org/\xff\xfe\", \"id\": \"\x80\"}".to_vec()),
        ("a deep nest", deep.into_bytes()),
        ("4 MiB", vec![b' '; 4 << 20]),
        ("NULs", vec![0; 1000]),
    ];
    for (name, body) in bodies {
        for code in [200, 201, 404, 500] {
            for operation in OPERATIONS {
                let answer = answered(code, body.clone());
                for behaviour in
                    [Behaviour::Always(answer.clone()), Behaviour::Creations(answer.clone())]
                {
                    let place = format!(
                        "{} when a request is answered {code} and {name}",
                        operation.name()
                    );
                    let called = bench.call(operation, &incident(), KEY, behaviour).await;
                    let (answer, seen) = called.map_err(|verdict| of(verdict, &place))?;
                    if let (Answer::Error(error), Operation::Create) = (&answer, operation)
                        && could_create(&seen)
                        && code < 300
                        && error.retry != Retry::Unknown
                        && seen.requests.last().is_some_and(|request| !is_safe(&request.method))
                    {
                        return Err(fail(format!(
                            "{place}: the ticket may exist: retry must be \"unknown\"; it gives {}",
                            explain(&answer)
                        )));
                    }
                }
            }
        }
    }
    Ok(())
}

async fn deadline(bench: &mut Bench) -> Done {
    for operation in OPERATIONS {
        let time = Duration::from_millis(200);
        let started = Instant::now();
        let called = bench.timed(operation, &incident(), KEY, false, Behaviour::Slow, time).await;
        called.map_err(|verdict| of(verdict, "with a server that doesn't answer"))?;
        let late = started.elapsed().saturating_sub(time);
        if late > Duration::from_millis(500) {
            return Err(warn(format!("{}() returned {late:?} too late", operation.name())));
        }
    }
    Ok(())
}

async fn cancelled(bench: &mut Bench) -> Done {
    for operation in OPERATIONS {
        let started = Instant::now();
        let behaviour = Behaviour::Always(HttpAnswer::NotSent("the time is over".to_owned()));
        let called =
            bench.timed(operation, &incident(), KEY, false, behaviour, Duration::ZERO).await;
        called.map_err(|verdict| of(verdict, "without any time"))?;
        if started.elapsed() > Duration::from_millis(500) {
            return Err(warn(format!("{}() took {:?}", operation.name(), started.elapsed())));
        }
    }
    Ok(())
}

async fn silence(bench: &mut Bench) -> Done {
    for operation in OPERATIONS {
        let behaviour = Behaviour::Script(When::Empty);
        bench.call(operation, &incident(), KEY, behaviour).await?;
    }
    match bench.printed.first() {
        None => Ok(()),
        Some(line) => {
            let line: String = line.chars().take(100).collect();
            Err(fail(format!("it prints: {line:?}; call->log() is for that")))
        }
    }
}

/// Runs instances in a worker of their own; the worker, for what is measured at it.
async fn exercise(bench: &Bench, runs: &[(usize, usize)]) -> Result<Vec<Option<u64>>, Verdict> {
    let mut worker: Worker = bench.exerciser(runs).await?;
    let mut memory = Vec::new();
    let settings = bench.settings.json().to_string();
    for (threads, times) in runs {
        let peer = Scripted::new(&[], Behaviour::Slow, KEY, Duration::from_secs(60));
        let exercised = worker.open(&settings, &peer).await;
        let returned = exercised.map_err(|cause| crash(cause.to_string()))?;
        let reply = returned.reply.ok().flatten().unwrap_or_default();
        let reply: Value = serde_json::from_str(&reply).unwrap_or_default();
        if let Some(odd) = reply["odd"].get(0).and_then(Value::as_str) {
            return Err(fail(format!("with {threads} instances at once, {times} times: {odd}")));
        }
        memory.push(worker.memory());
    }
    Ok(memory)
}

async fn threads(bench: &mut Bench) -> Done {
    bench.able().await?;
    exercise(bench, &[(16, 50)]).await.map(drop)
}

async fn leak(bench: &mut Bench) -> Done {
    /// Of three calls each.
    const TIMES: usize = 3400;
    const MOST: u64 = 1 << 20;
    bench.able().await?;
    // The first ones fill pools and caches.
    let memory = exercise(bench, &[(1, 600), (1, TIMES)]).await?;
    let [Some(before), Some(after)] = memory[..] else {
        return Err(skip("this platform doesn't tell a process's memory"));
    };
    let more = after.saturating_sub(before);
    if more > MOST {
        let each = more / TIMES as u64;
        return Err(fail(format!(
            "it has {} KiB more after {TIMES} instances: {each} bytes each",
            more >> 10
        )));
    }
    Ok(())
}

async fn secret(bench: &mut Bench) -> Done {
    bench.manifest()?;
    // With the other cases' calls; these are there when it runs alone.
    for code in [200, 401, 500] {
        for operation in OPERATIONS {
            let behaviour = Behaviour::Always(answered(code, r#"{"message": "no"}"#));
            bench.call(operation, &incident(), KEY, behaviour).await?;
        }
    }
    match &bench.leak {
        None => Ok(()),
        Some(leak) => Err(fail(leak)),
    }
}
