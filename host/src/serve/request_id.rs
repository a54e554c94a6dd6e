//! Which request something belongs to: by its sender's own name for it, or one of ours, in the answer and in the log.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument;

const NAME: HeaderName = HeaderName::from_static("x-request-id");
/// Bytes of the longest name that a sender may give.
const LONGEST: usize = 64;

/// Names a request while it is answered, and what is begun for it.
pub(super) async fn carry(request: Request, next: Next) -> Response {
    let id = given(request.headers()).unwrap_or_else(own);
    let name = id.to_str().unwrap_or_default();
    let about = tracing::info_span!("request", request = name);
    let mut response = next.run(request).instrument(about).await;
    response.headers_mut().insert(NAME, id);
    response
}

/// The sender's, if it is one: letters, digits, `-`, `_` and `.`.
fn given(headers: &HeaderMap) -> Option<HeaderValue> {
    let id = headers.get(NAME)?;
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    let bytes = id.as_bytes();
    ((1..=LONGEST).contains(&bytes.len()) && bytes.iter().all(is_plain)).then(|| id.clone())
}

fn own() -> HeaderValue {
    let id = format!("{:016x}", fastrand::u64(..));
    HeaderValue::from_str(&id).expect("digits are the value of a header")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_names_a_request_by_plain_characters_and_no_others() {
        let long = "x".repeat(LONGEST + 1);
        for (text, is_taken) in [
            ("0af7651916cd43dd8448eb211c80319c", true),
            ("argus.1-2_3", true),
            (&long[1..], true),
            (&long, false),
            ("", false),
            ("a b", false),
            ("a\"b", false),
            ("{a}", false),
        ] {
            let value = HeaderValue::from_str(text).unwrap();
            let headers = HeaderMap::from_iter([(NAME, value.clone())]);
            assert_eq!(given(&headers), is_taken.then_some(value), "{text}");
        }
        assert_eq!(given(&HeaderMap::new()), None);
        assert_eq!(own().len(), 16);
        assert_ne!(own(), own());
    }
}
