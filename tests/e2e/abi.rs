//! ABI version 1 for ever: what was compiled against its header on the day of its freeze works with today's
//! host, and today's plugins work with a host of tomorrow.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ticket_host_tests::{Answer, ISOLATIONS, Installation, c_plugin, desk, rust_plugin};
use ticket_host_worker::Digest;

fn frozen(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("abi/v1").join(name)
}

#[test]
fn what_is_frozen_is_as_it_was() {
    for (name, digest) in [
        ("ticket_plugin.h", "bc46f261e226de6ae8077dd2571c5aa1daca968fbea125e5301a200abc8b972d"),
        ("plugin.c", "88c212c6493d0438b77fcbd841e5f7809d6c64b305c9febe7d341b36f67cecdc"),
    ] {
        let why =
            "tests/abi/v1 is never edited: a change of the ABI is a new field at a table's end";
        assert_eq!(
            Digest::of(&fs::read(frozen(name)).unwrap()).to_string(),
            digest,
            "{name}: {why}"
        );
    }
}

#[test]
fn a_plugin_of_the_day_of_the_freeze_works() {
    for isolation in ISOLATIONS {
        let desk = desk(|seen| seen.target.ends_with("/health").then(|| Answer::status(200)));
        let host = Installation::with(
            &c_plugin("frozen"),
            &desk.url,
            &format!("secret = {{ token = \"t\" }}\nisolation = \"{isolation}\""),
        );
        let checked = host.run(&["check"]).ended(0).stdout;
        assert!(checked.contains("health: well"), "{checked}");
        let first = host.create("plugin-closed", &["--key", "one"]).ended(0).stdout;
        assert_eq!(first, "https://tickets.example.org/one\n");
        assert_eq!(host.create("plugin-closed", &["--key", "one"]).ended(0).stdout, first);
        assert_eq!(desk.posted(), ["one"]);
        let shown = host.run(&["plugins", "show", "frozen.TicketPlugin"]).ended(0).stdout;
        assert!(shown.contains("Frozen Ltd."), "{shown}");
    }
}

#[test]
fn plugins_work_with_a_host_of_a_later_version() {
    let host = c_plugin("later_host").with_extension("");
    let settings = |information: &str| {
        format!(
            "{{\"endpoint\":\"https://t.example.org/\",\"secret\":{{\"token\":\"t\"}},\
             \"information\":{information},\"later\":true}}"
        )
    };
    for (library, information) in [
        (c_plugin("frozen"), "{}"),
        (c_plugin("webhook"), "{}"),
        (rust_plugin("rt"), "{\"queue\":\"NOC\",\"later\":1}"),
        (rust_plugin("github"), "{\"project_namespace_and_name\":\"noc/tickets\"}"),
    ] {
        let output = Command::new(&host).arg(&library).arg(settings(information)).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", library.display());
    }
}
