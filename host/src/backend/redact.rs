//! Strikes a backend's secret out of everything that a person or a file gets to see.
//!
//! This helps against accidents. It is no fence against a malicious plugin, which could write the secret backwards;
//! what keeps such a plugin from sending it anywhere is the gateway.
//!
//! A text is read in several ways, such as "with %2F for a slash" ([`reading`]), and the secret is looked for in what was
//! read. So it is found however many of its characters are escaped, in whichever way, and if that was done twice. A
//! secret of letters, digits and hyphens, which nobody escapes, is found however often.
//!
//! Of bodies, URLs and headers, values are struck out too whose names tell that they are credentials ([`credentials`]).
//! All of it is looked for in the text as it came, and then struck out at once: what one search struck out could be half of
//! what another one would have found.

mod credentials;
mod reading;

use std::ops::Range;

use aho_corasick::Anchored;
use aho_corasick::automaton::Automaton;
use aho_corasick::nfa::contiguous::NFA;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use percent_encoding::percent_decode_str;
use serde_json::Value;
use url::Url;

use reading::{LONGEST_ESCAPE, Read};

/// Secrets of fewer bytes are not struck out: if every "a" were, there would be nothing left to read.
const SHORTEST: usize = 4;
/// Base64 in the middle of a longer text is struck out if the secret decides so many of its characters; fewer could
/// stand there by chance.
const SHORTEST_INSIDE: usize = 8;
/// Pairs of user and password that are looked for as Basic authentication has them. Where there are more, what is
/// left of the pair is the base64 of one secret in the middle of a longer text, which is looked for too.
const MOST_PAIRS: usize = 256;
/// Users and passwords by which Basic authentication carries a token alone. An empty one is the most usual.
const STAND_INS: [&str; 4] = ["", "x-oauth-basic", "x-token-auth", "oauth2"];
const STRUCK_OUT: &str = "***";
/// The keyword by which a plugin's schema of the secret says that a property may be shown, such as a user name.
const PUBLIC: &str = "x-ticket-public";

/// What to strike out: each secret value as it is, and as base64 has it.
#[derive(Clone, Default)]
pub(crate) struct Redactor {
    needles: Vec<Vec<u8>>,
    /// Finds them all in one go (Aho and Corasick). None if there are none.
    automaton: Option<NFA>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Redactor")
    }
}

impl Redactor {
    /// Strikes out every text in `secret` but what `schema` marks as public.
    pub(crate) fn new(secret: &Value, schema: &Value) -> Redactor {
        let mut all = Vec::new();
        let mut hidden = Vec::new();
        collect(secret, None, &mut Vec::new(), schema, &mut all, &mut hidden);
        Redactor::of(needles(&all, &hidden))
    }

    /// Strikes out the passwords of these URLs, too: a proxy may repeat what it was sent.
    pub(crate) fn with_logins(self, urls: &[Url]) -> Redactor {
        let mut all = self.needles.clone();
        for url in urls {
            let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
            let Some(password) = url.password().map(decoded) else { continue };
            let login = [decoded(url.username()), password.clone()];
            all.extend(needles(&login, &[password]));
        }
        if all.len() == self.needles.len() { self } else { Redactor::of(all) }
    }

    fn of(mut needles: Vec<Vec<u8>>) -> Redactor {
        needles.sort();
        needles.dedup();
        let automaton = (!needles.is_empty()).then(|| {
            NFA::new(&needles).expect("a secret has fewer bytes than there can be states")
        });
        Redactor { needles, automaton }
    }

    /// Whether there is a secret at all.
    pub(crate) fn hides_any(&self) -> bool {
        !self.needles.is_empty()
    }

    /// The text with `***` for every secret in it.
    pub(crate) fn strike(&self, text: &str) -> String {
        strike(text, reading::all(text).flat_map(|read| self.secrets(&read)).collect())
    }

    /// As [`Redactor::strike`], for a text whose end was cut off: also what may be the beginning of a secret there
    /// is struck out.
    pub(crate) fn strike_cut(&self, text: &str) -> String {
        strike(text, reading::all(text).flat_map(|read| self.secrets_of_cut(&read)).collect())
    }

    /// As [`Redactor::strike`], of the first `most` bytes: for a text of which no more is shown.
    pub(crate) fn strike_start(&self, text: &str, most: usize) -> String {
        match &text[..text.floor_char_boundary(most)] {
            start if start.len() < text.len() => self.strike_cut(start),
            whole => self.strike(whole),
        }
    }

    /// As [`Redactor::strike_start`], for a body, a URL or a header: what its name tells to be a credential is struck out,
    /// too.
    pub(crate) fn strike_content(&self, text: &str, most: usize) -> String {
        let start = &text[..text.floor_char_boundary(most)];
        let is_cut = start.len() < text.len();
        let found = reading::all(start).flat_map(|read| {
            let mut found = if is_cut { self.secrets_of_cut(&read) } else { self.secrets(&read) };
            let bytes: Vec<u8> = read.iter().map(|read| read.byte).collect();
            let values = credentials::values(&bytes).into_iter();
            found.extend(values.map(|value| source(&read[value])));
            found
        });
        strike(start, found.collect())
    }

    /// A header's value as [`Redactor::strike_content`] has it, or `***` for all of it if the header's name says that
    /// it is a credential.
    pub(crate) fn strike_header(&self, name: &str, value: &str, most: usize) -> String {
        credentials::header(name, value).unwrap_or_else(|| self.strike_content(value, most))
    }

    /// Where secrets stand in the text that this was read from.
    fn secrets(&self, text: &[Read]) -> Vec<Range<usize>> {
        let mut found: Vec<Range<usize>> = Vec::new();
        let Some(automaton) = &self.automaton else { return found };
        let Ok(mut state) = automaton.start_state(Anchored::No) else { return found };
        for (at, read) in text.iter().enumerate() {
            state = automaton.next_state(Anchored::No, state, read.byte);
            if automaton.is_match(state) {
                let ending_here = (0..automaton.match_len(state))
                    .map(|nth| automaton.pattern_len(automaton.match_pattern(state, nth)));
                let longest = ending_here.max().unwrap_or_default();
                let mut range = source(&text[at + 1 - longest..=at]);
                while let Some(last) = found.pop_if(|last| last.end > range.start) {
                    range.start = range.start.min(last.start);
                }
                found.push(range);
            }
        }
        found
    }

    /// As [`Redactor::secrets`], and what goes up to the end and may be the beginning of one.
    fn secrets_of_cut(&self, text: &[Read]) -> Vec<Range<usize>> {
        let mut found = self.secrets(text);
        let longest = self.needles.iter().map(Vec::len).max().unwrap_or_default();
        let tail = &text[text.len().saturating_sub(longest)..];
        let begun = self.begun(tail).map(|start| source(&tail[start..]));
        found.extend(begun);
        found
    }

    /// Where something begins that goes up to the end, and may be the beginning of a secret.
    fn begun(&self, tail: &[Read]) -> Option<usize> {
        let bytes: Vec<u8> = tail.iter().map(|read| read.byte).collect();
        // The cut may have gone through an escape of either layer, which is then no part of what is compared.
        let last = bytes.len().saturating_sub(LONGEST_ESCAPE)..bytes.len();
        let escapes = last.rev().filter(|at| tail[*at].unresolved).take(2);
        let begun_before = |end: usize| {
            let begun = |needle: &Vec<u8>| {
                let mut lengths = (SHORTEST..needle.len()).rev();
                lengths.find(|length| bytes[..end].ends_with(&needle[..*length]))
            };
            let longest = self.needles.iter().filter_map(begun).max()?;
            Some(end - longest)
        };
        std::iter::once(bytes.len()).chain(escapes).filter_map(begun_before).min()
    }
}

/// Where all of what was read stands in the text; it isn't empty.
fn source(read: &[Read]) -> Range<usize> {
    match read {
        [first, .., last] => first.source.start..last.source.end,
        [only] => only.source.clone(),
        [] => 0..0,
    }
}

/// The text with `***` for each of the ranges, of which those that overlap become one.
fn strike(text: &str, mut ranges: Vec<Range<usize>>) -> String {
    ranges.sort_by_key(|range| range.start);
    let mut out = String::with_capacity(text.len());
    let mut kept = 0;
    let mut ranges = ranges.into_iter().peekable();
    while let Some(Range { start, mut end }) = ranges.next() {
        while let Some(next) = ranges.next_if(|next| next.start < end) {
            end = end.max(next.end);
        }
        // A secret in Latin-1 can be found within the characters of UTF-8.
        out.push_str(&text[kept..text.floor_char_boundary(start).max(kept)]);
        out.push_str(STRUCK_OUT);
        kept = text.ceil_char_boundary(end);
    }
    out.push_str(&text[kept..]);
    out
}

/// All that is looked for where these texts are `hidden`, which stand among `all` of a login.
fn needles(all: &[String], hidden: &[String]) -> Vec<Vec<u8>> {
    // An empty one, which some plugins take for "none", is no secret.
    let hidden: Vec<&String> = hidden.iter().filter(|text| !text.is_empty()).collect();
    let mut needles = Vec::new();
    for secret in hidden.iter().flat_map(|text| spellings(text)) {
        needles.extend(base64_of(&secret));
        needles.extend((0..3).flat_map(|before| base64_inside(&secret, before)));
        needles.push(secret);
    }
    needles.extend(pairs(all, &hidden).iter().flat_map(|pair| base64_of(pair)));
    needles.retain(|needle| needle.len() >= SHORTEST);
    needles
}

/// The bytes of a text in UTF-8, and also in Latin-1 if that has all its characters.
fn spellings(text: &str) -> Vec<Vec<u8>> {
    let utf8 = text.as_bytes().to_vec();
    let latin1: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(c).ok()).collect();
    let latin1 = latin1.filter(|latin1| *latin1 != utf8);
    std::iter::once(utf8).chain(latin1).collect()
}

/// What Basic authentication makes base64 of, "USER:PASSWORD", where one of the two is hidden. Servers disagree on the
/// charset, so both are spelled in either one.
fn pairs(all: &[String], hidden: &[&String]) -> Vec<Vec<u8>> {
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    for secret in hidden {
        let users = STAND_INS.into_iter().chain(all.iter().map(String::as_str));
        pairs.extend(users.map(|user| (user, secret.as_str())));
        pairs.extend(STAND_INS.map(|password| (secret.as_str(), password)));
    }
    pairs.truncate(MOST_PAIRS);
    let mut spelled = Vec::new();
    for (user, password) in pairs {
        for user in spellings(user) {
            let with = |password: Vec<u8>| [&user, &b":"[..], &password].concat();
            spelled.extend(spellings(password).into_iter().map(with));
        }
    }
    spelled
}

/// Base64 of the bytes alone, in both alphabets, with and without padding.
fn base64_of(bytes: &[u8]) -> [Vec<u8>; 4] {
    [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD]
        .map(|engine| engine.encode(bytes).into_bytes())
}

/// In both alphabets, the characters that the bytes alone decide in the base64 of a longer text: one in which, modulo
/// 3, `before` bytes stand before them. Nothing if these are too few.
fn base64_inside(bytes: &[u8], before: usize) -> impl Iterator<Item = Vec<u8>> {
    let padded = [vec![0; before], bytes.to_vec()].concat();
    // Each character stands for 6 bits. The first and the last one may also stand for a neighbour's.
    let (first, end) = ((before * 8).div_ceil(6), padded.len() * 8 / 6);
    let encoded = [STANDARD_NO_PAD, URL_SAFE_NO_PAD].map(|engine| engine.encode(&padded));
    let inside = encoded.map(|text| text.as_bytes()[first.min(end)..end].to_vec());
    inside.into_iter().filter(|inside| inside.len() >= SHORTEST_INSIDE)
}

/// Gathers the texts of a secret: `all` of them, and those that are to be `hidden`. `member` is the name under
/// which `value` stands, `public` the names that `schema` marks as public.
fn collect(
    value: &Value,
    member: Option<&str>,
    public: &mut Vec<String>,
    schema: &Value,
    all: &mut Vec<String>,
    hidden: &mut Vec<String>,
) {
    if member.is_none() {
        public_members(schema, public);
    }
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                collect(value, Some(name), public, schema, all, hidden);
            }
        }
        Value::Array(items) => {
            for item in items {
                collect(item, Some(member.unwrap_or_default()), public, schema, all, hidden);
            }
        }
        Value::Null | Value::Bool(_) => {}
        leaf => {
            let text = leaf.as_str().map_or_else(|| leaf.to_string(), str::to_owned);
            if !member.is_some_and(|name| public.iter().any(|p| p == name)) {
                hidden.push(text.clone());
            }
            all.push(text);
        }
    }
}

/// Adds to `names` the properties that a schema marks as public, at any depth (for example in anyOf or $defs).
fn public_members(schema: &Value, names: &mut Vec<String>) {
    match schema {
        Value::Object(members) => {
            if let Some(Value::Object(properties)) = members.get("properties") {
                let public = properties.iter().filter(|(_, p)| p[PUBLIC] == Value::Bool(true));
                names.extend(public.map(|(name, _)| name.clone()));
            }
            members.values().for_each(|member| public_members(member, names));
        }
        Value::Array(items) => items.iter().for_each(|item| public_members(item, names)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn redactor(secret: Value) -> Redactor {
        let schema = json!({"anyOf": [{"properties": {"username": {"x-ticket-public": true}}}]});
        Redactor::new(&secret, &schema)
    }

    #[track_caller]
    fn strikes(redactor: &Redactor, spelling: &str) {
        assert_eq!(redactor.strike(&format!("<{spelling}>")), "<***>", "{spelling}");
    }

    #[test]
    fn a_secret_is_struck_out_in_every_spelling() {
        let redactor = redactor(json!({"username": "argus", "password": "pä\"s s/w&ö'<r>d"}));
        for spelling in [
            // As it is.
            "pä\"s s/w&ö'<r>d",
            // Percent encoding of more characters or of fewer, in lower case, in Latin-1, in a form.
            "p%C3%A4%22s%20s%2Fw%26%C3%B6%27%3Cr%3Ed",
            "p%c3%a4%22s%20s%2fw%26%c3%b6%27%3cr%3ed",
            "p%C3%A4\"s%20s/w&%C3%B6'<r>d",
            "p%E4%22s%20s/w&%F6'%3Cr%3Ed",
            "p%C3%A4%22s+s%2Fw%26%C3%B6%27%3Cr%3Ed",
            "%70%C3%A4%22%73%20%73%2F%77%26%C3%B6%27%3C%72%3E%64",
            // JSON's and Python's.
            r#"pä\"s s/w&ö'<r>d"#,
            r#"p\u00e4\"s s\/w\u0026\u00f6\u0027\u003cr\u003ed"#,
            r#"p\u00E4\u0022s s\u002Fw\u0026\u00F6\u0027\u003Cr\u003Ed"#,
            r#"pä"s s/w&ö\'<r>d"#,
            r#"p\xe4"s s/w&\xf6\'<r>d"#,
            r#"p\xc3\xa4"s s/w&\xc3\xb6\'<r>d"#,
            // HTML's.
            "pä&quot;s s/w&amp;ö&#39;&lt;r&gt;d",
            "p&#228;&#34;s s&#47;w&#38;&#246;&apos;&#60;r&#62;d",
            "p&#xe4;&#x22;s&#x20;s&#x2F;w&#x26;&#xF6;&#x27;&#x3C;r&#x3e;d",
        ] {
            strikes(&redactor, spelling);
        }
    }

    #[test]
    fn base64_is_struck_out_in_both_alphabets_and_as_half_of_basic_authentication() {
        // Its base64 has + and /, and = with some of the users.
        let redactor = redactor(json!({"username": "argus", "password": "pä>>??~~ö"}));
        let (utf8, latin1) = ("pä>>??~~ö".as_bytes(), &b"p\xe4>>??~~\xf6"[..]);
        for password in [utf8, latin1] {
            for (before, after) in [
                ("", ""),
                ("argus:", ""),
                ("", ":"),
                (":", ""),
                ("", ":x-oauth-basic"),
                ("x-token-auth:", ""),
                ("oauth2:", ""),
            ] {
                let whole = [before.as_bytes(), password, after.as_bytes()].concat();
                for spelling in base64_of(&whole) {
                    let spelling = String::from_utf8(spelling).unwrap();
                    strikes(&redactor, &spelling);
                    strikes(&redactor, &spelling.replace('/', "\\/"));
                    strikes(&redactor, &spelling.replace('=', "%3D").replace('+', "%2b"));
                }
            }
        }
    }

    #[test]
    fn base64_of_a_longer_text_loses_what_the_secret_decides() {
        let redactor = redactor(json!({"token": "hunter2"}));
        for before in ["", "a", "ab", "{\"token\":\"", "someone:", "anyone:"] {
            for (after, engine) in [("", STANDARD), ("\"}", URL_SAFE), ("!", STANDARD_NO_PAD)] {
                let struck = redactor.strike(&engine.encode(format!("{before}hunter2{after}")));
                assert!(struck.contains("***"), "{before}{after}: {struck}");
                let left = struck.replace("***", "");
                // At most four characters of it are not the secret's alone.
                let around = engine.encode(format!("{before}{after}")).len();
                assert!(left.len() <= around + 4, "{before}{after}: {struck}");
            }
        }
        // Of a short secret too few characters are left to tell it from anything else.
        let short = self::redactor(json!({"token": "team"}));
        let innocent = STANDARD.encode("a steam engine");
        assert_eq!(short.strike(&innocent), innocent);
    }

    #[test]
    fn secrets_that_overlap_are_struck_out_together() {
        let redactor = redactor(json!({"a": "abcdef", "b": "defghi", "c": "aaaa"}));
        assert_eq!(redactor.strike("<abcdefghi> aaaaaaaaa aaa"), "<***> *** aaa");
    }

    #[test]
    fn a_secret_in_latin1_is_struck_out_with_the_characters_that_it_is_a_part_of() {
        // In Latin-1 this is the last byte of an ä in UTF-8, and three letters.
        let redactor = redactor(json!({"token": "\u{a4}abc"}));
        assert_eq!(redactor.strike("<äabc>"), "<***>");
    }

    #[test]
    fn of_a_text_that_was_cut_the_beginning_of_a_secret_is_struck_out_too() {
        let redactor = redactor(json!({"token": "hunter2/the<secret"}));
        for cut in [
            "hunter2",
            "hunter2/the",
            "hunter2%2",
            "hunter2\\",
            "hunter2\\u00",
            "hunter2%2fthe%3",
            "hunter2/the&l",
            "hunter2/the&#",
            "hunter2/the&lt;sec",
            "aHVudGVy",
        ] {
            assert_eq!(redactor.strike_cut(&format!("<{cut}")), "<***", "{cut}");
        }
        assert_eq!(redactor.strike_cut("the hun"), "the hun");
        assert_eq!(redactor.strike_cut("100% of hunters &c"), "100% of hunters &c");
    }

    #[test]
    fn a_secret_that_is_escaped_twice_is_struck_out_and_a_plain_one_however_often() {
        let redactor = redactor(json!({"password": "pass\"w/o&rd"}));
        let mut spelling = "pass\"w/o&rd".to_owned();
        for _ in 0..2 {
            spelling = serde_json::to_string(&spelling).unwrap();
            assert_eq!(redactor.strike(&spelling).trim_matches(['"', '\\']), "***", "{spelling}");
        }
        for spelling in [
            "pass%2522w%252fo%2526rd",
            "pass%5C%22w/o%26rd",
            "pass&amp;quot;w/o&amp;amp;rd",
            r"pass\u0022w\/o&amp;rd",
            r"pass\u0022w\/o\u0026rd",
            "pass&#37;22w%2Fo%26rd",
        ] {
            strikes(&redactor, spelling);
        }
        let plain = self::redactor(json!({"token": "plain-secret_1.~"}));
        let mut nested = "plain-secret_1.~".to_owned();
        for _ in 0..4 {
            nested = serde_json::to_string(&json!({"&": nested})).unwrap();
        }
        assert!(!plain.strike(&nested).contains("secret"));
        let url = "%2525253Dplain-secret_1.~%25252526";
        assert_eq!(plain.strike(url), "%2525253D***%25252526");
    }

    #[test]
    fn of_a_text_that_was_cut_within_two_layers_of_escapes_the_beginning_of_a_secret_is_struck_out()
    {
        let redactor = redactor(json!({"token": "hunter2\"the<secret"}));
        for cut in [
            r"hunter2\",
            r"hunter2\\",
            r"hunter2\\\",
            r#"hunter2\\\""#,
            r"hunter2\\u00",
            "hunter2%",
            "hunter2%252",
            "hunter2%2522the%2",
            "hunter2%5C%2",
            "hunter2&amp;qu",
            r"hunter2%22t\u00",
        ] {
            assert_eq!(redactor.strike_cut(&format!("<{cut}")), "<***", "{cut}");
        }
    }

    #[test]
    fn a_proxys_password_is_struck_out_as_it_is_and_as_the_proxy_is_sent_it() {
        let proxy = Url::parse("http://user:hunter%21PW@proxy.example.org:3128").unwrap();
        let redactor = redactor(json!({"token": "tick3t"})).with_logins(&[proxy]);
        let text = "tick3t hunter!PW Basic dXNlcjpodW50ZXIhUFc= user";
        assert_eq!(redactor.strike(text), "*** *** Basic *** user");
        let without = Url::parse("http://user@proxy.example.org:3128").unwrap();
        let redactor = Redactor::new(&json!({}), &json!({})).with_logins(&[without]);
        assert!(!redactor.hides_any());
    }

    #[test]
    fn names_cut_no_secret_in_two() {
        let secret = "hunter2/the\"<secret>\"&more; and # all";
        let redactor = redactor(json!({ "token": secret }));
        for (text, struck) in [
            (format!("bad token={secret}"), "bad token=***"),
            (format!("{{\"token\": \"{secret}\"}}"), "{\"token\": \"***\"}"),
            (format!("Password: {secret}\nx"), "Password: ***\nx"),
            (format!("<token>{secret}</token>"), "<token>***</token>"),
            (format!("https://{secret}@x.org"), "https://***@x.org"),
            (format!("token[{secret}]=x"), "token[***]=x"),
        ] {
            assert_eq!(redactor.strike_content(&text, text.len()), struck);
            let cut = redactor.strike_content(&text, text.len() - 3);
            assert!(!cut.contains("secret") && !cut.contains("hunter2"), "{cut}");
        }
    }

    #[test]
    fn values_by_name_are_found_in_every_reading_of_a_text() {
        for (text, struck) in [
            (
                r#"{"json": "{\"Password\":\"abc\"}", "id": 7}"#,
                r#"{"json": "{\"Password\":\"***\"}", "id": 7}"#,
            ),
            (r#""{\\\"pwd\\\":\\\"abc\\\"}""#, r#""{\\\"pwd\\\":\\\"***\\\"}""#),
            ("a=b&tok%65n=x&c=d", "a=b&tok%65n=***&c=d"),
            (
                "url=https%3A%2F%2Fu%3Apw%40x.org%2F%3Ftoken%3Dabc%26c=d",
                "url=https%3A%2F%2F***%40x.org%2F%3Ftoken%3D***%26c=d",
            ),
            ("&quot;token&quot;:&quot;abc&quot;,", "&quot;token&quot;:&quot;***&quot;,"),
            (
                r#"{"raw": "Authorization: Bearer abc\r\nHost: x"}"#,
                r#"{"raw": "Authorization: Bearer ***"}"#,
            ),
        ] {
            assert_eq!(Redactor::default().strike_content(text, text.len()), struck);
        }
    }

    #[test]
    fn the_urls_and_texts_in_other_headers_lose_their_credentials_too() {
        let redactor = redactor(json!({"password": "hunter2"}));
        for (name, value, struck) in [
            ("Location", "https://u:pw@x.org/?token=abc&id=7", "https://***@x.org/?token=***&id=7"),
            ("Link", "<https://x.org/?sig=abc>; rel=next", "<https://x.org/?sig=***>; rel=next"),
            ("Refresh", "5; url=/?session=abc", "5; url=/?session=***"),
            ("WWW-Authenticate", "Bearer realm=\"x\"", "Bearer realm=\"x\""),
            ("Set-Cookie", "a=b", "***"),
            ("X-Echo", "hunter2", "***"),
        ] {
            assert_eq!(redactor.strike_header(name, value, value.len()), struck, "{name}");
        }
    }

    #[test]
    fn a_hostile_text_of_256_kib_takes_less_than_a_second() {
        let text = r#"token:\""#.repeat(32 << 10);
        let started = std::time::Instant::now();
        Redactor::default().strike_content(&text, text.len());
        assert!(started.elapsed() < std::time::Duration::from_secs(1), "{:?}", started.elapsed());
    }

    #[test]
    fn a_long_text_and_a_long_secret_take_little_time() {
        let key = "-----BEGIN KEY-----\n".to_owned() + &"Aa0/\n".repeat(1000);
        let redactor = redactor(json!({"key": key, "token": "aaaaaaaa"}));
        let started = std::time::Instant::now();
        let struck = redactor.strike(&"a%2faaaaaaaaA&amp;\\/+".repeat(20_000));
        assert!(!struck.contains("aaaa"));
        assert!(started.elapsed() < std::time::Duration::from_secs(20));
    }

    #[test]
    fn what_the_schema_calls_public_stays_readable() {
        let redactor = redactor(json!({"username": "argus", "password": "hunter22"}));
        assert_eq!(redactor.strike("user argus may not"), "user argus may not");
    }

    #[test]
    fn a_public_value_and_an_empty_one_are_no_secrets() {
        for (secret, hides) in [
            (json!({}), false),
            (json!({"username": "argus", "password": ""}), false),
            (json!({"username": "argus", "password": "x"}), true),
            (json!({"token": "hunter2"}), true),
        ] {
            assert_eq!(redactor(secret.clone()).hides_any(), hides, "{secret}");
        }
    }

    #[test]
    fn nested_values_and_numbers_are_secret_too() {
        let redactor = redactor(json!({"a": {"b": ["nested-secret", 123456]}}));
        assert_eq!(redactor.strike("nested-secret 123456"), "*** ***");
    }

    #[test]
    fn a_longer_secret_goes_before_one_that_it_contains() {
        let redactor = redactor(json!({"a": "secret", "b": "secret-and-more"}));
        assert_eq!(redactor.strike("secret-and-more secret"), "*** ***");
    }
}
