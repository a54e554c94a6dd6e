//! What the program says of itself.

use ticket_host_tests::Installation;

#[test]
fn a_version_says_what_the_program_was_built_from() {
    let host = Installation::new();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(host.run(&["-V"]).ended(0).stdout, format!("ticket-host {version}\n"));
    let long = host.run(&["--version"]).ended(0).stdout;
    let lines: Vec<&str> = long.lines().collect();
    let [name, revision, abi, sdk, target] = lines[..] else { panic!("{long}") };
    assert_eq!(name, format!("ticket-host {version}"));
    let revision = revision.strip_prefix("revision: ").unwrap();
    // Of sources without a repository nobody knows it.
    let is_commit = revision.len() >= 7 && revision.bytes().all(|b| b.is_ascii_hexdigit());
    assert!(is_commit || revision == "unknown", "{long}");
    assert_eq!(
        (abi, sdk),
        ("plugin ABI: 1", &*format!("plugin SDK: {}", ticket_plugin_api::VERSION))
    );
    assert!(target.starts_with(&format!("target: {}-", std::env::consts::ARCH)), "{long}");
}
