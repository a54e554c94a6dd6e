//! The README shows the plugins as they are, and its commands do what it says.

use std::fs;
use std::path::Path;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The README with the code of the plugins that it shows put in anew.
fn renewed(readme: &str) -> String {
    let acme = fs::read_to_string(root().join("plugin-api/examples/acme.rs")).unwrap();
    let webhook = fs::read_to_string(root().join("plugins/webhook-c/webhook.c")).unwrap();
    let core = &webhook[webhook.find("static int32_t create(").unwrap()..];
    let mut out = readme.to_owned();
    for (mark, language, code) in [("acme.rs", "rust", acme.as_str()), ("webhook.c", "c", core)] {
        let start = out.find(&format!("<!-- {mark} -->\n")).unwrap();
        let end = start + out[start..].find("<!-- end -->").unwrap();
        let shown = format!("<!-- {mark} -->\n```{language}\n{}\n```\n", code.trim_end());
        out.replace_range(start..end, &shown);
    }
    out
}

#[test]
fn the_readme_shows_the_plugins_as_they_are() {
    let path = root().join("README.md");
    let readme = fs::read_to_string(&path).unwrap();
    let renewed = renewed(&readme);
    if std::env::var_os("UPDATE_README").is_some() {
        fs::write(&path, &renewed).unwrap();
    }
    assert_eq!(readme, renewed, "run this test with UPDATE_README=1, and look at the change");
}

#[test]
fn the_readmes_commands_are_the_ones_that_are_run_here() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let ci = fs::read_to_string(root().join(".ci/run")).unwrap();
    assert!(readme.contains("\ncargo test --workspace\n"));
    assert!(ci.contains("cargo test --workspace"));
    let incident = "tests/incidents/plugin-open-infinity.json";
    assert!(readme.contains(&format!("create {incident}\n")) && root().join(incident).exists());
}
