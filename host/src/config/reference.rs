//! The reference of the config file, as Markdown, from its schema: each table with its settings, their bounds and defaults.
//! `host/docs/config.md` is what this writes.

use std::fmt::Write;

use super::schema::{Kind, Setting, Shape};

const INTRODUCTION: &str = "\
# The config file

It is `~/.config/ticket-host/config.toml`, else `/etc/ticket-host/config.toml`, or what `--config` names, in
[TOML](https://toml.io). `ticket-host init` writes one to start from, `ticket-host check` tries it.

Editors that know JSON Schema (taplo, Even Better TOML) complete and check it: run
`ticket-host config schema > ticket-host.schema.json` beside it, and begin it with the line `#:schema ./ticket-host.schema.json`.

This page is what `ticket-host config reference` prints.
";

/// The reference of all settings, as Markdown.
pub fn reference() -> String {
    let mut page = INTRODUCTION.to_owned();
    for (header, table) in Shape::of_file().tables() {
        let title = if header.is_empty() {
            "The top of the file".to_owned()
        } else {
            format!("`{header}`")
        };
        page.push_str(&section(&title, &header, table));
    }
    page
}

fn section(title: &str, header: &str, table: &Shape) -> String {
    let mut section = format!(
        "\n## {title}\n\n{}\n\n| setting | takes | default | what it is |\n|---|---|---|---|\n",
        table.about
    );
    for setting in table.settings() {
        section.push_str(&row(header, setting));
    }
    if let Some(example) = &table.example {
        section.push_str(&format!("\n```toml\n{example}```\n"));
    }
    section
}

fn row(header: &str, setting: &Setting) -> String {
    let shape = &setting.shape;
    let takes = match &shape.kind {
        Kind::Table(_) => link(header, &setting.name, ""),
        Kind::Named(_) => link(header, &setting.name, ".NAME"),
        kind => kind.words(),
    };
    let default = match &shape.default {
        _ if setting.required => "must be set".to_owned(),
        Some(default) => format!("`{default}`"),
        None => String::new(),
    };
    let mut about = shape.about.clone();
    for word in shape.kind.choices() {
        // Writing to a String can't fail.
        let _ = write!(about, "<br>`{:?}`: {}", word.text, word.about);
    }
    let cells = [format!("`{}`", setting.name), takes, default, about];
    format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).join(" | "))
}

/// A link to the section of a table that stands in the table with that header.
fn link(header: &str, name: &str, end: &str) -> String {
    let path = header.trim_matches(['[', ']']);
    let dot = if path.is_empty() { "" } else { "." };
    let title = format!("[{path}{dot}{name}{end}]");
    let anchor: String = title.chars().filter(|c| c.is_alphanumeric() || *c == '_').collect();
    format!("[`{title}`](#{})", anchor.to_lowercase())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// The default of `sandbox` is another one elsewhere.
    #[cfg(target_os = "linux")]
    #[test]
    fn the_page_in_the_repository_is_what_the_program_prints() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/config.md");
        if std::env::var_os("UPDATE_REFERENCE").is_some() {
            fs::write(&path, reference()).unwrap();
        }
        let page = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            page == reference(),
            "run this test with UPDATE_REFERENCE=1, and look at the change"
        );
    }

    #[test]
    fn every_setting_has_a_row_and_every_link_a_section() {
        let page = reference();
        let file = Shape::of_file();
        for (header, table) in file.tables() {
            for setting in table.settings() {
                assert!(
                    page.contains(&format!("| `{}` |", setting.name)),
                    "{header} {}",
                    setting.name
                );
            }
        }
        let titles: Vec<String> = page
            .lines()
            .filter_map(|line| line.strip_prefix("## `"))
            .map(|title| title.trim_end_matches('`').to_owned())
            .collect();
        for link in page.split("[`[").skip(1) {
            let title = format!("[{}", link.split('`').next().unwrap());
            assert!(titles.contains(&title), "{title}");
        }
    }
}
