//! Tickets in a real Request Tracker: what was asked for against what RT has. `tests/real/rt.sh`
//! starts one and runs these.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpListener;

use serde_json::{Value, json};
use ticket_host_tests::{ISOLATIONS, Installation, incident, rust_plugin};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Every recorded incident as a ticket plugin gets it, and one as API v3 gives it.
const INCIDENTS: [&str; 16] = [
    "plugin-bare-relative-details",
    "plugin-closed",
    "plugin-closed-micros",
    "plugin-empty-description",
    "plugin-html",
    "plugin-long",
    "plugin-newlines",
    "plugin-no-end-time-given",
    "plugin-open-infinity",
    "plugin-open-micros",
    "plugin-stateless",
    "plugin-tags-equals",
    "plugin-tags-none",
    "plugin-tags-same-key",
    "plugin-unicode",
    "v3-unicode",
];

const INFORMATION: &str = r#"
requestor = ["ada@example.org", "argus"]
custom_fields_set = { Location = "Trondheim" }
custom_fields_mapping = { "Start Time" = "start_time", "End Time" = "end_time", Severity = { tag = "severity" } }
"#;

fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("no {name}: run tests/real/rt.sh"))
}

fn token(user: &str) -> String {
    format!("{{ token = \"{}\" }}", env(&format!("RT_TOKEN_{user}")))
}

fn password(user: &str, password: &str) -> String {
    format!("{{ username = \"{user}\", password = \"{password}\" }}")
}

/// A host with a backend for the real RT.
fn host_at(endpoint: &str, secret: &str, queue: &str, more: &str) -> Installation {
    let rest = format!("secret = {secret}\n[backends.b.information]\nqueue = {queue}\n{more}");
    Installation::with(&rust_plugin("rt"), endpoint, &rest)
}

fn host(secret: &str, queue: &str, more: &str) -> Installation {
    host_at(&env("RT_URL"), secret, &format!("\"{queue}\""), more)
}

/// What RT says to root.
fn rest(path: &str) -> Value {
    let agent = ureq::Agent::new_with_config(ureq::Agent::config_builder().proxy(None).build());
    let token = format!("token {}", env("RT_TOKEN_ROOT"));
    let url = format!("{}/REST/2.0/{path}", env("RT_URL"));
    let mut answer = agent.get(&url).header("Authorization", &token).call().unwrap();
    answer.body_mut().read_json().unwrap()
}

fn set_status(id: &str, status: &str) {
    let agent = ureq::Agent::new_with_config(ureq::Agent::config_builder().proxy(None).build());
    let token = format!("token {}", env("RT_TOKEN_ROOT"));
    let url = format!("{}/REST/2.0/ticket/{id}", env("RT_URL"));
    agent.put(&url).header("Authorization", &token).send_json(json!({"Status": status})).unwrap();
}

/// A key that no other test has.
fn key(name: &str) -> String {
    format!("https://argus.example.org/incidents/{name}")
}

fn id(url: &str) -> String {
    let (page, id) = url.trim().split_once("?id=").unwrap();
    assert_eq!(page, format!("{}/Ticket/Display.html", env("RT_URL")));
    id.to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()).collect()
}

/// The text that a browser shows of HTML without pre-formatted parts.
fn shown(html: &str) -> String {
    let mut text = String::new();
    for (nth, part) in html.split('<').enumerate() {
        match part.split_once('>') {
            Some((_tag, after)) if nth > 0 => {
                text.push(' ');
                text.push_str(after);
            }
            _ => text.push_str(part),
        }
    }
    for (entity, c) in
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")]
    {
        text = text.replace(entity, c);
    }
    words(&text)
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The body that a ticket of `incident` has, as words.
fn expected_body(incident: &Value, missing: &[String], warnings: &[String]) -> String {
    let text = |name: &str| incident[name].as_str().unwrap_or_default().to_owned();
    let mut sections =
        vec![("Description", text("description")), ("Start time", text("start_time"))];
    if text("end_time") != "infinity" {
        sections.push(("End time", text("end_time")));
    }
    let source = &incident["source"];
    sections.push(("Source", source["name"].as_str().unwrap_or_default().to_owned()));
    sections.push(("Argus URL", text("argus_url")));
    sections.push(("Details URL", text("details_url")));
    let tags = incident["tags"].as_array().unwrap().iter();
    let tags = tags.map(|tag| tag["tag"].as_str().or(tag.as_str()).unwrap());
    sections.push(("Tags", tags.collect::<Vec<_>>().join(" ")));
    sections.push(("Argus User", text("user")));
    sections.push(("Missing fields/tags", missing.join(" ")));
    sections.push(("Not as asked for", warnings.join(" ")));
    sections.retain(|(_, text)| !text.is_empty());
    let all: Vec<String> = sections.iter().map(|(title, text)| format!("{title} {text}")).collect();
    words(&all.join(" "))
}

/// To the second, as RT keeps it.
fn instant(time: &str) -> i64 {
    OffsetDateTime::parse(time, &Rfc3339).unwrap().unix_timestamp()
}

/// The custom fields that a ticket has: those with a value.
fn custom_fields(ticket: &Value) -> BTreeMap<String, Vec<String>> {
    let fields = ticket["CustomFields"].as_array().unwrap().iter();
    let fields = fields.map(|f| (f["name"].as_str().unwrap().to_owned(), texts(&f["values"])));
    fields.filter(|(_, values)| !values.is_empty()).collect()
}

fn links(ticket: &Value) -> BTreeSet<String> {
    let links = ticket["_hyperlinks"].as_array().unwrap().iter();
    let links = links.filter(|link| link["ref"] == "refers-to");
    links.map(|link| link["_url"].as_str().unwrap().to_owned()).collect()
}

/// Compares the ticket in RT, member by member, with the incident that it was made from.
fn compare(incident: &Value, reply: &Value) {
    let description = incident["description"].as_str().unwrap();
    let id = reply["id"].as_str().unwrap();
    let ticket = rest(&format!("ticket/{id}"));
    let (missing, warnings) = (texts(&reply["missing_fields"]), texts(&reply["warnings"]));

    let subject = ticket["Subject"].as_str().unwrap();
    if description.is_empty() {
        assert_eq!(subject, "Incident 13 from nav.example.org");
    } else if description.len() > 200 {
        assert!(description.starts_with(subject.strip_suffix('…').unwrap()), "{subject}");
    } else {
        assert_eq!(words(subject), words(description));
        assert!(!subject.contains('\n'), "{subject:?}");
    }

    let path = format!("ticket/{id}/attachments?fields=Content,ContentType&orderby=id&per_page=1");
    let body = &rest(&path)["items"][0];
    assert_eq!(body["ContentType"], "text/html");
    let body = shown(body["Content"].as_str().unwrap());
    assert_eq!(body, expected_body(incident, &missing, &warnings));

    let mut urls = links(&ticket);
    let markers = urls.extract_if(.., |url| url.starts_with("urn:ticket-host:sha256:"));
    assert_eq!(markers.count(), 1);
    let expected = ["argus_url", "details_url"].map(|name| incident[name].as_str().unwrap_or(""));
    let expected = expected.iter().filter(|url| url.starts_with("http") && url.len() <= 240);
    assert_eq!(urls, expected.map(|url| (*url).to_owned()).collect());

    let mut fields = custom_fields(&ticket);
    let mut lacking = Vec::new();
    for (field, time) in
        [("End Time", &incident["end_time"]), ("Start Time", &incident["start_time"])]
    {
        let stored = fields.remove(field);
        match time.as_str() {
            Some("infinity") => assert_eq!(stored, None),
            None => lacking.push("end_time"),
            Some(time) => assert_eq!(instant(&stored.unwrap()[0]), instant(time), "{field}"),
        }
    }
    let severity = fields.remove("Severity");
    match description {
        "trd-gw1 is down" => assert_eq!(severity.unwrap(), ["critical"]),
        _ => lacking.push("severity"),
    }
    assert_eq!(missing, lacking);
    assert_eq!(fields.remove("Location").unwrap(), ["Trondheim"]);
    assert!(fields.is_empty(), "{fields:?}");

    let requestors = ticket["Requestor"].as_array().unwrap().iter();
    let requestors: BTreeSet<&str> = requestors.map(|user| user["id"].as_str().unwrap()).collect();
    assert_eq!(requestors, BTreeSet::from(["ada@example.org", "argus"]));
}

/// Creates, compares and creates again.
fn every_incident(secret: &str, login: &str) {
    let host = host(secret, "General", INFORMATION);
    for name in INCIDENTS {
        let key = key(&format!("{login}-{name}"));
        let reply = host.create(name, &["--json", "--key", &key]).ended(0).json();
        assert_eq!(reply["created"], true, "{name}");
        let expected = if name == "plugin-long" { 2 } else { 0 };
        assert_eq!(reply["warnings"].as_array().unwrap().len(), expected, "{reply}");
        let text = fs::read_to_string(incident(name)).unwrap();
        compare(&serde_json::from_str(&text).unwrap(), &reply);

        let again = host.create(name, &["--json", "--key", &key]).ended(0).json();
        assert_eq!(again["created"], false, "{name}");
        assert_eq!(again["url"], reply["url"], "{name}");
    }
}

#[test]
#[ignore = "needs a real RT: run tests/real/rt.sh"]
fn every_recorded_incident_becomes_the_ticket_that_was_asked_for_with_a_token() {
    every_incident(&token("ARGUS"), "token");
}

#[test]
#[ignore = "needs a real RT: run tests/real/rt.sh"]
fn every_recorded_incident_becomes_the_ticket_that_was_asked_for_with_a_password() {
    every_incident(&password("argus", "argus-password"), "password");
}

#[test]
#[ignore = "needs a real RT: run tests/real/rt.sh"]
fn a_password_in_latin1_logs_in() {
    let host = host(&password("latin1", "pässwörd"), "General", "");
    host.create("plugin-closed", &["--key", &key("latin1")]).ended(0);
}

#[test]
#[ignore = "needs a real RT: run tests/real/rt.sh"]
fn both_ways_to_run_the_plugin_and_a_config_of_argus_names_give_the_same_ticket() {
    let mut urls = BTreeSet::new();
    for isolation in ISOLATIONS {
        let host = Installation::new();
        host.add(&rust_plugin("rt"));
        host.config(&format!(
            "[backends.b]\nplugin = \"argus_ticket_rt.RequestTrackerPlugin\"\n\
             isolation = \"{isolation}\"\nendpoint = \"{}/\"\nsecret = {}\n\
             information = {{ queue = \"General\" }}\n",
            env("RT_URL"),
            token("ARGUS"),
        ));
        urls.insert(host.create("plugin-closed", &["--key", &key("both-ways")]).ended(0).stdout);
    }
    assert_eq!(urls.len(), 1, "{urls:?}");
}

#[test]
#[ignore = "needs a real RT: run tests/real/rt.sh"]
fn a_ticket_is_found_by_its_whole_key_whatever_became_of_it() {
    let host = host(&token("ARGUS"), "General", "");
    let create = |key: &str, more: &[&str]| {
        let arguments = [&["--json", "--key", key], more].concat();
        host.create("plugin-closed", &arguments).ended(0).json()
    };
    let (twelve, other) = (key("12"), key("123"));
    let first = create(&twelve, &[]);
    let second = create(&other, &[]);
    assert_ne!(first["url"], second["url"]);
    assert_ne!(first["url"], create(&twelve.to_uppercase(), &[])["url"]);
    set_status(&id(first["url"].as_str().unwrap()), "resolved");
    assert_eq!(create(&twelve, &[])["url"], first["url"]);
    let forced = create(&twelve, &["--force"]);
    assert_ne!(forced["url"], first["url"]);
    assert_eq!(create(&twelve, &[])["url"], first["url"], "the oldest is the incident's ticket");
}

#[test]
#[ignore = "needs a real RT: run tests/real/rt.sh"]
fn queues_go_by_name_in_any_case_and_by_number() {
    for (nth, (queue, name)) in [
        ("\"Drift og Nett\"", "Drift og Nett"),
        ("\"Nett ÆØÅ\"", "Nett ÆØÅ"),
        ("\"Kø/Æøå\"", "Kø/Æøå"),
        ("\"100% #1?\"", "100% #1?"),
        ("\"noc\"", "NOC"),
        ("\"3\"", "NOC"),
        ("3", "NOC"),
    ]
    .into_iter()
    .enumerate()
    {
        let host = host_at(&env("RT_URL"), &token("ARGUS"), queue, "");
        let run = host.create("plugin-closed", &["--key", &key(&format!("queue-{nth}"))]).ended(0);
        let number = &rest(&format!("ticket/{}", id(&run.stdout)))["Queue"]["id"];
        assert_eq!(rest(&format!("queue/{}", number.as_str().unwrap()))["Name"], name);
        let checks = host.run(&["check"]).ended(0).stdout;
        assert!(checks.contains("ok      queue: tickets can be created in"), "{checks}");
    }
}

#[test]
#[ignore = "needs a real RT: run tests/real/rt.sh"]
fn what_rt_does_not_store_is_a_warning_and_the_rest_a_ticket() {
    let fields = |fields: &str| format!("custom_fields_set = {{ {fields} }}");
    let (token, nocf) = (token("ARGUS"), password("nocf", "nocf-password"));
    for (nth, (secret, more, warning)) in [
        (&token, fields("Nope = \"x\""), "custom field Nope: queue General has none of that name"),
        (&token, fields("Must = \"x\""), "custom field Must: queue General has none of that name"),
        (&token, fields("Location = \"Bergen\""), "custom field Location: RT stored [] and not"),
        (&token, fields("Address = \"10.0.0.300\""), "custom field Address: RT stored [] and not"),
        (&token, fields("Digits = \"x1\""), "custom field Digits: RT stored [] and not"),
        (&token, fields("Severity = [\"a\", \"b\"]"), "custom field Severity: RT stored [\"b\"]"),
        (&nocf, fields("Severity = \"a\""), "custom field Severity: RT stored [] and not"),
        (&token, "requestor = [\"not an address\"]".to_owned(), "RT took 0 of the requestors"),
    ]
    .into_iter()
    .enumerate()
    {
        let host = host(secret, "General", &more);
        let key = key(&format!("warning-{nth}"));
        let run = host.create("plugin-closed", &["--key", &key]).ended(0).says(warning);
        id(&run.stdout);
        assert_eq!(
            run.stderr.matches("warning: ").count(),
            2,
            "{} and the secret's mode",
            run.stderr
        );
    }
}

#[test]
#[ignore = "needs a real RT: run tests/real/rt.sh"]
fn values_that_rt_writes_its_own_way_are_no_warnings() {
    let more = "custom_fields_set = { address = \"2001:db8::1\", Digits = 12, \"Start Time\" = \
                \"2026-07-01T23:30:00.5-02:00\" }";
    let host = host(&token("ARGUS"), "General", more);
    let reply = host.create("plugin-closed", &["--json", "--key", &key("own-way")]).ended(0).json();
    assert_eq!(reply["warnings"], json!([]));
    let fields = custom_fields(&rest(&format!("ticket/{}", reply["id"].as_str().unwrap())));
    assert_eq!(fields["Start Time"], ["2026-07-02T01:30:00Z"]);
    assert_eq!(fields["Digits"], ["12"]);
    assert!(fields.contains_key("Address"));
}

#[test]
#[ignore = "needs a real RT: run tests/real/rt.sh"]
fn a_user_who_may_only_create_gets_a_ticket_and_is_told_what_that_means() {
    let host = host(&password("createonly", "createonly-password"), "General", INFORMATION);
    let run = host.create("plugin-closed", &["--key", &key("createonly")]).ended(0);
    let ticket = rest(&format!("ticket/{}", id(&run.stdout)));
    assert_eq!(ticket["Subject"], "a closed one");
    run.says("right ShowTicket").says("a second create makes a second ticket");
}

#[test]
#[ignore = "needs a real RT: run tests/real/rt.sh"]
fn each_refusal_has_its_exit_code_and_rts_reason() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let rt = env("RT_URL");
    let argus = token("ARGUS");
    let general = "\"General\"";
    for (endpoint, secret, queue, code, reason) in [
        (rt.clone(), password("argus", "wrong"), general, 3, "RT refuses the login (401"),
        (rt.clone(), password("nobody-there", "wrong"), general, 3, "check username and password"),
        (rt.clone(), "{ token = \"1-14-0123456789abcdef\" }".into(), general, 3, "check the token"),
        (rt.clone(), password("utf8", "pä:ss€wörd"), general, 3, "use a token instead"),
        (rt.clone(), token("ROOT"), "\"Nope\"", 3, "RT has no queue \"Nope\""),
        (
            rt.clone(),
            argus.clone(),
            "\"Nope\"",
            3,
            "No permission to create tickets in the queue 'Nope'",
        ),
        (
            rt.clone(),
            argus.clone(),
            "\"No/pe\"",
            3,
            "No permission to create tickets in the queue 'No/pe'",
        ),
        (rt.clone(), argus.clone(), "\"Hidden\"", 3, "No permission to create tickets"),
        (rt.clone(), argus.clone(), "\"Closed\"", 3, "queue \"Closed\" is disabled"),
        (rt.clone(), token("NORIGHTS"), general, 3, "No permission to create tickets"),
        (
            rt.clone(),
            password("seeonly", "seeonly-password"),
            general,
            3,
            "No permission to create",
        ),
        (format!("{rt}/wrong/path"), argus.clone(), general, 3, "isn't an RT with REST 2.0"),
        (
            format!("{rt}/index.html"),
            password("argus", "argus-password"),
            general,
            3,
            "isn't an RT",
        ),
        (format!("http://{closed}"), argus.clone(), general, 4, "Connection refused"),
        (rt.replace("http:", "https:"), argus.clone(), general, 4, "can't be reached"),
    ] {
        let host = host_at(&endpoint, &secret, queue, "");
        let run = host.create("plugin-closed", &["--key", &key("refused")]);
        let run = run.ended(code).says(reason);
        assert_eq!(run.stdout, "");
        for secret in ["argus-password", &env("RT_TOKEN_ARGUS"), "pä:ss", "0123456789abcdef"] {
            assert!(!run.stderr.contains(secret), "{}", run.stderr);
        }
    }
}

#[test]
#[ignore = "needs a real RT: run tests/real/rt.sh"]
fn check_tells_what_is_missing_and_creates_nothing() {
    let argus = token("ARGUS");
    let nope = "custom_fields_set = { Nope = \"x\", Severity = \"1\" }";
    for (secret, queue, more, code, lines) in [
        (
            argus.as_str(),
            "General",
            INFORMATION,
            0,
            &["ok      login: RT 5.", "ok      custom field Severity", "ok      search"][..],
        ),
        (
            &argus,
            "General",
            nope,
            3,
            &["FAILED  custom field Nope", "ok      custom field Severity"],
        ),
        (&argus, "Hidden", "", 3, &["ok      login", "FAILED  queue"]),
        (&argus, "Closed", "", 3, &["FAILED  queue"]),
        (&password("seeonly", "seeonly-password"), "General", "", 3, &["may not create tickets"]),
        (&password("argus", "wrong"), "General", "", 3, &["FAILED  login"]),
    ] {
        let run = host(secret, queue, more).run(&["check"]).ended(code);
        for line in lines {
            assert!(run.stdout.contains(line), "no {line} in {}", run.stdout);
        }
    }
    let host = host(&argus, "General", "requestor = \"check@example.org\"");
    host.run(&["check"]).ended(0);
    let created =
        || rest("tickets?query=Requestor.EmailAddress='check@example.org'")["total"].clone();
    assert_eq!(created(), 0);
    host.create("plugin-closed", &["--key", &key("check")]).ended(0);
    assert_eq!(created(), 1, "a ticket would have been found");
}

#[test]
#[ignore = "needs a real RT: run tests/real/rt.sh"]
fn a_dry_run_shows_the_requests_without_the_secret_and_creates_nothing() {
    let key = key("dry");
    let host = host(&token("ARGUS"), "General", INFORMATION);
    let run = host.create("plugin-closed", &["--dry-run", "--key", &key]).ended(0);
    let post = format!("POST {}/REST/2.0/ticket", env("RT_URL"));
    assert!(
        run.stdout.contains(&post) && run.stdout.contains("Authorization: token ***"),
        "{run:?}"
    );
    assert!(!run.stdout.contains(&env("RT_TOKEN_ARGUS")));
    let created = host.create("plugin-closed", &["--json", "--key", &key]).ended(0).json();
    assert_eq!(created["created"], true, "the dry run had created none");
}
