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
