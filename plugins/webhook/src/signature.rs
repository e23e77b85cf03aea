//! Whether a request comes from one who knows the secret.

use crate::Refusal;
use crate::settings::Settings;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::time::Duration;

/// Bytes of an HMAC-SHA256.
const LENGTH: usize = 32;

/// Compares signatures, in time that does not depend on them.
pub struct Verifier {
    /// Keyed, and fed nothing yet: a copy is made for each request.
    keyed: Vec<Hmac<Sha256>>,
    window: Option<Duration>,
}

impl Verifier {
    /// For these secrets.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let keyed =
            |secret: &Vec<u8>| Hmac::new_from_slice(secret).expect("an HMAC takes keys of any length");
        Self { keyed: settings.secrets.iter().map(keyed).collect(), window: settings.window }
    }

    /// Accepts a body that one of the secrets has signed: it alone or, if there is a window, with the timestamp
    /// before it. `now` is the time since 1970.
    ///
    /// # Errors
    /// 401, and one sentence that helps an honest sender and tells a forger nothing new.
    pub fn verify(
        &self,
        signature: Option<&str>,
        timestamp: Option<&str>,
        body: &[u8],
        now: Duration,
    ) -> Result<(), Refusal> {
        let signature = signature.ok_or_else(|| refuse("The request has no x-hub-signature-256."))?;
        let claimed = parse(signature)
            .ok_or_else(|| refuse("The x-hub-signature-256 is not sha256= and 64 hexadecimal digits."))?;
        let stamp = match self.window {
            Some(_) => Some(timestamp.ok_or_else(|| refuse("The request has no x-webhook-timestamp."))?),
            None => None,
        };
        let mut right = false;
        for keyed in &self.keyed {
            let mut mac = keyed.clone();
            if let Some(stamp) = stamp {
                mac.update(stamp.as_bytes());
                mac.update(b".");
            }
            mac.update(body);
            // In constant time; and each secret is tried, so that the time does not tell which one it was.
            right |= mac.verify_slice(&claimed).is_ok();
        }
        if !right {
            return Err(refuse(
                "The signature is not that of this body and the secret shared with the sender.",
            ));
        }
        // Only now: a time that nobody has signed means nothing.
        match (self.window, stamp) {
            (Some(window), Some(stamp)) => fresh(stamp, window, now),
            _ => Ok(()),
        }
    }
}

fn refuse(sentence: &str) -> Refusal {
    Refusal::new(401, sentence)
}

/// `sha256=` and 64 digits → bytes.
fn parse(signature: &str) -> Option<[u8; LENGTH]> {
    let digits = signature.strip_prefix("sha256=")?.as_bytes();
    if digits.len() != 2 * LENGTH {
        return None;
    }
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let mut bytes = [0; LENGTH];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

/// Whether a signed timestamp is near enough; a clock may be ahead as well as behind.
fn fresh(stamp: &str, window: Duration, now: Duration) -> Result<(), Refusal> {
    let digits = !stamp.is_empty() && stamp.bytes().all(|byte| byte.is_ascii_digit());
    let seconds: Option<u64> = digits.then(|| stamp.parse().ok()).flatten();
    let seconds =
        seconds.ok_or_else(|| refuse("The x-webhook-timestamp is no number of seconds since 1970."))?;
    let away = seconds.abs_diff(now.as_secs());
    if away <= window.as_secs() {
        return Ok(());
    }
    let side = if seconds < now.as_secs() { "ago" } else { "ahead" };
    Err(Refusal::new(
        401,
        format!("The request was signed {away} s {side}; {} s are allowed.", window.as_secs()),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // From RFC 4231, test case 6: a key longer than a block of SHA-256.
    const KEY: [u8; 131] = [0xaa; 131];
    const BODY: &[u8] = b"Test Using Larger Than Block-Size Key - Hash Key First";
    const SIGNATURE: &str = "sha256=60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54";
    const NOW: Duration = Duration::from_secs(1_800_000_000);

    fn verifier(secrets: &[&[u8]], window: Option<u64>) -> Verifier {
        let secrets = secrets.iter().map(|secret| secret.to_vec()).collect();
        Verifier::new(&Settings { secrets, window: window.map(Duration::from_secs) })
    }

    fn sign(secret: &[u8], text: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("any length");
        mac.update(text);
        let bytes = mac.finalize().into_bytes();
        bytes.iter().fold("sha256=".to_owned(), |text, byte| text + &format!("{byte:02x}"))
    }

    #[test]
    fn the_standards_example_is_right() {
        let one = verifier(&[&KEY], None);
        assert_eq!(one.verify(Some(SIGNATURE), None, BODY, NOW), Ok(()));
        let upper = format!("sha256={}", SIGNATURE[7..].to_uppercase());
        assert_eq!(one.verify(Some(&upper), None, BODY, NOW), Ok(()));
        // A timestamp that is not asked for says nothing.
        assert_eq!(one.verify(Some(SIGNATURE), Some("1"), BODY, NOW), Ok(()));
    }

    #[test]
    fn either_of_two_secrets_will_do() {
        for secrets in [[&KEY[..], b"another"], [b"another", &KEY[..]]] {
            assert_eq!(verifier(&secrets, None).verify(Some(SIGNATURE), None, BODY, NOW), Ok(()));
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let said = |signature: Option<&str>, body: &[u8]| {
            let refusal = verifier(&[&KEY], None).verify(signature, None, body, NOW).expect_err("wrong");
            assert_eq!(refusal.status, 401);
            refusal.sentence
        };
        let form = "The x-hub-signature-256 is not sha256= and 64 hexadecimal digits.";
        let other = "The signature is not that of this body and the secret shared with the sender.";
        assert_eq!(said(None, BODY), "The request has no x-hub-signature-256.");
        assert_eq!(said(Some(SIGNATURE), b"another body"), other);
        assert_eq!(said(Some(&sign(b"another secret", BODY)), BODY), other);
        let short = &SIGNATURE[..SIGNATURE.len() - 1];
        let strange = SIGNATURE.replace("60e4", "60g4");
        let wide = SIGNATURE.replace("60e4", "6\u{e9}4");
        for bad in
            ["", "sha256=", "sha1=00", short, &format!("{SIGNATURE}0"), &SIGNATURE[7..], &strange, &wide]
        {
            assert_eq!(said(Some(bad), BODY), form, "{bad}");
        }
    }

    #[test]
    fn with_a_window_the_time_is_signed_too_and_near() {
        let one = verifier(&[&KEY], Some(300));
        let at = |stamp: &str| {
            let signature = sign(&KEY, &[stamp.as_bytes(), b".", BODY].concat());
            one.verify(Some(&signature), Some(stamp), BODY, NOW).map_err(|refusal| refusal.sentence)
        };
        for near in ["1800000000", "1799999700", "1800000300"] {
            assert_eq!(at(near), Ok(()));
        }
        let refused = |sentence: &str| Err(sentence.to_owned());
        assert_eq!(at("1799999699"), refused("The request was signed 301 s ago; 300 s are allowed."));
        assert_eq!(at("1800000301"), refused("The request was signed 301 s ahead; 300 s are allowed."));
        for bad in ["", "-1", "+1800000000", "1.8e9", "99999999999999999999999"] {
            assert_eq!(at(bad), refused("The x-webhook-timestamp is no number of seconds since 1970."));
        }
        let without = one.verify(Some(SIGNATURE), None, BODY, NOW).expect_err("no timestamp");
        assert_eq!(without, refuse("The request has no x-webhook-timestamp."));
        // The body's own signature is of no use any more, nor is that of another time.
        let replayed =
            one.verify(Some(SIGNATURE), Some("1800000000"), BODY, NOW).expect_err("another signature");
        assert!(replayed.sentence.starts_with("The signature is not that of"), "{replayed:?}");
    }

    proptest! {
        #[test]
        fn one_bit_makes_a_signature_wrong(
            body in prop::collection::vec(any::<u8>(), 1..200), at in any::<prop::sample::Index>(), bit in 0_u32..8,
        ) {
            let (one, signature) = (verifier(&[&KEY], None), sign(&KEY, &body));
            prop_assert_eq!(one.verify(Some(&signature), None, &body, NOW), Ok(()));
            let mut changed = body.clone();
            changed[at.index(body.len())] ^= 1_u8 << bit;
            prop_assert!(one.verify(Some(&signature), None, &changed, NOW).is_err());
        }

        #[test]
        fn any_text_is_a_signature_or_none(text in ".*") {
            prop_assert!(verifier(&[&KEY], None).verify(Some(&text), None, BODY, NOW).is_err());
        }
    }
}
