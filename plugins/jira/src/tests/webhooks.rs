//! Which webhooks are believed, and which issues they are about.

use ticket_plugin_api::message::{Received, WebhookHead};

use super::*;

const SECRET: &str = "a-webhook-secret";

fn open(webhook_secret: Option<&str>) -> Fixture {
    let secret = json!({"token": "pat-secret", "webhook_secret": webhook_secret});
    super::open("https://jira.example.org", secret, json!({}))
}

fn signature(body: &[u8]) -> String {
    let mac = testkit::hmac_sha256(SECRET.as_bytes(), body);
    let digits = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    [String::from("sha256="), digits].concat()
}

fn receive(jira: &mut Fixture, signature: &str, body: &[u8]) -> Result<Received, Error> {
    let head = WebhookHead {
        headers: vec![("x-hub-signature".into(), signature.into())],
        ..WebhookHead::default()
    };
    jira.receive(&head, body)
}

fn names(event: &Value) -> Vec<String> {
    let body = event.to_string();
    let received = receive(&mut open(Some(SECRET)), &signature(body.as_bytes()), body.as_bytes());
    let received = received.unwrap();
    assert_eq!((received.forged, received.answer), (None, None));
    let page = |id: &str| format!("https://jira.example.org/browse/{id}");
    let tickets = received.tickets.into_iter();
    tickets.inspect(|name| assert_eq!(name.url, page(&name.id))).map(|name| name.id).collect()
}

#[test]
fn a_webhook_names_its_issue_and_the_key_that_that_had() {
    let issue = json!({"id": "10000", "key": "NOC-47", "fields": {}});
    let updated = json!({"webhookEvent": "jira:issue_updated", "issue": issue});
    assert_eq!(names(&updated), ["NOC-47"]);
    let items = json!([{"field": "Key", "fromString": "OPS-3", "toString": "NOC-47"}]);
    let moved = json!({"issue": issue, "changelog": {"items": items}});
    assert_eq!(names(&moved), ["NOC-47", "OPS-3"]);
}

#[test]
fn what_is_about_no_issue_names_none() {
    let items = json!([{"field": "status", "fromString": "NOC-1"}, 7, {"field": "Key"}]);
    for event in [
        json!({"webhookEvent": "jira:version_released", "version": {"id": "1"}}),
        json!({"issue": 17}),
        json!({"issue": {"key": {"a": []}}, "changelog": []}),
        json!({"issue": {"key": "../../secure"}, "changelog": {"items": items}}),
        json!([]),
        json!(null),
    ] {
        assert_eq!(names(&event), [""; 0], "{event}");
    }
}

#[test]
fn a_webhook_with_another_signature_is_forged() {
    let body = br#"{"issue": {"key": "NOC-47"}}"#;
    let right = signature(body);
    let odd = format!("{right}0");
    let upper = right.replace("sha256", "SHA256");
    let bare = right.trim_start_matches("sha256=");
    for wrong in ["", "sha256=", &right[..20], &odd, &upper, bare, "sha256=zz", &signature(b"")] {
        let received = receive(&mut open(Some(SECRET)), wrong, body).unwrap();
        let why = received.forged.unwrap();
        assert!(why.contains("secret.webhook_secret") && !why.contains(SECRET), "{why}");
        assert!(received.tickets.is_empty());
    }
    let unsigned = open(Some(SECRET)).receive(&WebhookHead::default(), body).unwrap();
    assert!(unsigned.forged.unwrap().contains("x-hub-signature is missing"));
}

#[test]
fn without_a_secret_every_webhook_is_forged() {
    for secret in [None, Some("")] {
        let received = receive(&mut open(secret), &signature(b"{}"), b"{}").unwrap();
        assert!(received.forged.unwrap().starts_with("secret.webhook_secret isn't set"));
    }
}

#[test]
fn a_signed_body_that_is_no_json_is_an_error() {
    for body in [&b""[..], b"<html>", b"{\"issue\"", b"\xff"] {
        let error = receive(&mut open(Some(SECRET)), &signature(body), body).unwrap_err();
        assert!(error.message.contains("isn't JSON"), "{error}");
    }
}

#[test]
fn on_cloud_the_secret_stands_beside_the_login() {
    let secret = json!({"email": "me@example.org", "token": "t", "webhook_secret": SECRET});
    let mut jira = super::open("https://noc.atlassian.net", secret, json!({}));
    let body = br#"{"issue": {"key": "NOC-47"}}"#;
    let received = receive(&mut jira, &signature(body), body).unwrap();
    assert_eq!(received.tickets[0].url, "https://noc.atlassian.net/browse/NOC-47");
}
