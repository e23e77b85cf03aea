//! How large a thumbnail becomes.

/// Largest width and height that can be asked for, in pixels.
pub const MAX_WANTED: u32 = 4096;

/// The box that a thumbnail has to fit, in pixels; at least one side is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    width: Option<u32>,
    height: Option<u32>,
}

impl Wanted {
    /// From the values of `width` and `height` in the query.
    ///
    /// # Errors
    /// One sentence: neither is there, or one is no whole number from 1 to [`MAX_WANTED`].
    pub fn parse(width: Option<&str>, height: Option<&str>) -> Result<Self, String> {
        let side = |name: &str, value: Option<&str>| {
            value
                .map(|value| {
                    // `parse` alone would take "+64".
                    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
                    let number = digits.then(|| value.parse().ok()).flatten();
                    number
                        .filter(|number| (1..=MAX_WANTED).contains(number))
                        .ok_or_else(|| format!("{name} must be a whole number from 1 to {MAX_WANTED}."))
                })
                .transpose()
        };
        let wanted = Self { width: side("width", width)?, height: side("height", height)? };
        if wanted.width.or(wanted.height).is_none() {
            return Err(format!("Say how wide the thumbnail shall be: ?width=1 to ?width={MAX_WANTED}."));
        }
        Ok(wanted)
    }

    /// The same box, lying on its side.
    #[must_use]
    pub fn turned(self) -> Self {
        Self { width: self.height, height: self.width }
    }

    /// The largest size within this box, and not beyond `(width, height)`, that has its proportions to the
    /// nearest pixel. No side is less than 1 pixel.
    #[must_use]
    pub fn fit(self, (width, height): (u32, u32)) -> (u32, u32) {
        let within_width = self.width.unwrap_or(width).min(width);
        let within_height = self.height.unwrap_or(height).min(height);
        // Which side binds? Compared as fractions of the whole, without dividing.
        if u64::from(within_width) * u64::from(height) <= u64::from(within_height) * u64::from(width) {
            (within_width, scale(height, within_width, width).min(within_height))
        } else {
            (scale(width, within_height, height).min(within_width), within_height)
        }
    }
}

/// `side × numerator / denominator`, rounded, at least 1; `numerator ≤ denominator`.
fn scale(side: u32, numerator: u32, denominator: u32) -> u32 {
    let scaled =
        (u64::from(side) * u64::from(numerator) + u64::from(denominator) / 2) / u64::from(denominator);
    u32::try_from(scaled).unwrap_or(side).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fit(width: Option<u32>, height: Option<u32>, source: (u32, u32)) -> (u32, u32) {
        Wanted { width, height }.fit(source)
    }

    #[test]
    fn the_query_says_one_side_or_both() {
        assert_eq!(Wanted::parse(Some("64"), None), Ok(Wanted { width: Some(64), height: None }));
        assert_eq!(Wanted::parse(None, Some("1")), Ok(Wanted { width: None, height: Some(1) }));
        assert_eq!(Wanted::parse(Some("4096"), Some("7")), Ok(Wanted { width: Some(4096), height: Some(7) }));
    }

    #[test]
    fn what_is_no_size_is_refused_in_one_sentence() {
        for bad in ["", "0", "4097", "-1", "+64", "6.4", "64px", " 64", "99999999999999999999", "٣"] {
            assert_eq!(
                Wanted::parse(Some(bad), None),
                Err("width must be a whole number from 1 to 4096.".to_owned()),
                "{bad:?}"
            );
            assert_eq!(
                Wanted::parse(Some("64"), Some(bad)),
                Err("height must be a whole number from 1 to 4096.".to_owned()),
                "{bad:?}"
            );
        }
        assert_eq!(
            Wanted::parse(None, None),
            Err("Say how wide the thumbnail shall be: ?width=1 to ?width=4096.".to_owned())
        );
    }

    #[test]
    fn proportions_are_kept() {
        assert_eq!(fit(Some(64), None, (640, 480)), (64, 48));
        assert_eq!(fit(None, Some(48), (640, 480)), (64, 48));
        assert_eq!(fit(Some(64), Some(64), (640, 480)), (64, 48));
        assert_eq!(fit(Some(64), Some(24), (640, 480)), (32, 24));
        assert_eq!(fit(Some(100), None, (3, 2)), (3, 2));
        assert_eq!(fit(Some(1), None, (4096, 1)), (1, 1));
        assert_eq!(fit(Some(64), Some(48), (480, 640)), (36, 48));
    }

    proptest! {
        #[test]
        fn every_size_is_within_the_box_and_the_source_and_in_proportion(
            width in prop::option::of(1_u32..=MAX_WANTED),
            height in prop::option::of(1_u32..=MAX_WANTED),
            source in (1_u32..=32_768, 1_u32..=32_768),
        ) {
            let (w, h) = fit(width, height, source);
            prop_assert!(w >= 1 && h >= 1);
            prop_assert!(w <= source.0 && h <= source.1);
            prop_assert!(width.is_none_or(|width| w <= width) && height.is_none_or(|height| h <= height));
            // One side is exactly at its bound.
            let bounds = (width.unwrap_or(source.0).min(source.0), height.unwrap_or(source.1).min(source.1));
            prop_assert!(w == bounds.0 || h == bounds.1);
            // The other is off by less than a pixel.
            let (exact_w, exact_h) = (
                f64::from(h) * f64::from(source.0) / f64::from(source.1),
                f64::from(w) * f64::from(source.1) / f64::from(source.0),
            );
            prop_assert!((f64::from(w) - exact_w).abs() < 1.0 || (f64::from(h) - exact_h).abs() < 1.0);
        }
    }
}
