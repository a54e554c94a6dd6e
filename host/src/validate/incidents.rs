//! The incidents that plugins under test get: a good one, and such as no good source sends.

use serde_json::{Value, json};

use super::bench::KEY;

/// An incident as Argus sends it.
pub(super) fn incident() -> Value {
    json!({
        "description": "gw1 is down", "pk": 17, "level": 3, "source": {"name": "nav"},
        "start_time": "2026-11-23T07:00:00+00:00", "end_time": "infinity",
        "details_url": "https://nav.example.org/1", "argus_url": KEY,
        "tags": ["severity=major", "host=gw1.example.org"],
    })
}

/// Incidents as no good source sends them, those first that are met the most.
pub(super) fn odd() -> Vec<Value> {
    let mut deep = json!(0);
    for _ in 0..100 {
        deep = json!([deep]);
    }
    let with = |name: &str, value: Value| {
        let mut incident = incident();
        incident[name] = value;
        incident
    };
    vec![
        json!({}),
        json!({"description": ""}),
        with("description", json!("x".repeat(200_000))),
        with(
            "description",
            json!("nul \u{0} bell \u{7} escape \u{1b}[31m \u{202e}desrever\u{2028}"),
        ),
        with(
            "description",
            json!("<script>alert(1)</script> [x](javascript:x) {{ x }} {% raw %} ' \" ; --"),
        ),
        with("description", json!("網路 мережа شبكة 🦀\u{1F468}\u{200D}\u{1F469}")),
        with("description", json!(17)),
        with("pk", json!(u64::MAX)),
        with("pk", json!("seventeen")),
        with("level", json!(-1)),
        with("level", json!(1e300)),
        with("tags", json!(null)),
        with("tags", json!([null, 7, {"tag": "a=b"}, "noequals", "=", "a=b=c", ""])),
        with("tags", json!((0..2000).map(|n| format!("k{n}=v")).collect::<Vec<_>>())),
        with("source", json!(null)),
        with("source", json!({"name": null})),
        with("start_time", json!("yesterday")),
        with("end_time", json!("9999-12-31T23:59:59.999999+00:00")),
        with("start_time", json!("+292278994-08-17T07:12:55Z")),
        with("details_url", json!("not a url")),
        with("metadata", deep),
    ]
}

/// Texts of at most so many characters: of every sign that means something somewhere, and of lengths at which places for
/// texts end. Those first that find the most.
pub(super) fn long_texts(most: usize) -> Vec<String> {
    let mut texts: Vec<String> =
        ["x", "\u{1F980}", "\"", "\\", "&", "網", "%", "\u{7f}", "e\u{301}"]
            .map(|sign| sign.repeat(most / sign.chars().count()))
            .into();
    // A buffer that is one byte too small is seen where its length fills what malloc() gives, which is rounded up to 16.
    let lengths = [1000_usize, 4095, 250, 510, 65_530].map(|length| (length..length + 16).rev());
    let lengths = lengths.into_iter().flatten().filter(|length| *length <= most);
    texts.extend(lengths.map(|length| "x".repeat(length)));
    texts.extend(["a\\", "a\u{200d}", "a\"", "a\u{0}", "a\r\n"].map(str::to_owned));
    texts.push("æ".repeat(most.min(301)));
    texts
}
