//! Ways to read a text: as it stands, and with one or two layers of escapes of URLs, forms, JSON or HTML resolved, such
//! as those of JSON within a string of JSON.

use std::ops::Range;

/// Bytes that the longest escapes have: `\ud83d\ude00`, two for one character.
pub(super) const LONGEST_ESCAPE: usize = 12;

/// What an escape at a text's start stands for, and its length; None if there is no whole escape.
type Resolve = fn(&[u8]) -> Option<(Meaning, usize)>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Byte(u8),
    Char(char),
}

/// Each way to resolve escapes: the bytes that begin them, and what resolves them.
const WAYS: [(&[u8], Resolve); 4] = [
    (b"%", percent),
    (b"%+", form),
    // Also of Python, Rust and C.
    (b"\\", backslash),
    (b"&", html),
];

/// A byte that was read, and where in the text it stands; for an escape, where all of that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) byte: u8,
    pub(super) source: Range<usize>,
    /// Whether an escape could have begun here, but none did.
    pub(super) unresolved: bool,
}

/// The text in each way that makes a difference.
pub(super) fn all(text: &str) -> impl Iterator<Item = Vec<Read>> {
    let plain: Vec<Read> = text
        .bytes()
        .enumerate()
        .map(|(at, byte)| Read { byte, source: at..at + 1, unresolved: false })
        .collect();
    let once: Vec<_> = without_a_layer(&plain).collect();
    let resolved = once.into_iter().flat_map(|once| {
        let twice: Vec<_> = without_a_layer(&once).collect();
        std::iter::once(once).chain(twice)
    });
    std::iter::once(plain).chain(resolved)
}

/// What was read, with a layer of its escapes resolved in each way that there can be any.
fn without_a_layer(text: &[Read]) -> impl Iterator<Item = Vec<Read>> {
    let matters = |begins: &[u8]| text.iter().any(|read| begins.contains(&read.byte));
    let ways = WAYS.into_iter().filter(move |(begins, _)| matters(begins));
    ways.map(|(begins, resolve)| resolved(text, begins, resolve))
}

fn resolved(text: &[Read], begins: &[u8], resolve: Resolve) -> Vec<Read> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(first) = text.get(at) {
        let begins = begins.contains(&first.byte);
        let escape = if begins { resolve(&bytes(&text[at..])) } else { None };
        let Some((meaning, length)) = escape else {
            out.push(Read { unresolved: begins || first.unresolved, ..first.clone() });
            at += 1;
            continue;
        };
        let escape = &text[at..at + length];
        let source = first.source.start..escape[length - 1].source.end;
        let unresolved = escape.iter().any(|read| read.unresolved);
        let read = |byte| Read { byte, source: source.clone(), unresolved };
        match meaning {
            Meaning::Byte(byte) => out.push(read(byte)),
            Meaning::Char(char) => out.extend(char.encode_utf8(&mut [0; 4]).bytes().map(read)),
        }
        at += length;
    }
    out
}

/// The first bytes, as many as an escape can have.
fn bytes(text: &[Read]) -> Vec<u8> {
    text.iter().take(LONGEST_ESCAPE).map(|read| read.byte).collect()
}

/// The digits in a text, and the number that they give.
fn number(digits: &[u8], radix: u32) -> Option<u32> {
    // from_str_radix() would take a sign, too.
    let digits = digits.iter().all(|c| char::from(*c).is_digit(radix)).then_some(digits)?;
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()
}

/// The byte that two hexadecimal digits at `at` give.
fn byte(text: &[u8], at: usize) -> Option<Meaning> {
    let value = number(text.get(at..at + 2)?, 16)?;
    u8::try_from(value).ok().map(Meaning::Byte)
}

/// `%2F` (RFC 3986).
fn percent(text: &[u8]) -> Option<(Meaning, usize)> {
    Some((byte(text, 1)?, 3))
}

/// As [`percent`], with a plus sign for a space.
fn form(text: &[u8]) -> Option<(Meaning, usize)> {
    if text.starts_with(b"+") { Some((Meaning::Byte(b' '), 1)) } else { percent(text) }
}

/// `\/`, `\n`, `\u002f`, `\ud83d\ude00` (RFC 8259), and `\x2f`.
fn backslash(text: &[u8]) -> Option<(Meaning, usize)> {
    let char = match text.get(1)? {
        b'u' => return utf16(text),
        b'x' => return Some((byte(text, 2)?, 4)),
        b'b' => '\x08',
        b'f' => '\x0c',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        quoted @ (b'"' | b'\'' | b'\\' | b'/') => char::from(*quoted),
        _ => return None,
    };
    Some((Meaning::Char(char), 2))
}

/// `\u002f`, or two of these for a character beyond 16 bits.
fn utf16(text: &[u8]) -> Option<(Meaning, usize)> {
    let unit = |at: usize| u16::try_from(number(text.get(at..at + 4)?, 16)?).ok();
    let first = unit(2)?;
    let second = text.get(6..8).filter(|begin| *begin == b"\\u").and_then(|_| unit(8));
    let mut chars = char::decode_utf16(std::iter::once(first).chain(second));
    let char = chars.next()?.ok()?;
    Some((Meaning::Char(char), if char.len_utf16() == 2 { 12 } else { 6 }))
}

/// `&amp;`, `&#38;`, `&#x26;`: the five names that everybody escapes, and numbers.
fn html(text: &[u8]) -> Option<(Meaning, usize)> {
    let length = text.iter().position(|byte| *byte == b';')? + 1;
    let char = match &text[1..length - 1] {
        b"amp" => '&',
        b"lt" => '<',
        b"gt" => '>',
        b"quot" => '"',
        b"apos" => '\'',
        [b'#', b'x' | b'X', digits @ ..] => char::from_u32(number(digits, 16)?)?,
        [b'#', digits @ ..] => char::from_u32(number(digits, 10)?)?,
        _ => return None,
    };
    Some((Meaning::Char(char), length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readings(text: &str) -> Vec<String> {
        let read = |reading: Vec<Read>| reading.iter().map(|read| read.byte).collect::<Vec<u8>>();
        all(text).map(|r| String::from_utf8_lossy(&read(r)).into_owned()).collect()
    }

    #[test]
    fn each_way_resolves_its_own_escapes() {
        for (text, read) in [
            ("a/b", vec!["a/b"]),
            (
                "%2f%C3%a4+%4",
                vec!["%2f%C3%a4+%4", "/ä+%4", "/ä+%4", "/ä %4", "/ä %4", "/ä %4", "/ä %4"],
            ),
            (r"\/\n\u00e4\u00E4\x2f", vec![r"\/\n\u00e4\u00E4\x2f", "/\nää/"]),
            (r"\ud83d\ude00\ud83d", vec![r"\ud83d\ude00\ud83d", r"😀\ud83d", r"😀\ud83d"]),
            (r"\q\u00", vec![r"\q\u00", r"\q\u00", r"\q\u00"]),
            ("&#39;&#x27;&#X2f;&apos;&#0047;", vec!["&#39;&#x27;&#X2f;&apos;&#0047;", "''/'/"]),
            ("&lt;&gt;&quot;", vec!["&lt;&gt;&quot;", "<>\""]),
            ("&#x;&#x110000;&ä;&#-5;&nbsp;&", vec!["&#x;&#x110000;&ä;&#-5;&nbsp;&"; 3]),
        ] {
            assert_eq!(readings(text), read, "{text}");
        }
    }

    #[test]
    fn two_layers_of_escapes_are_resolved_in_any_order() {
        for (text, read) in [
            (r#"\\\"a\\\\"#, r#""a\"#),
            (r"\\u0022a", "\"a"),
            ("%2522a", "\"a"),
            ("%5C%22a", "\"a"),
            ("&amp;quot;a", "\"a"),
            (r"\u0026quot;a", "\"a"),
            ("&#37;22a", "\"a"),
        ] {
            assert!(readings(text).iter().any(|found| found == read), "{text}");
        }
    }

    #[test]
    fn an_escape_stands_where_all_of_it_stands() {
        let sources = |text: &str| -> Vec<_> {
            let last = all(text).last().unwrap();
            last.into_iter().map(|read| (read.byte, read.source)).collect()
        };
        assert_eq!(sources("a&#228;b"), [(b'a', 0..1), (0xc3, 1..7), (0xa4, 1..7), (b'b', 7..8)]);
        assert_eq!(sources("a&amp;lt;b"), [(b'a', 0..1), (b'<', 1..9), (b'b', 9..10)]);
    }
}
