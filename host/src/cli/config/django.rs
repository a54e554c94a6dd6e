//! Reads assignments of literals out of a Django settings file, without running Python. The output of Django's
//! `diffsettings` and the lines of `env` are read as well.
//!
//! Invariant: no error quotes what stands in the file, which may be a secret.

use std::collections::BTreeMap;

use serde_json::Number;

/// How deep lists and dicts may be in one another.
const DEEPEST: usize = 32;
/// What gives the value of an environment variable when it is called with the variable's name.
const GETS_VARIABLE: [&str; 7] =
    ["os.environ.get", "environ.get", "os.getenv", "getenv", "env", "env.str", "get_str_env"];

/// An assignment to a name that was asked for.
#[derive(Debug)]
pub(super) struct Assignment {
    pub name: &'static str,
    /// Its line, from 1.
    pub line: usize,
    pub value: Result<Value, Unreadable>,
}

/// A value that stands in the file. What is read from elsewhere has a shape of its own, so that no text or dict of the
/// file can be taken for it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Value>),
    Map(BTreeMap<String, Value>),
    /// What the environment variable `name` has. The file's default for it is not kept.
    Variable {
        name: String,
        has_default: bool,
    },
}

impl From<serde_json::Value> for Value {
    fn from(json: serde_json::Value) -> Value {
        match json {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(flag) => Value::Bool(flag),
            serde_json::Value::Number(number) => Value::Number(number),
            serde_json::Value::String(text) => Value::Text(text),
            serde_json::Value::Array(items) => {
                Value::List(items.into_iter().map(Value::from).collect())
            }
            serde_json::Value::Object(members) => {
                Value::Map(members.into_iter().map(|(name, value)| (name, value.into())).collect())
            }
        }
    }
}

/// Why a value can't be read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Unreadable {
    pub line: usize,
    pub why: &'static str,
}

/// All assignments to one of `names`, in the order of the file.
pub(super) fn assignments(text: &str, names: &[&'static str]) -> Vec<Assignment> {
    // Editors on Windows begin a file with a byte order mark.
    let text = text.trim_start_matches('\u{feff}');
    match shell_lines(text) {
        Some(lines) => shell_assignments(&lines, names),
        None => python_assignments(text, names),
    }
}

fn python_assignments(text: &str, names: &[&'static str]) -> Vec<Assignment> {
    let mut reader = Reader { text, at: 0 };
    let mut found = Vec::new();
    let (mut depth, mut begins, mut binds) = (0, true, false);
    while !reader.is_at_end() {
        if begins && depth == 0 {
            if let Some(assignment) = reader.statement(names) {
                found.push(assignment);
                begins = false;
                continue;
            }
            binds = reader.binds_names();
        }
        match reader.word() {
            Some(word) => {
                let name = names.iter().find(|name| **name == word).copied();
                let name = name.filter(|_| binds || reader.is_at_binding(depth));
                found.extend(name.map(|name| Assignment {
                    name,
                    line: reader.line(),
                    value: reader.fails("is set here in a way that only Python knows"),
                }));
                begins = false;
            }
            None => begins = reader.step(&mut depth),
        }
    }
    found
}

/// The lines `NAME=VALUE` of a shell's file or of `env`, each with its number. None if a line is something else: then
/// the file is Python, which may have assignments without blanks as well.
fn shell_lines(text: &str) -> Option<Vec<(usize, &str, &str)>> {
    let lines = text.lines().enumerate().map(|(number, line)| (number + 1, line.trim_end()));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let lines = lines.map(|(number, line)| {
        let (name, value) = line.strip_prefix("export ").unwrap_or(line).split_once('=')?;
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
        (is_name && !value.starts_with([' ', '='])).then_some((number, name, value))
    });
    lines.collect()
}

fn shell_assignments(lines: &[(usize, &str, &str)], names: &[&'static str]) -> Vec<Assignment> {
    let assignments = lines.iter().filter_map(|&(line, name, value)| {
        let name = names.iter().find(|known| **known == name).copied()?;
        let names_another = lines.iter().any(|(_, other, _)| *other == value);
        let value = shell_value(value, names_another).map_err(|why| Unreadable { line, why });
        Some(Assignment { name, line, value })
    });
    assignments.collect()
}

/// A value as a shell has it: what isn't quoted is the text.
fn shell_value(text: &str, names_another: bool) -> Result<Value, &'static str> {
    match (Reader { text, at: 0 }).whole() {
        Ok(value) => Ok(value),
        Err(unreadable) if text.starts_with(['"', '\'']) => Err(unreadable.why),
        Err(_) if names_another || text.contains(['$', '`', '(']) => {
            Err("is not a literal: its value is made elsewhere")
        }
        Err(_) => Ok(Value::Text(text.to_owned())),
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn is_at_end(&self) -> bool {
        self.at == self.text.len()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    /// Skips `text` if it comes next.
    fn skips(&mut self, text: &str) -> bool {
        let comes = self.rest().starts_with(text);
        if comes {
            self.at += text.len();
        }
        comes
    }

    /// The characters for which `wanted` is true, up to the first for which it isn't.
    fn take(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let taken = &rest[..rest.find(|c| !wanted(c)).unwrap_or(rest.len())];
        self.at += taken.len();
        taken
    }

    fn spaces(&mut self) {
        loop {
            self.take(|c| matches!(c, ' ' | '\t' | '\r'));
            if !self.skips("\\\n") && !self.skips("\\\r\n") {
                return;
            }
        }
    }

    /// What Python ignores: within brackets also the ends of lines and comments.
    fn blank(&mut self, depth: usize) {
        self.spaces();
        while depth > 0 && matches!(self.peek(), Some('\n' | '#')) {
            self.take(|c| c != '\n');
            self.skips("\n");
            self.spaces();
        }
    }

    fn fails<T>(&self, why: &'static str) -> Result<T, Unreadable> {
        Err(Unreadable { line: self.line(), why })
    }

    fn line(&self) -> usize {
        self.text[..self.at].matches('\n').count() + 1
    }

    /// Whether the statement that begins here gives its names values without a `=`.
    fn binds_names(&self) -> bool {
        let rest = self.rest().trim_start_matches([' ', '\t']);
        ["from ", "import ", "del ", "for "].iter().any(|word| rest.starts_with(word))
    }

    /// Skips a word that comes next, or an attribute with its dot, which is nobody's name.
    fn word(&mut self) -> Option<&'a str> {
        let start = self.at;
        self.take(|c| c == '.');
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let word = if self.is_at_string() { "" } else { self.take(is_word) };
        if word.is_empty() {
            self.at = start;
            return None;
        }
        Some(&self.text[start..self.at])
    }

    /// Whether the name that was just read gets a value here. In brackets `name=` is an argument's, and a comma says nothing.
    fn is_at_binding(&self, depth: usize) -> bool {
        let rest = self.rest().trim_start_matches([' ', '\t']);
        let is_set = rest.starts_with('=') && !rest.starts_with("==");
        let is_changed = ["+=", "|="].iter().any(|operator| rest.starts_with(operator));
        rest.starts_with(":=") || depth == 0 && (is_set || is_changed || rest.starts_with(','))
    }

    /// Skips a string, a comment or one character; `depth` counts the brackets that are open. Returns whether a
    /// statement can begin there.
    fn step(&mut self, depth: &mut usize) -> bool {
        if matches!(self.peek(), Some('"' | '\'')) {
            // One that doesn't end is Python's to complain of.
            let _ = self.quoted(true, &mut String::new());
            return false;
        }
        match self.next() {
            Some('#') => {
                self.take(|c| c != '\n');
            }
            Some('(' | '[' | '{') => *depth += 1,
            Some(')' | ']' | '}') => *depth = depth.saturating_sub(1),
            Some('\n' | ';') => return true,
            _ => {}
        }
        false
    }

    /// The assignment that begins here. If none to one of `names` does, nothing is read.
    fn statement(&mut self, names: &[&'static str]) -> Option<Assignment> {
        let start = self.at;
        let is_indented = !self.take(|c| matches!(c, ' ' | '\t')).is_empty();
        // A line that `diffsettings --output unified` adds.
        self.skips("+ ");
        let word = self.take(|c| c.is_alphanumeric() || c == '_');
        let name = names.iter().find(|name| **name == word).copied();
        let line = name.map_or(0, |_| self.line());
        let value = name.and_then(|_| self.assigned());
        let (Some(name), Some(value)) = (name, value) else {
            self.at = start;
            return None;
        };
        let why = "stands in a block (if, try, ...): only Python knows whether it holds";
        let value = if is_indented { Err(Unreadable { line, why }) } else { value };
        Some(Assignment { name, line, value })
    }

    /// What is assigned to the name that was just read. None if nothing is.
    fn assigned(&mut self) -> Option<Result<Value, Unreadable>> {
        self.spaces();
        if matches!(self.peek(), Some(':')) {
            self.take(|c| !matches!(c, '=' | '\n'));
        }
        if matches!(self.peek(), Some('[' | '.' | '|' | '+')) {
            return Some(
                self.fails("is changed here, and not set: only Python knows what it is then"),
            );
        }
        if self.rest().starts_with("==") || !self.skips("=") {
            return None;
        }
        let start = self.at;
        let value = self.whole();
        if value.is_err() {
            self.at = start;
        }
        Some(value)
    }

    /// The value up to the end of the statement.
    fn whole(&mut self) -> Result<Value, Unreadable> {
        let value = self.value(0)?;
        self.spaces();
        match self.peek() {
            None | Some('\n' | ';' | '#') => Ok(value),
            Some(_) => self.fails("is not a literal alone: something is done with it"),
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, Unreadable> {
        if depth > DEEPEST {
            return self.fails("has too many lists and dicts in one another");
        }
        self.blank(depth);
        if self.is_at_string() {
            return self.strings(depth);
        }
        match self.peek() {
            Some('{') => self.dict(depth + 1),
            Some('[') => self.list("[", "]", depth + 1).map(|(items, _)| Value::List(items)),
            Some('(') => {
                let (mut items, has_comma) = self.list("(", ")", depth + 1)?;
                // Parentheses around one value are no tuple.
                Ok(if items.len() == 1 && !has_comma {
                    items.remove(0)
                } else {
                    Value::List(items)
                })
            }
            Some(c) if c.is_ascii_digit() || matches!(c, '-' | '+' | '.') => self.number(),
            Some(c) if c.is_alphabetic() || c == '_' => self.named(depth),
            _ => self.fails("is not a literal"),
        }
    }

    /// Whether a string begins here: a quote, perhaps with a prefix.
    fn is_at_string(&self) -> bool {
        let prefix = self.rest().find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(0);
        prefix <= 2 && self.rest()[prefix..].starts_with(['"', '\''])
    }

    /// Strings that follow one another are one.
    fn strings(&mut self, depth: usize) -> Result<Value, Unreadable> {
        let mut text = String::new();
        while self.is_at_string() {
            let prefix = self.take(|c| c.is_ascii_alphabetic()).to_ascii_lowercase();
            match prefix.as_str() {
                "" | "u" => self.quoted(false, &mut text)?,
                "r" => self.quoted(true, &mut text)?,
                _ => {
                    return self.fails("is an f-string or bytes, which Python must make a text of");
                }
            }
            self.blank(depth);
        }
        Ok(Value::Text(text))
    }

    /// A string without its prefix, whose text is added to `out`.
    fn quoted(&mut self, raw: bool, out: &mut String) -> Result<(), Unreadable> {
        let quotes = ["\"\"\"", "'''", "\"", "'"];
        let Some(quote) = quotes.into_iter().find(|quote| self.skips(quote)) else {
            return self.fails("is not a string");
        };
        while !self.skips(quote) {
            if quote.len() == 1 && self.rest().starts_with('\n') {
                return self.fails("has a string without an end");
            }
            match self.next() {
                Some('\\') if raw => {
                    out.push('\\');
                    // Also in a raw string a quote behind a backslash doesn't end it.
                    out.extend(self.next());
                }
                Some('\\') => self.escape(out)?,
                Some(c) => out.push(c),
                None => return self.fails("has a string without an end"),
            }
        }
        Ok(())
    }

    /// What stands behind a backslash (Python's reference, 2.4.1.1).
    fn escape(&mut self, out: &mut String) -> Result<(), Unreadable> {
        let code = match self.next() {
            Some('\n') => return Ok(()),
            Some('\r') if self.skips("\n") => return Ok(()),
            Some(c @ ('\\' | '\'' | '"')) => c as u32,
            Some('a') => 7,
            Some('b') => 8,
            Some('f') => 12,
            Some('n') => 10,
            Some('r') => 13,
            Some('t') => 9,
            Some('v') => 11,
            Some('x') => self.code(2, 16)?,
            Some('u') => self.code(4, 16)?,
            Some('U') => self.code(8, 16)?,
            Some('0'..='7') => {
                self.at -= 1;
                let digits = self.rest().chars().take(3).take_while(|c| c.is_digit(8)).count();
                self.code(digits, 8)?
            }
            Some('N') => return self.fails("has a \\N escape, whose names only Python knows"),
            // Python leaves others as they are.
            Some(c) => {
                out.push('\\');
                c as u32
            }
            None => return self.fails("has a string without an end"),
        };
        match char::from_u32(code) {
            Some(c) => out.push(c),
            None => return self.fails("has an escape that is no character"),
        }
        Ok(())
    }

    fn code(&mut self, digits: usize, radix: u32) -> Result<u32, Unreadable> {
        let code = self.rest().get(..digits).and_then(|code| u32::from_str_radix(code, radix).ok());
        let Some(code) = code else { return self.fails("has an escape that is no character") };
        self.at += digits;
        Ok(code)
    }

    fn number(&mut self) -> Result<Value, Unreadable> {
        let is_negative = self.skips("-");
        let _ = self.skips("+");
        let text =
            self.take(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.')).replace('_', "");
        let prefixed = |prefix, radix| {
            let digits = text.strip_prefix(prefix)?;
            Some(i64::from_str_radix(digits, radix).ok().map(Number::from))
        };
        let number = prefixed("0x", 16)
            .or_else(|| prefixed("0o", 8))
            .or_else(|| prefixed("0b", 2))
            .unwrap_or_else(|| match text.parse::<i64>() {
                Ok(number) => Some(number.into()),
                Err(_) if text.contains('.') => text.parse().ok().and_then(Number::from_f64),
                Err(_) => None,
            });
        let number = number.and_then(|number| match (is_negative, number.as_i64()) {
            (false, _) => Some(number),
            (true, Some(whole)) => Some((-whole).into()),
            (true, None) => Number::from_f64(-number.as_f64()?),
        });
        number.map_or_else(
            || self.fails("has a number that is too large, or none"),
            |n| Ok(Value::Number(n)),
        )
    }

    /// Values in brackets, and whether there was a comma behind the last one.
    fn list(
        &mut self,
        open: &str,
        close: &str,
        depth: usize,
    ) -> Result<(Vec<Value>, bool), Unreadable> {
        self.skips(open);
        let (mut items, mut has_comma) = (Vec::new(), false);
        loop {
            self.blank(depth);
            if self.skips(close) {
                return Ok((items, has_comma));
            }
            if !items.is_empty() && !has_comma {
                return self.fails("has a list without a comma between its items");
            }
            items.push(self.value(depth)?);
            self.blank(depth);
            has_comma = self.skips(",");
        }
    }

    fn dict(&mut self, depth: usize) -> Result<Value, Unreadable> {
        self.skips("{");
        let mut members = BTreeMap::new();
        loop {
            self.blank(depth);
            if self.skips("}") {
                return Ok(Value::Map(members));
            }
            let name = match self.value(depth)? {
                Value::Text(name) => name,
                Value::Number(number) => number.to_string(),
                _ => return self.fails("has a key that is neither a text nor a number"),
            };
            self.blank(depth);
            if !self.skips(":") {
                return self.fails("has a set or a comprehension, and no dict");
            }
            members.insert(name, self.value(depth)?);
            self.ends_item("}", depth)?;
        }
    }

    /// The comma behind an item, unless `close` comes next.
    fn ends_item(&mut self, close: &str, depth: usize) -> Result<(), Unreadable> {
        self.blank(depth);
        if self.skips(",") || self.rest().starts_with(close) {
            return Ok(());
        }
        self.fails("is not a literal: something is done with what is in it")
    }

    /// What begins with a name: a constant, a dict with named members, or an environment variable.
    fn named(&mut self, depth: usize) -> Result<Value, Unreadable> {
        let name = self.take(|c| c.is_alphanumeric() || matches!(c, '_' | '.'));
        match (name, self.peek()) {
            ("True" | "true", _) => Ok(Value::Bool(true)),
            ("False" | "false", _) => Ok(Value::Bool(false)),
            ("None" | "null", _) => Ok(Value::Null),
            ("dict", Some('(')) => self.keywords(depth + 1),
            ("os.environ" | "environ", Some('[')) => self.variable("[", "]", depth + 1),
            (name, Some('(')) if GETS_VARIABLE.contains(&name) => {
                self.variable("(", ")", depth + 1)
            }
            _ => self.fails("is not a literal: its value is made elsewhere"),
        }
    }

    /// `dict(name=value)`.
    fn keywords(&mut self, depth: usize) -> Result<Value, Unreadable> {
        self.skips("(");
        let mut members = BTreeMap::new();
        loop {
            self.blank(depth);
            if self.skips(")") {
                return Ok(Value::Map(members));
            }
            let name = self.take(|c| c.is_alphanumeric() || c == '_');
            self.blank(depth);
            if name.is_empty() || !self.skips("=") {
                return self.fails("has a dict() of something else than names and values");
            }
            members.insert(name.to_owned(), self.value(depth)?);
            self.ends_item(")", depth)?;
        }
    }

    /// The name of an environment variable. What else stands there is its default, of which only that it is there is kept.
    fn variable(&mut self, open: &str, close: &str, depth: usize) -> Result<Value, Unreadable> {
        self.skips(open);
        let Value::Text(name) = self.value(depth)? else {
            return self.fails("has an environment variable whose name is no text");
        };
        self.blank(depth);
        let mut has_default = false;
        if self.skips(",") {
            self.blank(depth);
            let _ = self.skips("default=");
            has_default = !self.rest().starts_with(close);
            if has_default {
                self.value(depth)?;
            }
            self.blank(depth);
            let _ = self.skips(",");
            self.blank(depth);
        }
        if !self.skips(close) {
            return self.fails("is not a literal: its value is made elsewhere");
        }
        Ok(Value::Variable { name, has_default })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Result<Value, Unreadable> {
        let mut found = assignments(text, &["X"]);
        assert_eq!(found.len(), 1, "{found:?} in {text}");
        found.remove(0).value
    }

    #[test]
    fn literals_are_read_as_python_reads_them() {
        for (text, expected) in [
            (r#"'a' "b""#, json!("ab")),
            ("(\n  'a'  # one\n  'b'\n)", json!("ab")),
            (r#""it's \"x\" \\ \n \x41\u00e6\101 \q""#, json!("it's \"x\" \\ \n A\u{e6}A \\q")),
            (r#"r"\d\"""#, json!("\\d\\\"")),
            ("'''one\n'two' \"\"\"'''", json!("one\n'two' \"\"\"")),
            ("u'x'", json!("x")),
            ("'''a\\\nb'''", json!("ab")),
            (
                "{'a': 1, \"b\": [True, False, None], 3: (1, 2), 'd': (1,), 'e': ('x'), }",
                json!({"a": 1, "b": [true, false, null], "3": [1, 2], "d": [1], "e": "x"}),
            ),
            ("{ # comment } here\n 'a' : 'x#y',\n\n}  # end", json!({"a": "x#y"})),
            ("dict(a='x', b=dict(c=1,),)", json!({"a": "x", "b": {"c": 1}})),
            ("[1_000, -2, 0x1f, 1.5, -0.5, 1.e3]", json!([1000, -2, 31, 1.5, -0.5, 1000.0])),
            ("()", json!([])),
            ("{}", json!({})),
            ("\\\n  'x'", json!("x")),
            ("'x'; Y = 1", json!("x")),
        ] {
            let value = read(&format!("X = {text}\nY = 2\n")).unwrap();
            assert_eq!(value, expected.into(), "{text}");
        }
    }

    #[test]
    fn environment_variables_are_told_from_the_texts_and_dicts_of_the_file() {
        for (text, has_default) in [
            ("os.environ['T']", false),
            ("os.environ.get(\"T\")", false),
            ("os.environ.get(\"T\",)", false),
            ("os.getenv('T', 'default')", true),
            ("env.str('T', default='x')", true),
            ("get_str_env('T', 'x',)", true),
        ] {
            let value = read(&format!("X = {text}\n")).unwrap();
            assert_eq!(value, Value::Variable { name: "T".to_owned(), has_default }, "{text}");
        }
        assert_eq!(read("X = {'env': 'T'}").unwrap(), json!({"env": "T"}).into());
    }

    #[test]
    fn only_a_file_whose_lines_are_all_a_shells_has_texts_without_quotes() {
        for text in [
            "import os\nX=PLUGIN\n",
            "Y = 1\nX=get_endpoint()\n",
            "X=get_endpoint()\n",
            "X=$(cat f)\n",
            "X=$Y\n",
            "X=`cat f`\n",
            "PLUGIN=\"rt\"\nX=PLUGIN\n",
        ] {
            assert!(read(text).unwrap_err().why.contains("not a literal"), "{text}");
        }
    }

    #[test]
    fn a_name_that_is_set_in_a_way_that_only_python_knows_is_told_with_its_line() {
        for text in [
            "X = 'a'\nif PROD: X = 'b'",
            "X = 'a'\nX, Y = f()",
            "X = 'a'\nY, X = f()",
            "X = 'a'\nY = X = 'b'",
            "X = 'a'\nfrom secret import X",
            "X = 'a'\ndel X",
            "X = 'a'\nf(X := 'b')",
            "X = 'a'\nif PROD: X += 'b'",
        ] {
            let found = assignments(text, &["X"]);
            assert_eq!(found.len(), 2, "{text}: {found:?}");
            assert_eq!(found[1].line, 2, "{text}");
            assert!(found[1].value.is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_no_assignment_of_its_own_is_left_alone() {
        for text in [
            "# X = 1",
            "'''\nX = 1\n'''",
            "f(\nX = 1\n)",
            "XY = 1\nY = X",
            "if X == 2: pass",
            "Y = 'X = 1'",
            "a.X = 1",
            "Y = f(X, 1)",
            "Y = f(X=1)",
            "X == 1",
            "",
        ] {
            assert!(assignments(text, &["X"]).is_empty(), "{text}");
        }
    }

    #[test]
    fn lines_of_diffsettings_and_of_a_shell_are_read() {
        for (text, expected) in [
            ("X = 'y'  ###", json!("y")),
            ("+ X = {'a': 1}", json!({"a": 1})),
            ("X=https://rt.example.org/a b\nY=1", json!("https://rt.example.org/a b")),
            ("export X='{\"a\": \"b\"}'", json!("{\"a\": \"b\"}")),
            ("X={\"a\": true}", json!({"a": true})),
            ("\u{feff}X=rt", json!("rt")),
            ("X: dict[str, str] = {'a': 'b'}", json!({"a": "b"})),
            ("Y = (1,\n 2)\r\nX = 'y'\r\n", json!("y")),
        ] {
            assert_eq!(read(text).unwrap(), expected.into(), "{text}");
        }
    }

    #[test]
    fn what_only_python_knows_is_told_with_its_line_and_not_quoted() {
        let deep = format!("\nX = {}", "[".repeat(100));
        for (text, line, why) in [
            ("\nX = hunter2", 2, "made elsewhere"),
            ("X = {\n 'a': hunter2()\n}", 2, "made elsewhere"),
            ("X = {\n 'a': 'b' + hunter2}", 2, "something is done"),
            ("X = f'{hunter2}'", 1, "f-string"),
            ("X = b'hunter2'", 1, "bytes"),
            ("X = 'a' % hunter2", 1, "something is done"),
            ("if a:\n    X = 'hunter2'", 2, "in a block"),
            ("X['a'] = 'hunter2'", 1, "is changed here"),
            ("X.update(a='hunter2')", 1, "is changed here"),
            ("X += 'hunter2'", 1, "is changed here"),
            ("X = 'hunter2\n", 1, "without an end"),
            ("X = '''hunter2\n", 2, "without an end"),
            ("X = {'hunter2'}", 1, "has a set"),
            ("X = {('a',): 1}", 1, "a key"),
            ("X = [1 2]", 1, "without a comma"),
            ("X = '\\N{BULLET}'", 1, "\\N escape"),
            ("X = '\\xZZ'", 1, "no character"),
            ("X = 99999999999999999999", 1, "too large"),
            ("X = 1j", 1, "or none"),
            ("X =", 1, "is not a literal"),
            (deep.as_str(), 2, "too many lists"),
        ] {
            let unreadable = read(text).unwrap_err();
            assert_eq!(unreadable.line, line, "{text}: {unreadable:?}");
            assert!(unreadable.why.contains(why), "{text}: {unreadable:?}");
            assert!(!unreadable.why.contains("hunter2"));
        }
    }

    #[test]
    fn no_text_makes_it_hang_or_panic() {
        let text = "X = {'a\\x4\u{e6}': [r\"b\\\"\", ('''c''', -1.5e3), os.environ['\\u00e6'], dict(a=1)]} # d\n";
        let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        for (number, &start) in ends.iter().enumerate() {
            for &end in &ends[number..] {
                assignments(&text[start..end], &["X", "a"]);
                assignments(&format!("X = {}", &text[start..end]), &["X", "a"]);
            }
        }
    }
}
