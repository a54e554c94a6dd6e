//! Credentials that no setting holds, such as a session that the ticket system opened: what they are called tells them.
//!
//! This is a guess by names, a second line behind the backend's own secret, which is found whatever it is called. It
//! knows how JSON, forms, URLs, XML, headers and Python's printouts write a name and its value. Where it can't tell, it
//! takes more rather than less.

use std::ops::Range;

use crate::credential_name::is_credential;

/// The schemes of the header Authorization that are shown, since they are no part of the credential.
const SCHEMES: [&str; 6] = ["apikey", "basic", "bearer", "digest", "geniekey", "token"];

/// A header's value, as `***` or, with its scheme, as `Bearer ***` if it is a credential.
pub(super) fn header(name: &str, value: &str) -> Option<String> {
    let shown = scheme(value.as_bytes());
    is_credential(name.as_bytes()).then(|| format!("{}***", &value[..shown]))
}

/// The length of `Bearer ` if a value begins with that or with another known scheme.
fn scheme(value: &[u8]) -> usize {
    let begins = |known: &&str| {
        let word = value.get(..known.len());
        word.is_some_and(|word| word.eq_ignore_ascii_case(known.as_bytes()))
            && value.get(known.len()) == Some(&b' ')
    };
    SCHEMES.iter().find(|known| begins(known)).map_or(0, |known| known.len() + 1)
}

/// Where the values of credentials stand in a text. It may be cut anywhere. What is within a value is not looked at
/// again, and so the time grows with the text alone.
pub(super) fn values(text: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    // Where the tag began that is still open.
    let mut tag = None;
    let mut at = 0;
    while at < text.len() {
        let (before, after) = (&text[..at], &text[at + 1..]);
        let value = match text[at] {
            b':' => user_of_url(after).or_else(|| behind_colon(before, after)),
            b'=' => behind_equals_sign(before, after),
            b'<' => {
                tag = Some(at + 1);
                None
            }
            b'>' => tag.take().and_then(|tag| behind_tag(&text[tag..at], after)),
            _ => None,
        };
        at += 1;
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            found.push(at + value.start..at + value.end);
            at += value.end;
        }
    }
    found
}

/// `//user:password@host`: all before the `@`, since a token can be in the user's place.
fn user_of_url(after: &[u8]) -> Option<Range<usize>> {
    let authority = after.strip_prefix(b"//")?;
    let end = length_until(authority, |byte| ends_form_value(byte) || b"/?\\'".contains(&byte));
    let at_sign = authority[..end].iter().rposition(|byte| *byte == b'@')?;
    Some(2..2 + at_sign)
}

/// `"token": "value"`, `"pin": 1234`, `"tokens": ["value"]`; and of names without quotes `token: "value"`, at the beginning of
/// a line `Cookie: a=b`, and anywhere `Authorization: Bearer value`.
fn behind_colon(before: &[u8], after: &[u8]) -> Option<Range<usize>> {
    let name = Name::at_end_of(before).filter(|name| is_credential(name.text))?;
    let start = length_until(after, |byte| !byte.is_ascii_whitespace());
    let value = &after[start..];
    if let Some(inside) = quoted(value) {
        return Some(start + inside.start..start + inside.end);
    }
    if name.is_quoted {
        return match value.first()? {
            b'[' | b'{' => Some(start + 1..start + end_of_brackets(value)),
            _ => {
                let end =
                    length_until(value, |byte| ends_form_value(byte) || b",]}".contains(&byte));
                let is_none = matches!(&value[..end], b"null" | b"None" | b"true" | b"false");
                (!is_none).then_some(start..start + end)
            }
        };
    }
    let ends_line = |byte| matches!(byte, b'\r' | b'\n');
    if after[..start].iter().any(|byte| ends_line(*byte)) {
        return None;
    }
    let shown = scheme(value);
    let end = match name.first_in_line() {
        Some(quote) => {
            length_until(value, |byte| ends_line(byte) || byte == b'<' || Some(byte) == quote)
        }
        None if shown > 0 => shown + length_until(&value[shown..], ends_form_value),
        None => return None,
    };
    Some(start + shown..start + end)
}

/// `token=value` of forms, URLs and settings; `token="value"` of XML, HTML and headers; `'token' => 'value'` of PHP and Ruby.
fn behind_equals_sign(before: &[u8], after: &[u8]) -> Option<Range<usize>> {
    Name::at_end_of(before).filter(|name| is_credential(name.text))?;
    let arrow = usize::from(after.first() == Some(&b'>'));
    let start = arrow + length_until(&after[arrow..], |byte| !matches!(byte, b' ' | b'\t'));
    let value = &after[start..];
    if let Some(inside) = quoted(value) {
        return Some(start + inside.start..start + inside.end);
    }
    // Two of them compare.
    if value.first() == Some(&b'=') {
        return None;
    }
    let shown = scheme(value);
    let end = shown + length_until(&value[shown..], ends_form_value);
    Some(start + shown..start + end)
}

/// `<password>value</password>`; `tag` is what is between `<` and `>`.
fn behind_tag(tag: &[u8], after: &[u8]) -> Option<Range<usize>> {
    let name = &tag[..length_until(tag, |byte| byte.is_ascii_whitespace() || byte == b'/')];
    if tag.ends_with(b"/") || !is_credential(name) {
        return None;
    }
    const CDATA: &[u8] = b"<![CDATA[";
    if let Some(inside) = after.strip_prefix(CDATA) {
        let end = inside.windows(3).position(|end| end == b"]]>").unwrap_or(inside.len());
        return Some(CDATA.len()..CDATA.len() + end);
    }
    let end = length_until(after, |byte| byte == b'<');
    match &after[end..] {
        [b'<', b'/', ..] => Some(0..end),
        // The text was cut here, or this was no element: "Send PRIVATE-TOKEN: <token>".
        [] | [b'<'] => Some(0..length_until(after, |byte| matches!(byte, b'\n' | b'"' | b'<'))),
        _ => None,
    }
}

/// A name that stands before a `:` or a `=`.
struct Name<'a> {
    text: &'a [u8],
    is_quoted: bool,
    /// What stands before it, without its own quote.
    before: &'a [u8],
}

impl<'a> Name<'a> {
    /// `name`, `"name"`, `user[name]` or `user["name"]`, and spaces.
    fn at_end_of(text: &'a [u8]) -> Option<Name<'a>> {
        let text = text.trim_ascii_end();
        let is_closing = |byte: &u8| matches!(byte, b'"' | b'\'' | b']');
        let closing = text.iter().rev().take_while(|byte| is_closing(byte)).count();
        let (text, closing) = text.split_at(text.len() - closing);
        let in_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.[]".contains(byte);
        let length = text.iter().rev().take_while(|byte| in_name(byte)).count();
        let (before, name) = text.split_at(text.len() - length);
        let is_quoted = closing.iter().any(|byte| *byte != b']');
        (length > 0).then_some(Name { text: name, is_quoted, before })
    }

    /// Whether a name without quotes is the first on its line, as in a header or in YAML. A line can also be a string or an
    /// element; then the quote that it ends with is given.
    fn first_in_line(&self) -> Option<Option<u8>> {
        let is_indent = |byte: &u8| matches!(byte, b' ' | b'\t' | b'-' | b'*');
        let indent = self.before.iter().rev().take_while(|byte| is_indent(byte)).count();
        match self.before[..self.before.len() - indent].last() {
            None | Some(b'\n' | b'\r' | b'<' | b'>') => Some(None),
            Some(quote @ (b'"' | b'\'')) => Some(Some(*quote)),
            Some(_) => None,
        }
    }
}

/// How many bytes there are before the first that ends them.
fn length_until(text: &[u8], mut ends: impl FnMut(u8) -> bool) -> usize {
    text.iter().position(|byte| ends(*byte)).unwrap_or(text.len())
}

fn ends_form_value(byte: u8) -> bool {
    byte.is_ascii_whitespace() || b"&;#\"<>".contains(&byte)
}

/// What is within the quotes that a text begins with.
fn quoted(text: &[u8]) -> Option<Range<usize>> {
    let quote = *text.first().filter(|byte| matches!(byte, b'"' | b'\''))?;
    let mut escaped = false;
    let length = length_until(&text[1..], |byte| {
        let ends = byte == quote && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    Some(1..1 + length)
}

/// Where the bracket stands that closes the one that a text begins with.
fn end_of_brackets(text: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(byte) = text.get(at) {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' if depth == 1 => return at,
            b']' | b'}' => depth -= 1,
            b'"' => at += quoted(&text[at..]).map_or(0, |inside| inside.end),
            _ => {}
        }
        at += 1;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_whose_name_says_so_is_a_credential_and_its_scheme_is_none() {
        for (name, value, shown) in [
            ("Authorization", "Bearer abc", Some("Bearer ***")),
            ("authorization", "GenieKey abc", Some("GenieKey ***")),
            ("Authorization", "two words", Some("***")),
            ("Authorization", "Bearer", Some("***")),
            ("Proxy-Authorization", "Basic abc", Some("Basic ***")),
            ("Cookie", "session=abc; theme=dark", Some("***")),
            ("set-cookie", "session=abc; Path=/", Some("***")),
            ("PRIVATE-TOKEN", "abc", Some("***")),
            ("X-Api-Key", "abc", Some("***")),
            ("X-Hub-Signature-256", "sha256=abc", Some("***")),
            ("X-Request-Id", "abc", None),
            ("Content-Type", "text/plain", None),
        ] {
            assert_eq!(header(name, value).as_deref(), shown, "{name}: {value}");
        }
    }

    #[track_caller]
    fn finds(text: &str, values: &[&str]) {
        let found = super::values(text.as_bytes()).into_iter().map(|range| &text[range]);
        assert_eq!(found.collect::<Vec<_>>(), values, "{text}");
    }

    #[test]
    fn the_values_of_credentials_are_found_however_they_are_written() {
        for (text, values) in [
            // JSON.
            (r#"{"access_token": "abc", "id": "7"}"#, &["abc"][..]),
            (r#"{"token" : "a\"b\\","x":1}"#, &[r#"a\"b\\"#]),
            (r#"{"password":12345678,"x":1}"#, &["12345678"]),
            (r#"{"tokens":["abc", "d]e"],"x":1}"#, &[r#""abc", "d]e""#]),
            (r#"{"credentials":{"value":{"a":"x"}},"x":1}"#, &[r#""value":{"a":"x"}"#]),
            // Forms and URLs.
            ("user=argus&password=abc%20d&client_secret=x", &["abc%20d", "x"]),
            ("https://x.org/?private_token=abc#top", &["abc"]),
            ("user[password]=x&tokens[]=y&user=z", &["x", "y"]),
            ("user=argus&pass=abc&id=7", &["abc"]),
            ("https://argus:p:w@x.org/a@b and https://abc@x.org", &["argus:p:w", "abc"]),
            // XML, HTML and headers' parameters.
            (r#"<login token="abc def" id="7"/>"#, &["abc def"]),
            ("<wsse:Password type='x'>a&lt;b</wsse:Password><id>7</id>", &["a&lt;b"]),
            ("<password><![CDATA[a<b]]></password>", &["a<b"]),
            (r#"Digest user="argus", token="abc""#, &["abc"]),
            // Python, PHP, JavaScript, settings.
            ("{'token': 'abc', 'id': 7, 'password': None}", &["abc"]),
            (r#"['token' => 'abc', "id" => 7]"#, &["abc"]),
            (r#"env["API_TOKEN"] = "abc""#, &["abc"]),
            (r#"{token: "abc"}"#, &["abc"]),
            ("the api_token = abc is", &["abc"]),
            // Headers and YAML, as lines and as strings.
            ("Host: x\r\nAuthorization: Bearer abc\r\nAccept: *", &["abc"]),
            ("> Cookie: a=b; c=d\n  password: a b\n- token: c\n", &["a=b; c=d", "a b", "c"]),
            (r#"["Set-Cookie: a=b; c=d", "Host: x"]"#, &["a=b; c=d"]),
            ("curl -H 'PRIVATE-TOKEN: abc' x", &["abc"]),
            ("refused Authorization: Basic abc for it", &["abc"]),
            // Cut.
            (r#"{"refreshToken":"ab"#, &["ab"]),
            (r#"{"tokens":["ab"#, &[r#""ab"#]),
            ("<password>ab", &["ab"]),
            ("<password>ab<", &["ab"]),
            ("Authorization: Bearer a", &["a"]),
        ] {
            finds(text, values);
        }
        for name in [
            "pwd",
            "userPass",
            "DB_PASS",
            "session",
            "jwt",
            "sig",
            "X-Amz-Signature",
            "PHPSESSID",
            "JSESSIONID",
            "authToken",
            "token_value",
            "AWSAccessKeyId",
            "pass2",
            "passphrase",
        ] {
            finds(&format!("a=b&{name}=abc&c=d"), &["abc"]);
            finds(&format!("{{\"{name}\":\"abc\"}}"), &["abc"]);
        }
    }

    #[test]
    fn what_is_no_credential_stays() {
        for text in [
            r#"{"key": "incident-key", "self": "https://x.org/a=b", "keyboard": "abc"}"#,
            r#"{"description": "the password was wrong", "passed": 5, "compass": "north"}"#,
            r#"{"token": null, "password": "", "signature_required": "x", "secretary": "Ann"}"#,
            r#"{"sessions_open": 7, "passwordless": true}"#,
            "tokenizer=abc&tokenization=abc&bypass_x=1&key=7",
            "the token: it is not shown",
            "is the password wrong? x:y, a = b",
            "if token == other { x }",
            "<description>the token</description><keyboard>x</keyboard><token/>",
            "send <your_token> to <b>us</b>",
            "mail noc@x.org, see https://x.org/@noc and http://x.org:80/a@b",
            "=:=\"<>'",
            ":",
            "",
        ] {
            finds(text, &[]);
        }
    }

    #[test]
    fn a_hostile_text_takes_time_that_grows_with_its_length_alone() {
        for text in [
            r#"token:\"token:\""#,
            "token:\"",
            "token=",
            "token:",
            "\"token\":[",
            "\"token\":",
            "<token>",
            "<token",
            "<token>x</",
            "<token><![CDATA[",
            "://",
            "://@",
            "a@://",
            "token ",
            "[\"']=",
            "=    ",
            "token: token ",
            "- - -token:",
            "token=\"'",
            "token=>",
        ] {
            let long = text.repeat((256 << 10) / text.len());
            // The best of some tries: on a busy machine others have the processor in between.
            let tries = (0..5).map(|_| {
                let started = std::time::Instant::now();
                super::values(long.as_bytes());
                started.elapsed()
            });
            let took = tries.min().unwrap();
            assert!(took < std::time::Duration::from_millis(500), "{text}: {took:?}");
        }
    }
}
