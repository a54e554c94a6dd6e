//! Ways to read a text: as it stands, or with the escapes of URLs, forms, JSON or HTML resolved. Of text that is
//! escaped twice, one layer is resolved.

use std::ops::Range;

/// Bytes that the longest escapes have: `\ud83d\ude00`, two for one character.
pub(super) const LONGEST_ESCAPE: usize = 12;

/// What an escape at a text's start stands for, and its length; None if there is no whole escape.
type Resolve = fn(&str) -> Option<(Meaning, usize)>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Byte(u8),
    Char(char),
}

/// Each way to read: the bytes that begin escapes, and what resolves them.
const WAYS: [(&[u8], Resolve); 5] = [
    (b"", |_| None),
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

/// Reads a text in one way.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    text: &'a str,
    begins: &'static [u8],
    resolve: Resolve,
    at: usize,
    /// Bytes of the last escape that are still to be given, and where it stands.
    left: ([u8; 4], Range<usize>),
    source: Range<usize>,
}

impl<'a> Reading<'a> {
    /// The text in each way that makes a difference.
    pub(super) fn all(text: &'a str) -> impl Iterator<Item = Reading<'a>> {
        let matters =
            |begins: &[u8]| begins.is_empty() || text.bytes().any(|byte| begins.contains(&byte));
        WAYS.into_iter().filter(move |(begins, _)| matters(begins)).map(move |(begins, resolve)| {
            Reading { text, begins, resolve, at: 0, left: ([0; 4], 0..0), source: 0..0 }
        })
    }
}

impl Iterator for Reading<'_> {
    type Item = Read;

    fn next(&mut self) -> Option<Read> {
        if let Some(index) = self.left.1.next() {
            let (byte, source) = (self.left.0[index], self.source.clone());
            return Some(Read { byte, source, unresolved: false });
        }
        let byte = *self.text.as_bytes().get(self.at)?;
        let begins = self.begins.contains(&byte);
        let escape = if begins { (self.resolve)(&self.text[self.at..]) } else { None };
        let Some((meaning, length)) = escape else {
            let source = self.at..self.at + 1;
            self.at += 1;
            return Some(Read { byte, source, unresolved: begins });
        };
        self.source = self.at..self.at + length;
        self.at += length;
        let mut bytes = [0; 4];
        let count = match meaning {
            Meaning::Byte(byte) => {
                bytes[0] = byte;
                1
            }
            Meaning::Char(char) => char.encode_utf8(&mut bytes).len(),
        };
        self.left = (bytes, 0..count);
        self.next()
    }
}

/// The number that `digits` many hexadecimal digits at `at` give.
fn hex(text: &str, at: usize, digits: usize) -> Option<u32> {
    let digits = text.get(at..at + digits)?;
    // from_str_radix() would take a sign, too.
    let digits = digits.chars().all(|c| c.is_ascii_hexdigit()).then_some(digits)?;
    u32::from_str_radix(digits, 16).ok()
}

fn byte(text: &str, at: usize) -> Option<Meaning> {
    hex(text, at, 2).and_then(|value| u8::try_from(value).ok()).map(Meaning::Byte)
}

/// `%2F` (RFC 3986).
fn percent(text: &str) -> Option<(Meaning, usize)> {
    Some((byte(text, 1)?, 3))
}

/// As [`percent`], with a plus sign for a space.
fn form(text: &str) -> Option<(Meaning, usize)> {
    if text.starts_with('+') { Some((Meaning::Byte(b' '), 1)) } else { percent(text) }
}

/// `\/`, `\n`, `\u002f`, `\ud83d\ude00` (RFC 8259), and `\x2f`.
fn backslash(text: &str) -> Option<(Meaning, usize)> {
    let char = match text.as_bytes().get(1)? {
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
fn utf16(text: &str) -> Option<(Meaning, usize)> {
    let unit = |at: usize| hex(text, at, 4).and_then(|unit| u16::try_from(unit).ok());
    let first = unit(2)?;
    let second = text.get(6..8).filter(|begin| *begin == "\\u").and_then(|_| unit(8));
    let mut chars = char::decode_utf16(std::iter::once(first).chain(second));
    let char = chars.next()?.ok()?;
    Some((Meaning::Char(char), if char.len_utf16() == 2 { 12 } else { 6 }))
}

/// `&amp;`, `&#38;`, `&#x26;`: the five names that everybody escapes, and numbers.
fn html(text: &str) -> Option<(Meaning, usize)> {
    let most = text.floor_char_boundary(LONGEST_ESCAPE);
    let (name, _) = text.get(1..most)?.split_once(';')?;
    let char = match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        _ => {
            let number = name.strip_prefix('#')?;
            let (radix, digits) = match number.strip_prefix(['x', 'X']) {
                Some(digits) => (16, digits),
                None => (10, number),
            };
            let digits = digits.chars().all(|c| c.is_digit(radix)).then_some(digits)?;
            char::from_u32(u32::from_str_radix(digits, radix).ok()?)?
        }
    };
    Some((Meaning::Char(char), name.len() + 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readings(text: &str) -> Vec<String> {
        let read = |reading: Reading| reading.map(|read| read.byte).collect::<Vec<u8>>();
        Reading::all(text).map(|r| String::from_utf8_lossy(&read(r)).into_owned()).collect()
    }

    #[test]
    fn each_way_resolves_its_own_escapes() {
        for (text, read) in [
            ("a/b", vec!["a/b"]),
            ("%2f%2F%C3%a4+%2", vec!["%2f%2F%C3%a4+%2", "//ä+%2", "//ä %2"]),
            (r"\/\\\n\u00e4\u00E4\x2f", vec![r"\/\\\n\u00e4\u00E4\x2f", "/\\\nää/"]),
            (r"\ud83d\ude00\ud83d", vec![r"\ud83d\ude00\ud83d", r"😀\ud83d"]),
            (r"\q\u00", vec![r"\q\u00", r"\q\u00"]),
            (
                "&amp;&lt;&gt;&quot;&#39;&#x27;&#X2f;&apos;&#0047;&nbsp;&",
                vec![
                    "&amp;&lt;&gt;&quot;&#39;&#x27;&#X2f;&apos;&#0047;&nbsp;&",
                    "&<>\"''/'/&nbsp;&",
                ],
            ),
            (
                "&#+65;&#x;&#x110000;&ä;",
                vec![
                    "&#+65;&#x;&#x110000;&ä;",
                    "&# 65;&#x;&#x110000;&ä;",
                    "&#+65;&#x;&#x110000;&ä;",
                ],
            ),
        ] {
            assert_eq!(readings(text), read, "{text}");
        }
    }

    #[test]
    fn an_escape_stands_where_all_of_it_stands() {
        let html = Reading::all("a&#228;b").last().unwrap();
        let sources: Vec<_> = html.map(|read| (read.byte, read.source)).collect();
        assert_eq!(sources, [(b'a', 0..1), (0xc3, 1..7), (0xa4, 1..7), (b'b', 7..8)]);
    }
}
