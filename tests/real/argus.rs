//! Tickets for a real Argus in a real Request Tracker: the button's and the watcher's.
//! `tests/real/argus.sh` installs both and runs this.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ticket_host_tests::{Installation, agent, rust_plugin, wait_for};

use crate::chaos::TOLD_AT_ONCE;

const FILED: usize = 20;

fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("no {name}: run tests/real/argus.sh"))
}

/// A running Argus; it is stopped when this is dropped.
struct Argus(BTreeMap<String, String>);

impl Argus {
    /// With the host as its ticket plugin's endpoint.
    fn start(endpoint: &str) -> Argus {
        let state = PathBuf::from(env("ARGUS_STATE"));
        let up = concat!(env!("CARGO_MANIFEST_DIR"), "/real/argus/up.sh");
        let mut command = Command::new("bash");
        command.arg(up).env("STATE", &state).env("TICKET_ENDPOINT", endpoint);
        command.env("TICKET_AUTHENTICATION_SECRET", r#"{"token": "service-token"}"#);
        command.env("TICKET_INFORMATION", r#"{"backend": "b", "timeout": 30}"#);
        // Its pages are elsewhere than its API.
        command.env("ARGUS_FRONTEND_URL", "https://noc.example.org/");
        assert!(command.status().unwrap().success());
        let described = fs::read_to_string(state.join("argus.env")).unwrap();
        let pairs = described.lines().filter_map(|line| line.split_once('='));
        Argus(pairs.map(|(n, v)| (n.to_owned(), v.trim_matches('\'').to_owned())).collect())
    }

    fn ask(&self, method: &str, path: &str, token: &str, body: Value) -> (u16, Value) {
        let url = format!("{}/api/v2/incidents/{path}", self.0["ARGUS_URL"]);
        let token = format!("Token {}", self.0[token]);
        let agent = agent();
        let sent = match method {
            "GET" => agent.get(url).header("Authorization", token).call(),
            "PUT" => agent.put(url).header("Authorization", token).send_json(body),
            "PATCH" => agent.patch(url).header("Authorization", token).send_json(body),
            _ => agent.post(url).header("Authorization", token).send_json(body),
        };
        let mut response = sent.unwrap();
        let text = response.body_mut().read_to_string().unwrap();
        (response.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// A new incident's number.
    fn incident(&self, description: &str) -> i64 {
        self.incident_with(description, "")
    }

    /// The number of a new incident that has this ticket.
    fn incident_with(&self, description: &str, ticket_url: &str) -> i64 {
        let mut incident = json!({"start_time": "2026-11-23T07:00:00Z", "end_time": "infinity",
            "source_incident_id": description, "description": description, "level": 2,
            "details_url": "https://nav.example.org/1", "tags": [{"tag": "severity=major"}]});
        if !ticket_url.is_empty() {
            incident["ticket_url"] = ticket_url.into();
        }
        let (status, made) = self.ask("POST", "", "ARGUS_SOURCE_TOKEN", incident);
        assert_eq!(status, 201, "{made}");
        made["pk"].as_i64().unwrap()
    }

    /// Adds an event of that type to an incident, as its source does.
    fn event(&self, pk: i64, kind: &str) {
        let now = time::OffsetDateTime::now_utc();
        let now = now.format(&time::format_description::well_known::Rfc3339).unwrap();
        let event = json!({"timestamp": now, "type": kind, "description": ""});
        let (status, answer) =
            self.ask("POST", &format!("{pk}/events/"), "ARGUS_SOURCE_TOKEN", event);
        assert_eq!(status, 201, "{answer}");
    }

    fn set_level(&self, pk: i64, level: i64) {
        let (status, answer) =
            self.ask("PATCH", &format!("{pk}/"), "ARGUS_TOKEN", json!({"level": level}));
        assert_eq!(status, 200, "{answer}");
    }

    fn press_the_button(&self, pk: i64) -> (u16, Value) {
        self.ask("PUT", &format!("{pk}/automatic-ticket/"), "ARGUS_TOKEN", json!({}))
    }

    fn ticket_url(&self, pk: i64) -> String {
        let (_, incident) = self.ask("GET", &format!("{pk}/"), "ARGUS_TOKEN", Value::Null);
        incident["ticket_url"].as_str().unwrap().to_owned()
    }
}

impl Drop for Argus {
    fn drop(&mut self) {
        for (name, signal) in [("ARGUS_PID", "-TERM"), ("PG_PID", "-INT")] {
            let _ = Command::new("kill").arg(signal).arg(&self.0[name]).status();
        }
    }
}

/// The subject of a ticket of RT's.
fn subject(url: &str) -> String {
    let id = url.strip_prefix(&format!("{}/Ticket/Display.html?id=", env("RT_URL"))).unwrap();
    let mut answer = agent()
        .get(format!("{}/REST/2.0/ticket/{id}", env("RT_URL")))
        .header("Authorization", format!("token {}", env("RT_TOKEN_ROOT")))
        .call()
        .unwrap();
    let ticket: Value = serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap();
    ticket["Subject"].as_str().unwrap().to_owned()
}

/// What RT says of a ticket, and the texts of its comments.
fn in_rt(url: &str) -> (String, Vec<String>) {
    let id = url.rsplit_once("id=").unwrap().1;
    let ask = |path: &str| -> Value {
        let mut answer = agent()
            .get(format!("{}/REST/2.0/ticket/{id}{path}", env("RT_URL")))
            .header("Authorization", format!("token {}", env("RT_TOKEN_ROOT")))
            .call()
            .unwrap();
        serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap()
    };
    let status = ask("")["Status"].as_str().unwrap().to_owned();
    let texts = ask("/attachments?fields=Content&per_page=100");
    let texts = texts["items"].as_array().unwrap().iter().filter_map(|it| it["Content"].as_str());
    (status, texts.filter(|text| text.contains("step:")).map(str::to_owned).collect())
}

/// Twenty incidents change, end and begin again, and each ticket follows.
fn tickets_follow_their_incidents(host: &Installation, argus: &Argus) {
    const POLL: Duration = Duration::from_secs(15);
    let config_file = host.path("config.toml");
    let before = fs::read_to_string(&config_file).unwrap();
    let told = format!("[backends.b]\n{TOLD_AT_ONCE}concurrency = 8\n");
    let told = before
        .replace("[backends.b]\n", &told)
        .replace("interval_seconds = 1\n", &format!("interval_seconds = {}\n", POLL.as_secs()));
    fs::write(&config_file, told).unwrap();
    let lives: Vec<i64> = (0..FILED).map(|n| argus.incident(&format!("lives {n}"))).collect();
    wait_for("all URLs", || lives.iter().all(|pk| !argus.ticket_url(*pk).is_empty()));
    let urls: Vec<String> = lives.iter().map(|pk| argus.ticket_url(*pk)).collect();
    let follow = |what: &str, status: &str, comments: usize, said: &str| {
        let began = Instant::now();
        wait_for(what, || {
            urls.iter().all(|url| {
                let (is, texts) = in_rt(url);
                is == status && texts.len() == comments && texts.iter().any(|t| t.contains(said))
            })
        });
        let took = began.elapsed();
        println!(
            "{what}: {FILED} tickets after {took:?}, {:.1} polls",
            took.div_duration_f64(POLL)
        );
    };
    lives.iter().for_each(|pk| argus.set_level(*pk, 1));
    follow("a comment each", "new", 1, "has changed (level 1, it was 2)");
    lives.iter().for_each(|pk| argus.event(*pk, "END"));
    follow("closed, each", "resolved", 2, "has ended at 20");
    lives.iter().for_each(|pk| argus.event(*pk, "RES"));
    follow("open again, each", "open", 3, "has begun again");
    for (n, pk) in lives.iter().enumerate() {
        assert_eq!(argus.ticket_url(*pk), urls[n], "the same ticket");
        assert_eq!(tickets(&format!("lives {n}")), 1);
    }
    fs::write(&config_file, before).unwrap();
    host.logged("config and plugins were read again", 3);
}

/// Tickets are closed in RT, and their incidents are acknowledged or closed in Argus: within two polls, or at once by a webhook.
fn incidents_hear_of_their_tickets(host: &Installation, service: &str, argus: &Argus) {
    const POLL: Duration = Duration::from_secs(20);
    const SECRET: &str = "a-secret-of-rts-scrip";
    let config_file = host.path("config.toml");
    let before = fs::read_to_string(&config_file).unwrap();
    let mut read_again = host.log().matches("config and plugins were read again").count();
    let mut settings = |on_ticket_closed: &str, poll: Duration| {
        let told = format!(
            "[backends.b]\non_ticket_closed = \"{on_ticket_closed}\"\npoll = \"{}s\"\n",
            poll.as_secs()
        );
        let secret = format!("secret = {{ webhook_secret = \"{SECRET}\", token");
        let with = before.replace("[backends.b]\n", &told).replace("secret = { token", &secret);
        fs::write(&config_file, with).unwrap();
        read_again += 1;
        host.logged("config and plugins were read again", read_again);
    };
    let pks: Vec<i64> = (0..4).map(|n| argus.incident(&format!("hears {n}"))).collect();
    wait_for("all URLs", || pks.iter().all(|pk| !argus.ticket_url(*pk).is_empty()));
    let shown = |pk: i64| argus.ask("GET", &format!("{pk}/"), "ARGUS_TOKEN", Value::Null).1;
    let hears = |what: &str, done: &dyn Fn() -> bool| {
        let began = Instant::now();
        wait_for(what, done);
        let took = began.elapsed();
        println!("{what}: after {took:?}, {:.1} polls", took.div_duration_f64(POLL));
        took
    };
    settings("ack", POLL);
    set_status(&argus.ticket_url(pks[0]), "resolved");
    let took = hears("acknowledged", &|| shown(pks[0])["acked"] == true);
    // The watcher hears of it at once; RT and Argus answer slowly here.
    assert!(took < 2 * POLL + POLL / 2, "{took:?}");
    let (_, acks) = argus.ask("GET", &format!("{}/acks/", pks[0]), "ARGUS_TOKEN", Value::Null);
    let why = acks[0]["event"]["description"].as_str().unwrap();
    assert!(why.contains(&argus.ticket_url(pks[0])) && why.contains("was closed"), "{why}");
    settings("end", POLL);
    set_status(&argus.ticket_url(pks[1]), "rejected");
    let took = hears("closed", &|| shown(pks[1])["open"] == false);
    assert!(took < 2 * POLL + POLL / 2, "{took:?}");
    settings("end", Duration::from_secs(3600));
    let url = argus.ticket_url(pks[2]);
    set_status(&url, "resolved");
    assert_eq!(shown(pks[2])["open"], true);
    scrip(&format!("{service}/v1/hooks/b"), SECRET);
    // RT's scrip tells of the next change.
    set_status(&url, "open");
    set_status(&url, "resolved");
    let took = hears("closed by a webhook", &|| shown(pks[2])["open"] == false);
    assert!(took < POLL, "{took:?}");
    assert_eq!((&shown(pks[3])["acked"], &shown(pks[3])["open"]), (&json!(false), &json!(true)));
    fs::write(&config_file, &before).unwrap();
    host.logged("config and plugins were read again", read_again + 1);
}

/// A ticket that a person made is given to an incident, and to another one a ticket that the watcher made.
fn a_persons_ticket_is_adopted(host: &Installation, argus: &Argus) {
    let config_file = host.path("config.toml");
    let before = fs::read_to_string(&config_file).unwrap();
    let read_again = host.log().matches("config and plugins were read again").count();
    let told = format!("[backends.b]\n{TOLD_AT_ONCE}");
    fs::write(&config_file, before.replace("[backends.b]\n", &told)).unwrap();
    host.logged("config and plugins were read again", read_again + 1);
    let by_hand = ticket_by_hand("by hand");
    let given = argus.incident_with("given", &by_hand);
    host.logged(&format!("adopted: a person gave it the ticket {by_hand}"), 1);
    argus.set_level(given, 1);
    let (mut status, mut texts) = in_rt(&by_hand);
    wait_for("a comment on the person's ticket", || {
        (status, texts) = in_rt(&by_hand);
        texts.len() == 1
    });
    assert!(texts[0].contains("has changed (level 1, it was 2)"), "{texts:?}");
    let (answer, _) = argus.press_the_button(given);
    assert_eq!((answer, argus.ticket_url(given)), (200, by_hand.clone()));
    argus.event(given, "END");
    wait_for("another comment", || {
        (status, texts) = in_rt(&by_hand);
        texts.len() == 2
    });
    assert!(texts.iter().any(|text| text.contains("has ended at 20")), "{texts:?}");
    assert_eq!(status, "new", "people close it");
    // The button, the watcher and a given URL, written in another way, meet in one ticket.
    let (watched, pressed) = (argus.incident("watched"), argus.incident("watched, pressed"));
    argus.press_the_button(pressed);
    wait_for("their URLs", || {
        [watched, pressed].iter().all(|pk| !argus.ticket_url(*pk).is_empty())
    });
    let meeting = argus.ticket_url(watched);
    let third = argus.incident_with("third", &format!("{meeting}#txn-1"));
    host.logged(&format!("adopted: a person gave it the ticket {meeting}#txn-1"), 1);
    assert_eq!(argus.press_the_button(third).0, 200);
    argus.event(watched, "END");
    argus.event(pressed, "END");
    wait_for("the other one to be closed", || in_rt(&argus.ticket_url(pressed)).0 == "resolved");
    assert_eq!(in_rt(&meeting).0, "new", "the third goes on");
    argus.event(third, "END");
    wait_for("it to be closed", || in_rt(&meeting).0 == "resolved");
    assert_eq!(
        (tickets("watched"), tickets("third"), tickets("given")),
        (json!(1), json!(0), json!(0))
    );
    fs::write(&config_file, before).unwrap();
    host.logged("config and plugins were read again", read_again + 2);
}

/// The URL of a ticket that a person makes in RT.
fn ticket_by_hand(subject: &str) -> String {
    let mut answer = agent()
        .post(format!("{}/REST/2.0/ticket", env("RT_URL")))
        .header("Authorization", format!("token {}", env("RT_TOKEN_ROOT")))
        .send_json(json!({"Queue": "General", "Subject": subject}))
        .unwrap();
    let made: Value = serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap();
    format!("{}/Ticket/Display.html?id={}", env("RT_URL"), made["id"].as_str().unwrap())
}

/// The host's user in RT loses its rights: by that no ticket is closed or gone.
fn a_lost_permission_closes_nothing(host: &Installation, service: &str, argus: &Argus) {
    let config_file = host.path("config.toml");
    let before = fs::read_to_string(&config_file).unwrap();
    let read_again = host.log().matches("config and plugins were read again").count();
    let told = "[backends.b]\non_ticket_closed = \"end\"\npoll = \"1s\"\nclosed_states = [\"closed\", \"cancelled\", \"gone\"]\n";
    fs::write(&config_file, before.replace("[backends.b]\n", told)).unwrap();
    host.logged("config and plugins were read again", read_again + 1);
    let pk = argus.incident("unseen");
    wait_for("its URL", || !argus.ticket_url(pk).is_empty());
    let refused = || {
        let metrics = agent()
            .get(format!("{service}/metrics"))
            .header("Authorization", "Bearer service-token")
            .call();
        let metrics = metrics.unwrap().body_mut().read_to_string().unwrap();
        let of_403 = |line: &&str| {
            line.starts_with("ticket_host_gateway_responses_total") && line.contains("\"403\"")
        };
        let count = metrics.lines().find(of_403).and_then(|line| line.rsplit_once(' '));
        count.map_or(0, |(_, count)| count.parse::<u64>().unwrap())
    };
    let earlier = refused();
    rights("RevokeRight");
    wait_for("RT to refuse the ticket in four polls", || refused() >= earlier + 4);
    let shown = argus.ask("GET", &format!("{pk}/"), "ARGUS_TOKEN", Value::Null).1;
    assert_eq!((&shown["open"], &shown["acked"]), (&json!(true), &json!(false)));
    rights("GrantRight");
    set_status(&argus.ticket_url(pk), "resolved");
    let open = || argus.ask("GET", &format!("{pk}/"), "ARGUS_TOKEN", Value::Null).1["open"].clone();
    wait_for("it to be heard when it may be seen again", || open() == false);
    fs::write(&config_file, before).unwrap();
    host.logged("config and plugins were read again", read_again + 2);
}

/// Grants or revokes what the host's user needs to see tickets in the queue General.
fn rights(does: &str) {
    const DOES: &str = r#"use RT -init;
        my $user = RT::User->new(RT->SystemUser); $user->Load('argus');
        my $queue = RT::Queue->new(RT->SystemUser); $queue->Load('General');
        my $does = $ENV{DOES};
        for my $right (qw(ShowTicket SeeQueue)) {
            my ($ok, $why) = $user->PrincipalObj->$does(Object => $queue, Right => $right);
            die $why unless $ok;
        }"#;
    in_perl(DOES, "DOES", does);
}

/// RT is away: one incident is raised in Argus, and ended when it is back.
fn an_rt_that_is_away_raises_one_incident(host: &Installation, argus: &Argus) {
    /// RT's processes stand still until this is dropped.
    struct Away(String);
    impl Away {
        fn begin() -> Away {
            let group = format!("-{}", env("RT_PID"));
            assert!(Command::new("kill").args(["-STOP", "--", &group]).status().unwrap().success());
            Away(group)
        }
    }
    impl Drop for Away {
        fn drop(&mut self) {
            let _ = Command::new("kill").args(["-CONT", "--", &self.0]).status();
        }
    }
    let config_file = host.path("config.toml");
    let before = fs::read_to_string(&config_file).unwrap();
    let read_again = host.log().matches("config and plugins were read again").count();
    let alarm =
        format!("[alarm]\nafter = \"20s\"\nargus_token = \"{}\"\n", argus.0["ARGUS_ALARM_TOKEN"]);
    fs::write(&config_file, format!("{before}{alarm}")).unwrap();
    host.logged("config and plugins were read again", read_again + 1);
    let checked = host.run(&["check"]).ended(0).stdout;
    assert!(checked.contains("ok      argus_token: Argus takes it"), "{checked}");
    let alarms = || {
        let (_, listed) = argus.ask("GET", "mine/", "ARGUS_ALARM_TOKEN", Value::Null);
        listed["results"].as_array().unwrap().clone()
    };
    let away = Away::begin();
    let began = Instant::now();
    let pk = argus.incident("while RT is away");
    wait_for("the alarm", || !alarms().is_empty());
    println!("RT is away: an incident says so after {:?}, where 20 s are wanted", began.elapsed());
    let alarm = alarms().remove(0);
    let said = alarm["description"].as_str().unwrap();
    assert!(said.starts_with("Ticketing fails: b: 1 ticket not made"), "{said}");
    assert_eq!((&alarm["open"], &alarm["level"]), (&json!(true), &json!(1)));
    drop(away);
    let back = Instant::now();
    wait_for("the ticket", || !argus.ticket_url(pk).is_empty());
    wait_for("the end of the alarm", || alarms()[0]["open"] == false);
    println!("RT is back: the ticket and the end of the alarm after {:?}", back.elapsed());
    assert_eq!((alarms().len(), &alarms()[0]["ticket_url"]), (1, &json!("")));
    assert_eq!(tickets("while RT is away"), 1);
    fs::write(&config_file, before).unwrap();
    host.logged("config and plugins were read again", read_again + 2);
}

/// A person brings a ticket of RT's into that status.
fn set_status(url: &str, status: &str) {
    let id = url.rsplit_once("id=").unwrap().1;
    let answer = agent()
        .put(format!("{}/REST/2.0/ticket/{id}", env("RT_URL")))
        .header("Authorization", format!("token {}", env("RT_TOKEN_ROOT")))
        .send_json(json!({"Status": status}))
        .unwrap();
    assert_eq!(answer.status().as_u16(), 200);
}

/// Has RT tell of each change of a status, by the code that the plugin's README has.
fn scrip(url: &str, secret: &str) {
    const CREATE: &str = r#"use RT -init;
        my ($ok, $why) = RT::Scrip->new(RT->SystemUser)->Create(
            Queue => 0, Description => 'ticket-host', Stage => 'TransactionBatch', Template => 'Blank',
            ScripCondition => 'On Status Change', ScripAction => 'User Defined', CustomPrepareCode => 'return 1;',
            CustomCommitCode => $ENV{CODE});
        die $why unless $ok;"#;
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/rt/README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let code: Vec<&str> = readme.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    let begin = code.iter().position(|line| line.starts_with("my $url")).unwrap();
    let end = code.iter().position(|line| *line == "return 1;").unwrap();
    let code = code[begin..=end]
        .join("\n")
        .replace("https://HOST/v1/hooks/BACKEND", url)
        .replace("'SECRET'", &format!("'{secret}'"));
    in_perl(CREATE, "CODE", &code);
}

/// Runs a program with RT's own modules, and a variable.
fn in_perl(program: &str, variable: &str, value: &str) {
    let state = PathBuf::from(env("RT_STATE"));
    let done = Command::new("perl")
        .args(["-I/usr/share/request-tracker5/lib", "-e", program])
        .env(variable, value)
        .env("RT_SITE_CONFIG", state.join("RT_SiteConfig.pm"))
        .env("RT_SITE_CONFIG_DIR", state.join("conf.d"))
        .status()
        .unwrap();
    assert!(done.success());
}

/// How many tickets RT has with a subject.
fn tickets(subject: &str) -> Value {
    let query = format!("Subject='{subject}'");
    let mut answer = agent()
        .get(format!("{}/REST/2.0/tickets", env("RT_URL")))
        .query("query", query)
        .header("Authorization", format!("token {}", env("RT_TOKEN_ROOT")))
        .call()
        .unwrap();
    let found: Value = serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap();
    found["total"].clone()
}

/// A config with a backend in that RT, and a token for Argus.
fn config(token: &str, more: &str) -> String {
    format!(
        "[queue]\npath = \"queue.db\"\nsettle_seconds = 1\n{more}\n\
         [serve.tokens.argus]\ntoken = \"{token}\"\nscopes = [\"create\", \"read\"]\nargus = {}\n\
         [backends.b]\nplugin = \"rt\"\nendpoint = \"{}\"\n\
         secret = {{ token = \"{}\" }}\ninformation = {{ queue = \"General\" }}\n",
        more.contains("[argus]"),
        env("RT_URL"),
        env("RT_TOKEN_ARGUS")
    )
}

#[test]
#[ignore = "needs a real Argus and a real RT: run tests/real/argus.sh"]
fn a_real_argus_gets_its_tickets_from_the_button_and_from_the_watcher() {
    let host = Installation::new();
    host.add(&rust_plugin("rt")).config(&config("service-token", ""));
    let service = host.serve();
    let argus = Argus::start(&service.url);
    the_button_makes_one_ticket(&argus);
    let refused = the_buttons_errors_are_arguss(&host, &argus);
    let filed = the_watcher_files_what_has_no_ticket(&host, &argus, refused);
    who_asks_gets_the_ticket_that_argus_knows(&service.url, &argus, filed);
    all_ways_to_one_ticket(&host, &argus);
    where_arguss_pages_are_is_told(&host);
    tickets_follow_their_incidents(&host, &argus);
    incidents_hear_of_their_tickets(&host, &service.url, &argus);
    a_persons_ticket_is_adopted(&host, &argus);
    a_lost_permission_closes_nothing(&host, &service.url, &argus);
    an_rt_that_is_away_raises_one_incident(&host, &argus);
    a_filter_that_argus_does_not_know_files_nothing(&host, &argus);
}

/// The button, pressed twice.
fn the_button_makes_one_ticket(argus: &Argus) {
    let pk = argus.incident("pressed");
    let (status, answer) = argus.press_the_button(pk);
    assert_eq!(status, 200, "{answer}");
    let url = argus.ticket_url(pk);
    assert_eq!(subject(&url), "pressed");
    assert_eq!(argus.press_the_button(pk).0, 200);
    assert_eq!(argus.ticket_url(pk), url, "the same ticket");
}

/// Gives the incident that the button could not help.
fn the_buttons_errors_are_arguss(host: &Installation, argus: &Argus) -> i64 {
    host.config(&config("another-token", ""));
    host.logged("config and plugins were read again", 1);
    let refused = argus.incident("refused");
    let (status, answer) = argus.press_the_button(refused);
    let said = answer.to_string();
    assert!(status == 400 && said.contains("refused the token"), "{status} {said}");
    assert!(!said.contains("service-token"), "{said}");
    refused
}

/// The watcher, which also sees the one that the button could not help. Gives an incident that it filed.
fn the_watcher_files_what_has_no_ticket(host: &Installation, argus: &Argus, refused: i64) -> i64 {
    let by_hand = argus.incident("a person's");
    let set = json!({"ticket_url": "https://a.person/set"});
    assert_eq!(argus.ask("PUT", &format!("{by_hand}/ticket_url/"), "ARGUS_TOKEN", set).0, 200);
    let filed: Vec<i64> = (0..FILED).map(|n| argus.incident(&format!("filed {n}"))).collect();
    host.config(&config(
        "service-token",
        &format!(
            "[argus]\nurl = \"{}\"\ntoken = \"{}\"\ninterval_seconds = 1\nfilter = \"level__lte=3&acked=false\"",
            argus.0["ARGUS_URL"], argus.0["ARGUS_TOKEN"]
        ),
    ));
    wait_for("all URLs", || {
        filed.iter().chain([&refused]).all(|pk| !argus.ticket_url(*pk).is_empty())
    });
    let urls: BTreeSet<String> = filed.iter().map(|pk| argus.ticket_url(*pk)).collect();
    assert_eq!(urls.len(), FILED, "a ticket each");
    for (n, pk) in filed.iter().enumerate() {
        assert_eq!(subject(&argus.ticket_url(*pk)), format!("filed {n}"));
    }
    assert_eq!(argus.ticket_url(by_hand), "https://a.person/set");
    filed[0]
}

/// Whoever asks the host for an incident of Argus's gets the ticket that Argus knows.
fn who_asks_gets_the_ticket_that_argus_knows(service: &str, argus: &Argus, filed: i64) {
    let page = format!("{}/incidents/{}", argus.0["ARGUS_URL"], filed);
    let body = json!({"incident": {"description": "x", "argus_url": page}});
    let mut again = agent()
        .post(format!("{service}/v1/tickets"))
        .header("Authorization", "Bearer service-token")
        .send_json(body)
        .unwrap();
    let job: Value = serde_json::from_str(&again.body_mut().read_to_string().unwrap()).unwrap();
    assert_eq!(job["ticket"]["url"], argus.ticket_url(filed));
}

/// The button, a person who pipes what Argus's API gives, and one who names the number, while the watcher watches.
fn all_ways_to_one_ticket(host: &Installation, argus: &Argus) {
    let both = argus.incident("by both");
    assert_eq!(argus.press_the_button(both).0, 200);
    let url = argus.ticket_url(both);
    let (_, of_api) = argus.ask("GET", &format!("{both}/"), "ARGUS_TOKEN", Value::Null);
    let mut without_ticket = of_api;
    without_ticket["ticket_url"] = "".into();
    let piped = host.create_from(without_ticket.to_string().as_bytes(), &[]).ended(0);
    assert_eq!(piped.stdout.trim_end(), url);
    let named = host.run(&["create", "--argus", &both.to_string()]).ended(0);
    assert_eq!(named.stdout.trim_end(), url);
    assert_eq!(tickets("by both"), 1);
}

/// Where Argus's pages are is told by its button, and by the front page of its API.
fn where_arguss_pages_are_is_told(host: &Installation) {
    host.logged("set argus.frontend_url = \"https://noc.example.org/\"", 1);
    let checked = host.run(&["check"]).ended(0).stdout;
    for row in [
        "ok      filter: Argus knows each of its parameters",
        "warn    frontend_url: Argus's own FRONTEND_URL is https://noc.example.org/",
    ] {
        assert!(checked.contains(row), "{checked}");
    }
}

/// Argus ignores a parameter that it doesn't know, and would list this one.
fn a_filter_that_argus_does_not_know_files_nothing(host: &Installation, argus: &Argus) {
    let config_file = host.path("config.toml");
    let good = fs::read_to_string(&config_file).unwrap();
    fs::write(&config_file, good.replace("level__lte=3", "levle__lte=1")).unwrap();
    host.logged("argus.filter: Argus knows no parameter \"levle__lte\"", 1);
    let held = argus.incident("held back");
    let (_, listed) = argus.ask("GET", "?levle__lte=1&ticket=false", "ARGUS_TOKEN", Value::Null);
    assert!(listed["results"].as_array().unwrap().iter().any(|it| it["pk"] == held), "{listed}");
    host.run(&["check"]).ended(3);
    assert_eq!(argus.ticket_url(held), "");
    fs::write(&config_file, good).unwrap();
    wait_for("its URL", || !argus.ticket_url(held).is_empty());
}
