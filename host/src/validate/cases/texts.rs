//! Whether what an incident says arrives at the ticket system as it is.

use serde_json::{Value, json};
use ticket_plugin_api::abi::host_side::{HttpRequest, Operation};

use super::calls::{created, sent};
use crate::validate::answer::Answer;
use crate::validate::bench::{Bench, KEY};
use crate::validate::incidents::incident;
use crate::validate::script::{Behaviour, Rendered, Seen, When, arrives, texts};
use crate::validate::{Done, fail};

cases! {
    "key-escaped" key_escaped "escapes the key as its place demands, so that a search finds it whatever signs it has";
    "title-escaped" title_escaped "escapes the title as its place demands";
    "title-long" title_long "cuts a long title between characters, if it cuts it";
    "text" text_arrives "sends the texts that it asked the host for: without them nobody knows what a ticket is about";
    "keys-apart" keys_apart "makes other tickets for keys that differ only at their end, or in upper and lower case";
}

/// Keys whose beginning tells them, and in whose rest each sign means something somewhere.
const KEYS: [(&str, &str); 3] = [
    ("vk7q2zx", "vk7q2zx a&b c#d\"e\\f%41/ü+;=?"),
    ("vk8q2zx", "vk8q2zx'<b>&amp;{{x}}"),
    ("vk9q2zx", "vk9q2zx/../網路?x=1&y=2#z"),
];
/// A title of that kind. It has no sign that a ticket system could read as a mention or a reference.
const TITLE: (&str, &str) = ("vt7q2zx", "vt7q2zx \"quoted\" back\\slash 'single' ü網 a;b=c? end");

/// A word that stands in a ticket's body alone.
const BODY: &str = "vb7q2zx";
/// The year of the incident, which stands near the beginning of a body.
const YEAR: &str = "2031";

async fn key_escaped(bench: &mut Bench) -> Done {
    bench.scripted()?;
    for (token, key) in KEYS {
        for (operation, when) in [
            (Operation::Find, When::Empty),
            (Operation::Find, When::Made),
            (Operation::Create, When::Empty),
        ] {
            let (_, seen) =
                bench.call(operation, &incident(), key, Behaviour::Script(when)).await?;
            for exchange in &seen.exchanges {
                mangled(&exchange.request, token, key).map_or(Ok(()), |what| {
                    Err(fail(format!("{}() with the key {key:?}: {what}", operation.name())))
                })?;
            }
        }
    }
    Ok(())
}

async fn title_escaped(bench: &mut Bench) -> Done {
    bench.scripted()?;
    let (token, title) = TITLE;
    let mut incident = incident();
    incident["description"] = Value::from(title);
    let script = Behaviour::Script(When::Empty);
    let (answer, seen) = bench.call(Operation::Create, &incident, KEY, script).await?;
    for exchange in &seen.exchanges {
        if let Some(what) = mangled(&exchange.request, token, title) {
            return Err(fail(format!("create() with the title {title:?}: {what}")));
        }
    }
    match answer {
        Answer::Ticket(_) => Ok(()),
        other => Err(fail(format!(
            "create() with the title {title:?} gives {other}{}",
            seen.unscripted()
        ))),
    }
}

async fn title_long(bench: &mut Bench) -> Done {
    bench.scripted()?;
    for title in long_titles() {
        let mut incident = incident();
        incident["description"] = Value::from(title.as_str());
        let script = Behaviour::Script(When::Empty);
        let (_, seen) = bench.call(Operation::Create, &incident, KEY, script).await?;
        for exchange in &seen.exchanges {
            if let Some(what) = cut(&exchange.request) {
                let shown: String = title.chars().take(20).collect();
                return Err(fail(format!(
                    "create() with a title of {} bytes, {shown:?} and so on: {what}",
                    title.len()
                )));
            }
        }
    }
    Ok(())
}

/// Titles of characters of two, three and four bytes. At whatever byte one is cut, in another of them that is within a
/// character.
fn long_titles() -> impl Iterator<Item = String> {
    let titles = ["ü", "網", "🦀"].map(|sign| {
        (0..sign.len())
            .map(move |shift| format!("{}{}{}", TITLE.0, "x".repeat(shift), sign.repeat(600)))
    });
    titles.into_iter().flatten()
}

/// What is wrong with the text that a request sends, if it has a character of which a part is missing.
fn cut(request: &HttpRequest) -> Option<String> {
    let Ok(arrived) = texts(request) else {
        return Some("its body should be JSON, and is none".to_owned());
    };
    let broken =
        |text: &String| text.contains(TITLE.0) && text.contains(char::REPLACEMENT_CHARACTER);
    arrived.iter().any(broken).then(|| "a character of it arrives in part".to_owned())
}

async fn text_arrives(bench: &mut Bench) -> Done {
    bench.scripted()?;
    let mut incident = incident();
    incident["description"] = Value::from(format!("{} is down", TITLE.0));
    incident["details_url"] = Value::from(format!("https://nav.example.org/{BODY}"));
    incident["start_time"] = Value::from(format!("{YEAR}-11-23T07:00:00+00:00"));
    incident["tags"] = json!([format!("host={BODY}")]);
    let script = Behaviour::Script(When::Empty);
    let (_, seen) = bench.call(Operation::Create, &incident, KEY, script).await?;
    match withheld(&seen) {
        Some(what) => Err(fail(format!("create() sends nothing of {what}{}", seen.unscripted()))),
        None => Ok(()),
    }
}

/// What of an incident doesn't arrive though the plugin sends something.
fn withheld(seen: &Seen) -> Option<String> {
    if seen.exchanges.is_empty() {
        return None;
    }
    let sent = |word: &str| {
        let mut requests = seen.exchanges.iter().map(|exchange| &exchange.request);
        requests.any(|request| {
            request.url.contains(word) || String::from_utf8_lossy(&request.body).contains(word)
        })
    };
    let words = [TITLE.0, BODY, YEAR];
    // A body has the title's words, too.
    let alone = |rendered: &Rendered, word: &str| {
        let mut with_it = seen.rendered.iter().filter(|other| other.text.contains(word));
        rendered.text.contains(word) && with_it.all(|other| other.part == rendered.part)
    };
    let asked = seen.rendered.iter().find(|rendered| {
        let own: Vec<&str> = words.into_iter().filter(|word| alone(rendered, word)).collect();
        !own.is_empty() && !own.into_iter().any(sent)
    });
    match asked {
        Some(rendered) => Some(format!("the {} that it asked the host for", rendered.part)),
        None => (!words.into_iter().any(sent)).then(|| "the incident".to_owned()),
    }
}

/// How a text that begins with `token` arrives, if it arrives and isn't `whole`.
fn mangled(request: &HttpRequest, token: &str, whole: &str) -> Option<String> {
    let arrived = match texts(request) {
        Ok(arrived) => arrived,
        Err(why) => return Some(format!("{} {}: {why}", request.method, request.url)),
    };
    let body = String::from_utf8_lossy(&request.body);
    let came = request.url.contains(token) || body.contains(token);
    if !came || arrives(&arrived, whole) {
        return None;
    }
    let text = arrived.iter().find_map(|text| text.get(text.find(token)?..)).unwrap_or_default();
    let text: String = text.chars().take(whole.chars().count() + 10).collect();
    Some(format!("it arrives as {text:?} in {} {}", request.method, request.url))
}

async fn keys_apart(bench: &mut Bench) -> Done {
    for (how, one, other) in alike() {
        let (first, one) = created(bench, &one).await?;
        let (second, other) = created(bench, &other).await?;
        // What sends nothing makes tickets by itself, so that only their URLs can show that they are two.
        let same = match one.exchanges.is_empty() {
            true => first.url == second.url,
            false => sent(&one) == sent(&other),
        };
        if same {
            return Err(fail(format!("tickets of keys that {how} are one to the ticket system")));
        }
    }
    Ok(())
}

/// Pairs of keys that are hard to tell apart, with words for how.
fn alike() -> [(&'static str, String, String); 3] {
    let long = format!("https://argus.example.org/{}", "k".repeat(973));
    [
        (
            "differ only in case",
            "https://argus.example.org/incidents/a7".to_owned(),
            "https://argus.example.org/incidents/A7".to_owned(),
        ),
        (
            "differ only after 255 characters",
            format!("{}1", &long[..255]),
            format!("{}2", &long[..255]),
        ),
        ("differ only in the last of 1000 characters", format!("{long}1"), format!("{long}2")),
    ]
}

#[cfg(test)]
mod tests {
    use ticket_plugin_api::abi::host_side::HttpAnswer;

    use super::*;
    use crate::validate::script::{Exchange, Role};

    #[test]
    fn a_text_that_arrives_must_arrive_whole_and_in_json_that_is_some() {
        let (token, key) = KEYS[0];
        let json = |value: &str| format!("{{\"key\": {value}}}");
        for (url, body, wanted) in [
            ("t?q=1", String::new(), None),
            ("t?q=vk7q2zx", String::new(), Some("it arrives as \"vk7q2zx\"")),
            ("t", json(&Value::from(key).to_string()), None),
            ("t", json(&format!("\"{key}\"")), Some("its body should be JSON, and is none")),
            ("t", json("\"vk7q2zx a\""), Some("it arrives as \"vk7q2zx a\"")),
        ] {
            let sent = Exchange::posted(Role::Create, url, &body, HttpAnswer::DryRun);
            let what = mangled(&sent.request, token, key);
            assert_eq!(what.is_some(), wanted.is_some(), "{what:?}");
            assert!(what.unwrap_or_default().contains(wanted.unwrap_or_default()));
        }
    }

    #[test]
    fn a_title_is_cut_within_a_character_in_one_of_the_long_ones_wherever_it_is_cut() {
        for at in 10..1000 {
            let is_cut = |title: &String| {
                let body = title.as_bytes()[..at].to_vec();
                let request = HttpRequest {
                    method: "POST".to_owned(),
                    url: "https://t.example.org/t".to_owned(),
                    headers: vec![("content-type".to_owned(), "text/plain".to_owned())],
                    body,
                    changes_nothing: false,
                };
                cut(&request).is_some()
            };
            assert!(long_titles().any(|title| is_cut(&title)), "{at}");
        }
    }

    #[test]
    fn what_was_rendered_must_arrive() {
        let title = || ("title", TITLE.0);
        let body = || ("body", BODY);
        let both = format!("{} {BODY}", TITLE.0);
        let whole = || ("body", both.as_str());
        for (rendered, sent, what) in [
            (vec![title(), body()], both.as_str(), None),
            (vec![title()], TITLE.0, None),
            (vec![title(), body()], TITLE.0, Some("body")),
            (vec![title(), whole()], TITLE.0, Some("body")),
            (vec![title(), whole()], both.as_str(), None),
            (vec![title()], BODY, Some("title")),
            (vec![], BODY, None),
            (vec![], "{}", Some("incident")),
        ] {
            let shown = format!("{rendered:?} {sent}");
            let rendered = rendered
                .into_iter()
                .map(|(part, text)| Rendered { part: part.to_owned(), text: text.to_owned() });
            let seen = Seen {
                exchanges: vec![Exchange::posted(Role::Create, "t", sent, HttpAnswer::DryRun)],
                rendered: rendered.collect(),
                ..Seen::default()
            };
            let told = withheld(&seen);
            assert_eq!(told.is_some(), what.is_some(), "{shown}");
            assert!(told.unwrap_or_default().contains(what.unwrap_or_default()), "{shown}");
        }
    }

    #[test]
    fn keys_that_are_alike_are_keys_that_the_host_takes() {
        for (how, one, other) in alike() {
            assert_ne!(one, other);
            assert!(one.len() <= 1000 && other.len() <= 1000, "{how} {}", one.len());
        }
    }
}
