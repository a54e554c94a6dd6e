//! The signatures of webhooks.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::Webhook;

impl Webhook<'_> {
    /// Whether the header with this name (in lower case) holds the HMAC-SHA256 of the body by `secret`, as `sha256=` and hexadecimal digits: so
    /// sign GitHub (`X-Hub-Signature-256`), Jira and all that follows WebSub (`X-Hub-Signature`). It is compared in constant time.
    ///
    /// Source: <https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries>.
    ///
    /// # Errors
    /// Why not, in words for [`Received::forged`](crate::Received::forged).
    pub fn is_signed(&self, header: &str, secret: &str) -> Result<(), String> {
        let signature = self.head.header(header);
        let signature = signature
            .ok_or_else(|| format!("{header} is missing: has the webhook a secret there?"))?;
        let signature = signature.strip_prefix("sha256=").and_then(from_hex);
        let is_signed = signature
            .is_some_and(|signature| is_hmac_sha256(secret.as_bytes(), &[self.body], &signature));
        is_signed.then_some(()).ok_or_else(|| {
            format!("{header} is another one: is secret.webhook_secret the webhook's secret?")
        })
    }
}

/// Whether the signature is the HMAC-SHA256 (RFC 2104) of these parts, one after the other. It is compared in constant time.
pub fn is_hmac_sha256(key: &[u8], parts: &[&[u8]], signature: &[u8]) -> bool {
    of(key, parts).verify_slice(signature).is_ok()
}

#[cfg(feature = "testkit")]
pub(crate) fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    of(key, parts).finalize().into_bytes().to_vec()
}

fn of(key: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    let mac = Hmac::new_from_slice(key).expect("HMAC takes keys of every length");
    parts.iter().fold(mac, |mac, part| mac.chain_update(part))
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
    if rest.is_empty() { bytes.collect() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::WebhookHead;

    /// GitHub's own example.
    const SIGNATURE: &str =
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    fn is_signed(signature: Option<&str>, body: &str, secret: &str) -> Result<(), String> {
        let headers = signature.map(|value| ("x-hub-signature-256".to_owned(), value.to_owned()));
        let head = WebhookHead { headers: headers.into_iter().collect(), ..WebhookHead::default() };
        Webhook { head, body: body.as_bytes() }.is_signed("x-hub-signature-256", secret)
    }

    #[test]
    fn a_webhook_is_signed_if_its_header_is_the_hmac_of_its_body_by_that_secret() {
        let secret = "It's a Secret to Everybody";
        assert_eq!(is_signed(Some(SIGNATURE), "Hello, World!", secret), Ok(()));
        let upper = format!("sha256={}", SIGNATURE["sha256=".len()..].to_uppercase());
        assert_eq!(is_signed(Some(&upper), "Hello, World!", secret), Ok(()));
        for (signature, body, secret, why) in [
            (None, "Hello, World!", secret, "is missing"),
            (Some(SIGNATURE), "Hello, World?", secret, "is another one"),
            (Some(SIGNATURE), "Hello, World!", "", "is another one"),
            (Some(&SIGNATURE[7..]), "Hello, World!", secret, "is another one"),
            (Some(&SIGNATURE[..70]), "Hello, World!", secret, "is another one"),
            (Some(&SIGNATURE[..69]), "Hello, World!", secret, "is another one"),
            (Some("sha256="), "Hello, World!", secret, "is another one"),
            (Some("sha256=zz"), "Hello, World!", secret, "is another one"),
            (Some(""), "Hello, World!", secret, "is another one"),
        ] {
            let said = is_signed(signature, body, secret).unwrap_err();
            assert!(said.contains(why), "{signature:?}: {said}");
        }
    }
}
