//! The schema of the config file, made from the types that read it: as JSON Schema for editors, and as a [`Shape`], by
//! which mistakes are explained and the reference is written.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema};
use serde_json::Value;

use super::file::RawConfig;

/// What a table that the operator names is called where its name isn't known.
const NAME: &str = "NAME";

/// The JSON Schema (draft 2020-12) of the config file.
pub fn schema() -> Value {
    let mut schema = generated::<RawConfig>();
    schema.insert("$id".to_owned(), "urn:ticket-host:config".into());
    schema.insert("title".to_owned(), "The config file of ticket-host".into());
    schema.to_value()
}

fn generated<T: JsonSchema>() -> Schema {
    let settings = SchemaSettings::draft2020_12().for_deserialize();
    let settings = settings.with(|settings| settings.inline_subschemas = true);
    settings
        .with_transform(RecursiveTransform(without_null))
        .into_generator()
        .into_root_schema_for::<T>()
}

/// Takes out of a schema that a setting may be null: TOML has no such value. A setting that has none is absent.
fn without_null(schema: &mut Schema) {
    if schema.get("default") == Some(&Value::Null) {
        schema.remove("default");
    }
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_mut_slice() {
            let only = only.take();
            schema.insert("type".to_owned(), only);
        }
    }
}

/// What a setting takes, and what is said of it.
pub(super) struct Shape {
    /// What the setting is, in sentences.
    pub about: String,
    /// Lines of a config file that show it.
    pub example: Option<String>,
    pub default: Option<Value>,
    pub kind: Kind,
}

pub(super) enum Kind {
    Text,
    /// One of these texts.
    Word(Vec<Word>),
    Whole {
        min: u64,
        max: u64,
    },
    Number {
        min: f64,
        max: f64,
    },
    Flag,
    List(Box<Shape>),
    /// A table with these settings.
    Table(Vec<Setting>),
    /// A table of tables, whose names the operator chooses.
    Named(Box<Shape>),
    /// A table of which only a plugin knows what is in it.
    Plugins,
    /// Something else, in words. It is looked at where it is used.
    Other(String),
}

/// One of the texts that a setting can be, and what it means.
pub(super) struct Word {
    pub text: String,
    pub about: String,
}

pub(super) struct Setting {
    pub name: String,
    pub required: bool,
    pub shape: Shape,
}

impl Shape {
    /// The shape of the whole config file.
    pub(super) fn of_file() -> &'static Shape {
        static FILE: LazyLock<Shape> = LazyLock::new(|| Shape::of(&schema()));
        &FILE
    }

    fn of(schema: &Value) -> Shape {
        let (about, example) = sentences(schema);
        Shape { about, example, default: schema.get("default").cloned(), kind: Kind::of(schema) }
    }

    /// This table and all tables in it, each with what stands above it in a file, such as `[serve.tokens.NAME]`. The
    /// file itself has nothing above it.
    pub(super) fn tables(&self) -> Vec<(String, &Shape)> {
        let mut tables = Vec::new();
        self.collect_tables("", &mut tables);
        tables
    }

    fn collect_tables<'a>(&'a self, path: &str, tables: &mut Vec<(String, &'a Shape)>) {
        match &self.kind {
            Kind::Table(settings) => {
                let header = if path.is_empty() { String::new() } else { format!("[{path}]") };
                tables.push((header, self));
                for setting in settings {
                    setting.shape.collect_tables(&joined(path, &setting.name), tables);
                }
            }
            Kind::Named(each) => each.collect_tables(&joined(path, NAME), tables),
            _ => {}
        }
    }

    /// The names of all settings and tables.
    pub(super) fn names(&self) -> BTreeSet<&str> {
        let tables = self.tables().into_iter();
        tables
            .flat_map(|(_, table)| table.settings())
            .map(|setting| setting.name.as_str())
            .collect()
    }

    /// The settings of a table. What isn't one has none.
    pub(super) fn settings(&self) -> &[Setting] {
        match &self.kind {
            Kind::Table(settings) => settings,
            _ => &[],
        }
    }

    /// The setting of that name in a table.
    pub(super) fn setting(&self, name: &str) -> Option<&Setting> {
        self.settings().iter().find(|setting| setting.name == name)
    }
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

impl Kind {
    fn of(schema: &Value) -> Kind {
        let words =
            schema["oneOf"].as_array().filter(|all| all.iter().all(|one| one["const"].is_string()));
        if let Some(words) = words {
            return Kind::Word(words.iter().map(Word::of).collect());
        }
        let bound = |name: &str| &schema[name];
        match schema["type"].as_str() {
            Some("string") => Kind::Text,
            Some("integer") => Kind::Whole {
                min: bound("minimum").as_u64().unwrap_or_default(),
                max: bound("maximum").as_u64().unwrap_or(u64::MAX),
            },
            Some("number") => Kind::Number {
                min: bound("minimum").as_f64().unwrap_or(f64::MIN),
                max: bound("maximum").as_f64().unwrap_or(f64::MAX),
            },
            Some("boolean") => Kind::Flag,
            Some("array") => {
                let mut each = Shape::of(&schema["items"]);
                if each.about.is_empty() {
                    each.about = sentences(schema).0;
                }
                Kind::List(Box::new(each))
            }
            Some("object") if schema["properties"].is_object() => Kind::Table(settings(schema)),
            Some("object") if schema["additionalProperties"].is_object() => {
                Kind::Named(Box::new(Shape::of(&schema["additionalProperties"])))
            }
            Some("object") => Kind::Plugins,
            _ => Kind::Other(text(&schema["title"])),
        }
    }

    /// The texts that a setting of this kind, or each item of it, can be. None if it can be others.
    pub(super) fn choices(&self) -> &[Word] {
        match self {
            Kind::Word(words) => words,
            Kind::List(each) => each.kind.choices(),
            _ => &[],
        }
    }

    /// What a setting of this kind must be, in words.
    pub(super) fn words(&self) -> String {
        match self {
            Kind::Text => "a text in quotes".to_owned(),
            Kind::Word(words) => {
                let words: Vec<_> = words.iter().map(|word| format!("{:?}", word.text)).collect();
                words.join(" or ")
            }
            Kind::Whole { min, max } => format!("a whole number, {min} to {max}"),
            Kind::Number { min, max } => format!("a number, {min} to {max}"),
            Kind::Flag => "true or false".to_owned(),
            Kind::List(each) if matches!(each.kind, Kind::Text) => {
                "a list of texts in quotes".to_owned()
            }
            Kind::List(each) => match each.kind {
                Kind::Whole { min, max } => format!("a list of whole numbers, {min} to {max}"),
                _ => format!("a list of {}", each.kind.words()),
            },
            Kind::Table(_) | Kind::Named(_) | Kind::Plugins => "a table".to_owned(),
            Kind::Other(words) => words.clone(),
        }
    }
}

/// The settings of a table: those that every such table must have, then the others, by their names.
fn settings(table: &Value) -> Vec<Setting> {
    let required = table["required"].as_array().into_iter().flatten();
    let required: Vec<&str> = required.filter_map(Value::as_str).collect();
    let mut settings: Vec<Setting> = table["properties"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, schema)| Setting {
            name: name.clone(),
            required: required.contains(&name.as_str()),
            shape: Shape::of(schema),
        })
        .collect();
    settings.sort_by(|one, other| (!one.required, &one.name).cmp(&(!other.required, &other.name)));
    settings
}

impl Word {
    fn of(schema: &Value) -> Word {
        Word { text: text(&schema["const"]), about: sentences(schema).0 }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A schema's description, which is the comment of a type or field, without its line breaks; and the example in it.
fn sentences(schema: &Value) -> (String, Option<String>) {
    let description = text(&schema["description"]);
    let (about, rest) = description.split_once("```toml\n").unwrap_or((&description, ""));
    let about = about.split_whitespace().collect::<Vec<_>>().join(" ");
    (about, rest.split_once("```").map(|(example, _)| example.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::super::{Config, json::json, reference};
    use super::*;

    /// What the repository's file of that name holds.
    fn repository(name: &str) -> String {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        fs::read_to_string(root.join(name)).unwrap()
    }

    /// The config that `init` writes, with all its examples in use.
    fn starter() -> String {
        let key = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
        let text = repository("host/src/cli/starter.toml")
            .replace("{can}", "")
            .replace("{sandbox}", "require")
            .replace("{endpoint}", "file:///tmp/tickets/")
            .replace("{directory}", "\"/tmp/tickets\"")
            .replace("RWQ...", key)
            .replace("[backends.NAME", "[backends.hook");
        let is_setting = |line: &str| {
            let name = line.split(" = ").next().unwrap_or_default();
            let is_name =
                name.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit());
            line.starts_with('[') || line.contains(" = ") && is_name && !line.ends_with('.')
        };
        let mut in_text = false;
        let lines = text.lines().map(|line| {
            let bare = line.strip_prefix("# ").or(line.strip_prefix('#')).unwrap_or(line);
            let line = if in_text || is_setting(bare) { bare } else { line };
            in_text ^= line.matches("\"\"\"").count() == 1;
            format!("{line}\n")
        });
        lines.collect()
    }

    /// The examples of TOML in a page that are configs or parts of one, each with the backends and the Argus that it lacks.
    fn examples(page: &str) -> Vec<String> {
        let mut examples = Vec::new();
        for block in page.split("```toml\n").skip(1) {
            let block = block.split("```").next().unwrap();
            if block.starts_with("# Cargo.toml") || block.contains("[[check]]") {
                continue;
            }
            let value: toml::Value = toml::from_str(block).unwrap();
            let backends = value.get("backends").and_then(toml::Value::as_table);
            let backends = backends.into_iter().flatten();
            let bare = backends.filter(|(_, backend)| backend.get("plugin").is_none());
            let bare = bare.map(|(name, _)| name.as_str());
            let default = value.get("default_backend").and_then(toml::Value::as_str);
            let mut example = block.to_owned();
            for name in bare.chain(default) {
                example +=
                    &format!("[backends.{name}]\nplugin = \"x\"\nendpoint = \"https://x.org\"\n");
            }
            if value.get("argus").is_none()
                && block.lines().any(|line| line.trim() == "argus = true")
            {
                example += "[argus]\nurl = \"https://a.org\"\ntoken = \"t\"\n";
            }
            examples.push(example);
        }
        examples
    }

    #[test]
    fn every_example_of_a_config_is_read_and_taken_by_the_schema() {
        let mut configs = vec![starter(), repository("host/debian/config.toml")];
        let pages =
            ["README.md", "host/docs/commands.md", "host/docs/security.md", "host/docs/service.md"];
        for page in pages {
            let found = examples(&repository(page));
            assert!(!found.is_empty(), "{page} has no example");
            configs.extend(found);
        }
        let tables = Shape::of_file().tables().len();
        let reference = examples(&reference::reference());
        assert_eq!(reference.len(), tables, "each table of the reference has an example");
        configs.extend(reference);
        let schema = jsonschema::validator_for(&schema()).unwrap();
        for config in configs {
            Config::parse(Path::new("/etc/x/c.toml"), &config)
                .unwrap_or_else(|error| panic!("{error}\n{config}"));
            let value = json(toml::from_str(&config).unwrap());
            let mistakes: Vec<_> =
                schema.iter_errors(&value).map(|error| error.to_string()).collect();
            assert!(mistakes.is_empty(), "{mistakes:?}\n{config}");
        }
    }

    #[test]
    fn the_starter_shows_every_setting() {
        let starter = starter();
        let file = Shape::of_file();
        for name in file.names() {
            assert!(starter.contains(name), "{name}");
        }
    }

    #[test]
    fn the_bounds_themselves_are_taken() {
        let schema = jsonschema::validator_for(&schema()).unwrap();
        for (header, table) in Shape::of_file().tables() {
            for setting in table.settings() {
                let bounds = match setting.shape.kind {
                    Kind::Whole { min, max } => [min.to_string(), max.to_string()],
                    Kind::Number { min, max } => [min.to_string(), max.to_string()],
                    _ => continue,
                };
                for number in bounds {
                    let beside = match header.as_str() {
                        "[argus]" => "url = \"https://a.org\"\ntoken = \"t\"\n",
                        "[backends.NAME]" => "plugin = \"x\"\nendpoint = \"https://x.org\"\n",
                        _ => "",
                    };
                    let text = format!("{header}\n{beside}{} = {number}\n", setting.name);
                    Config::parse(Path::new("c.toml"), &text)
                        .unwrap_or_else(|error| panic!("{error}\n{text}"));
                    assert!(schema.is_valid(&json(toml::from_str(&text).unwrap())), "{text}");
                }
            }
        }
    }

    #[test]
    fn every_setting_and_every_word_is_described() {
        fn look(path: &str, shape: &Shape) {
            assert!(!shape.about.is_empty(), "{path} has no description");
            for word in shape.kind.choices() {
                assert!(!word.about.is_empty(), "{path}: {} has no description", word.text);
            }
            match &shape.kind {
                Kind::Named(each) => look(&joined(path, NAME), each),
                Kind::Other(words) => assert!(!words.is_empty(), "{path}: what is it?"),
                _ => shape.settings().iter().for_each(|setting| {
                    look(&joined(path, &setting.name), &setting.shape);
                }),
            }
        }
        look("", Shape::of_file());
    }

    #[test]
    fn the_schema_is_one_that_editors_read() {
        let schema = schema();
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        assert!(jsonschema::meta::is_valid(&schema));
        let text = schema.to_string();
        assert!(!text.contains("null"), "TOML has no null: {text}");
        assert_eq!(schema["properties"]["limits"]["properties"]["concurrency"]["default"], 4);
        assert_eq!(
            schema["properties"]["serve"]["properties"]["listen"]["default"],
            "127.0.0.1:8620"
        );
        assert!(schema["description"].is_string() && schema["$id"].is_string());
    }
}
