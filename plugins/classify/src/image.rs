//! JSON → the pixels of one image.

use serde::Deserialize;

/// Pixels of a side.
pub const SIDE: usize = 8;
/// Pixels of an image.
pub const PIXELS: usize = SIDE * SIDE;
/// What ink is at its darkest; paper is 0.
pub const DARKEST: f32 = 16.0;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    pixels: Pixels,
}

/// Row by row, or all in one.
#[derive(Deserialize)]
#[serde(untagged, expecting = "pixels must be 8 rows of 8 numbers, or 64 numbers")]
enum Pixels {
    Rows(Vec<[f32; SIDE]>),
    Flat(Vec<f32>),
}

/// The pixels of `{"pixels": …}`, the topmost row first, each from the left.
///
/// # Errors
/// One sentence: what is wrong with the body.
pub fn parse(body: &[u8]) -> Result<[f32; PIXELS], String> {
    let body: Body = serde_json::from_slice(body).map_err(|error| format!("The body is wrong: {error}."))?;
    let pixels: Vec<f32> = match body.pixels {
        Pixels::Rows(rows) => rows.concat(),
        Pixels::Flat(pixels) => pixels,
    };
    if let Some(at) = pixels.iter().position(|pixel| !(0.0..=DARKEST).contains(pixel)) {
        return Err(format!("Pixel {} is {}, but pixels go from 0 to {DARKEST}.", at + 1, pixels[at]));
    }
    <[f32; PIXELS]>::try_from(pixels)
        .map_err(|pixels| format!("There are {} pixels, but an image has {PIXELS}.", pixels.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(body: &str) -> String {
        parse(body.as_bytes()).expect_err("this must be refused")
    }

    #[test]
    fn rows_and_a_flat_list_are_the_same_image() {
        let flat: Vec<usize> = (0..PIXELS).map(|at| at % 17).collect();
        let rows: Vec<&[usize]> = flat.chunks(SIDE).collect();
        let expected: Vec<f32> = (0_u8..64).map(|at| f32::from(at % 17)).collect();
        for pixels in [serde_json::json!(flat), serde_json::json!(rows)] {
            let body = serde_json::json!({ "pixels": pixels }).to_string();
            assert_eq!(parse(body.as_bytes()).map(Vec::from), Ok(expected.clone()));
        }
    }

    #[test]
    fn what_is_no_image_is_refused_in_one_sentence() {
        let of = |pixels: &[f32]| serde_json::json!({ "pixels": pixels }).to_string();
        assert_eq!(refusal(&of(&[1.0; 63])), "There are 63 pixels, but an image has 64.");
        assert_eq!(refusal(&of(&[1.0; 65])), "There are 65 pixels, but an image has 64.");
        assert_eq!(refusal(&of(&[0.0, 16.5])), "Pixel 2 is 16.5, but pixels go from 0 to 16.");
        assert_eq!(refusal(&of(&[-1.0])), "Pixel 1 is -1, but pixels go from 0 to 16.");
        assert_eq!(refusal("{\"pixels\": [1e99]}"), "Pixel 1 is inf, but pixels go from 0 to 16.");
        let shape = "The body is wrong: pixels must be 8 rows of 8 numbers, or 64 numbers";
        for bad in ["{\"pixels\": 7}", "{\"pixels\": [[1]]}", "{\"pixels\": [null]}"] {
            assert!(refusal(bad).starts_with(shape), "{bad}: {}", refusal(bad));
        }
        assert_eq!(refusal(""), "The body is wrong: EOF while parsing a value at line 1 column 0.");
        assert!(refusal("{}").contains("missing field `pixels`"));
        assert!(refusal("{\"pixels\": [], \"pixel\": []}").contains("unknown field `pixel`"));
    }

    #[test]
    fn a_body_cut_short_anywhere_is_refused() {
        let rows = [[0.5; SIDE]; SIDE];
        let body = serde_json::json!({ "pixels": rows }).to_string();
        assert!(parse(body.as_bytes()).is_ok());
        for end in 0..body.len() {
            assert!(refusal(&body[..end]).ends_with('.'), "{end}");
        }
    }

    #[test]
    fn both_bounds_are_within_them() {
        for (pixel, right) in [(0.0, true), (16.0, true), (-f32::EPSILON, false), (16.000_002, false)] {
            let mut pixels = [1.0_f32; PIXELS];
            pixels[63] = pixel;
            let body = serde_json::json!({ "pixels": pixels.as_slice() }).to_string();
            assert_eq!(parse(body.as_bytes()).is_ok(), right, "{pixel}");
        }
    }
}
