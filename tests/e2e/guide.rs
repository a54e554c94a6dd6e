//! The guide for who writes plugins shows plugins as they are, and its commands do what it says.

use std::fs;

use ticket_host_tests::built;
use ticket_host_tests::pages::{block, root, sh};

/// The guide, from the repository's root.
const GUIDE: &str = "plugin-api/docs/guide.md";

/// The guide with the code of the plugins that it shows put in anew.
fn renewed(guide: &str) -> String {
    let acme = fs::read_to_string(root().join("plugin-api/examples/acme.rs")).unwrap();
    let webhook = fs::read_to_string(root().join("plugins/webhook-c/webhook.c")).unwrap();
    let core = &webhook[webhook.find("static int32_t create(").unwrap()..];
    let mut out = guide.to_owned();
    for (mark, language, code) in [("acme.rs", "rust", acme.as_str()), ("webhook.c", "c", core)] {
        let start = out.find(&format!("<!-- {mark} -->\n")).unwrap();
        let end = start + out[start..].find("<!-- end -->").unwrap();
        let shown = format!("<!-- {mark} -->\n```{language}\n{}\n```\n", code.trim_end());
        out.replace_range(start..end, &shown);
    }
    out
}

#[test]
fn the_guide_shows_the_plugins_as_they_are() {
    let path = root().join(GUIDE);
    let guide = fs::read_to_string(&path).unwrap();
    let renewed = renewed(&guide);
    if std::env::var_os("UPDATE_GUIDE").is_some() {
        fs::write(&path, &renewed).unwrap();
    }
    assert_eq!(guide, renewed, "run this test with UPDATE_GUIDE=1, and look at the change");
    let webhook = fs::read_to_string(root().join("plugins/webhook-c/webhook.c")).unwrap();
    assert!(guide.contains(&format!("in {} lines", webhook.lines().count())));
}

#[test]
#[cfg(unix)]
fn the_guides_plugin_in_c_is_compiled_by_its_lines() {
    let to = tempfile::tempdir().unwrap();
    let lines = block(GUIDE, "sh", "-o demo/")
        .replace("./target/debug", built().to_str().unwrap())
        .replace("demo", to.path().to_str().unwrap());
    let shown = sh(&lines, root(), &[]).ended(0).stdout;
    assert!(shown.starts_with("webhook "), "{shown}");
}
