//! What the manifest's `[env]` table says.

use std::time::Duration;

/// Shortest secret, in bytes: what is shorter can be guessed.
pub const MIN_SECRET: usize = 16;
/// Longest window, in seconds: a day.
pub const MAX_WINDOW: u64 = 86_400;
/// That of `function.toml`.
const EXAMPLE: &[u8] = b"an example, not a secret";

/// The settings, each within its bounds.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// What senders sign with: one secret, or two while they change over.
    pub secrets: Vec<Vec<u8>>,
    /// How far from now a timestamp may be; `None`: senders send none.
    pub window: Option<Duration>,
}

impl Settings {
    /// From the environment.
    ///
    /// # Errors
    /// One sentence: what is missing or out of bounds. It does not contain a secret.
    pub fn read<'e>(env: impl Fn(&str) -> Option<&'e str>) -> Result<Self, String> {
        let current = env("SECRET").ok_or("the [env] table of function.toml has no SECRET")?;
        let secrets: Vec<Vec<u8>> = [Some(current), env("PREVIOUS_SECRET")]
            .into_iter()
            .flatten()
            .map(|s| s.as_bytes().to_vec())
            .collect();
        if let Some(short) = secrets.iter().find(|secret| secret.len() < MIN_SECRET) {
            return Err(format!("a secret has {MIN_SECRET} bytes or more, but one has {}", short.len()));
        }
        let window = env("WINDOW")
            .map(|text| {
                let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
                let seconds = digits.then(|| text.parse().ok()).flatten();
                seconds
                    .filter(|seconds| (1..=MAX_WINDOW).contains(seconds))
                    .map(Duration::from_secs)
                    .ok_or_else(|| {
                        format!("WINDOW is a number of seconds from 1 to {MAX_WINDOW}, not {text:?}")
                    })
            })
            .transpose()?;
        Ok(Self { secrets, window })
    }

    /// Whether it was forgotten to choose a secret.
    #[must_use]
    pub fn has_the_examples_secret(&self) -> bool {
        self.secrets.iter().any(|secret| secret == EXAMPLE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &'static str)]) -> Result<Settings, String> {
        Settings::read(|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| *value))
    }

    fn refusal(variables: &[(&str, &'static str)]) -> String {
        read(variables).err().expect("this must be refused")
    }

    #[test]
    fn a_secret_is_enough() {
        let settings = read(&[("SECRET", "0123456789abcdef")]).expect("in order");
        assert!(settings.secrets == [b"0123456789abcdef".to_vec()] && settings.window.is_none());
        assert!(!settings.has_the_examples_secret());
    }

    #[test]
    fn everything_can_be_said() {
        let all =
            [("SECRET", "0123456789abcdef"), ("PREVIOUS_SECRET", "fedcba9876543210"), ("WINDOW", "300")];
        let settings = read(&all).expect("in order");
        assert!(settings.secrets == [b"0123456789abcdef".to_vec(), b"fedcba9876543210".to_vec()]);
        assert_eq!(settings.window, Some(Duration::from_secs(300)));
    }

    #[test]
    fn what_is_missing_or_out_of_bounds_is_said_without_the_secret() {
        assert_eq!(refusal(&[]), "the [env] table of function.toml has no SECRET");
        let short = "a secret has 16 bytes or more, but one has 15";
        assert_eq!(refusal(&[("SECRET", "0123456789abcde")]), short);
        assert_eq!(refusal(&[("SECRET", "0123456789abcdef"), ("PREVIOUS_SECRET", "0123456789abcde")]), short);
        for bad in ["", "0", "86401", "-1", "+1", "1.5", "5m", "99999999999999999999"] {
            let said = refusal(&[("SECRET", "0123456789abcdef"), ("WINDOW", bad)]);
            assert_eq!(said, format!("WINDOW is a number of seconds from 1 to 86400, not {bad:?}"));
        }
    }

    #[test]
    fn the_examples_secret_is_known_as_such() {
        let manifest = include_str!("../function.toml");
        let line = manifest.lines().find_map(|line| line.strip_prefix("SECRET = ")).expect("it has a SECRET");
        let secret: &'static str = line.trim_matches('"');
        assert!(read(&[("SECRET", secret)]).expect("in order").has_the_examples_secret());
    }
}
