use super::*;
use image::{GenericImageView, Luma, LumaA, Pixel, Rgb, Rgba};

fn width(width: u32) -> Wanted {
    Wanted::parse(Some(&width.to_string()), None).expect("a width in bounds")
}

fn encoded(pixels: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    pixels.write_to(&mut bytes, format).expect("a picture can be written to memory");
    bytes.into_inner()
}

/// Left half red, right half blue.
fn halves(width: u32, height: u32) -> DynamicImage {
    let pixel = |x, _| if x < width / 2 { Rgb([255, 0, 0]) } else { Rgb([0, 0, 255]) };
    RgbImage::from_fn(width, height, pixel).into()
}

/// What comes back for `original`, decoded again.
fn shrunk(original: &[u8], wanted: Wanted) -> (&'static str, DynamicImage) {
    let picture = shrink(original, wanted).expect("the picture is in order");
    let mut bytes = Vec::new();
    picture.encode(&mut bytes).expect("memory takes it");
    let format = image::guess_format(&bytes).expect("a picture came back");
    assert_eq!(format.to_mime_type(), picture.media_type());
    let again = image::load_from_memory(&bytes).expect("a picture came back");
    assert_eq!(again.dimensions(), picture.size());
    (picture.media_type(), again)
}

fn refusal(original: &[u8]) -> Refusal {
    shrink(original, width(64)).expect_err("this must be refused")
}

/// Whether two colours are the same to the eye.
fn alike(one: impl Pixel<Subpixel = u8>, other: [u8; 4]) -> bool {
    let near = |(a, b): (u8, u8)| a.abs_diff(b) < 16;
    one.to_rgba().0.into_iter().zip(other).all(near)
}

#[test]
fn a_jpeg_comes_back_as_a_smaller_jpeg_of_the_same_picture() {
    let (kind, picture) = shrunk(&encoded(&halves(640, 480), ImageFormat::Jpeg), width(64));
    assert_eq!((kind, picture.dimensions()), ("image/jpeg", (64, 48)));
    assert!(alike(picture.get_pixel(8, 24), [255, 0, 0, 255]), "{:?}", picture.get_pixel(8, 24));
    assert!(alike(picture.get_pixel(56, 24), [0, 0, 255, 255]), "{:?}", picture.get_pixel(56, 24));
}

#[test]
fn a_png_comes_back_as_a_png_with_the_channels_it_had() {
    let grey = DynamicImage::from(GrayImage::from_pixel(100, 50, Luma([200])));
    let grey_alpha = DynamicImage::from(GrayAlphaImage::from_pixel(100, 50, LumaA([200, 128])));
    let rgb = DynamicImage::from(RgbImage::from_pixel(100, 50, Rgb([1, 2, 200])));
    let rgba = DynamicImage::from(RgbaImage::from_pixel(100, 50, Rgba([1, 2, 200, 128])));
    for original in [grey, grey_alpha, rgb, rgba] {
        let (kind, picture) = shrunk(&encoded(&original, ImageFormat::Png), width(10));
        assert_eq!((kind, picture.dimensions()), ("image/png", (10, 5)));
        assert_eq!(picture.color(), original.color());
        assert!(alike(picture.get_pixel(5, 2), original.get_pixel(5, 2).0));
    }
}

#[test]
fn sixteen_bits_a_channel_become_eight() {
    let original = DynamicImage::from(halves(100, 50).into_rgba16());
    let (_, picture) = shrunk(&encoded(&original, ImageFormat::Png), width(10));
    assert_eq!((picture.color(), picture.dimensions()), (image::ColorType::Rgba8, (10, 5)));
    assert!(alike(picture.get_pixel(1, 2), [255, 0, 0, 255]));
}

#[test]
fn what_is_invisible_does_not_bleed_into_what_is_visible() {
    // Columns of opaque blue and of red that cannot be seen.
    let pixel = |x, _| if x % 2 == 0 { Rgba([0, 0, 255, 255]) } else { Rgba([255, 0, 0, 0]) };
    let original = DynamicImage::from(RgbaImage::from_fn(64, 64, pixel));
    let (_, picture) = shrunk(&encoded(&original, ImageFormat::Png), width(8));
    let middle = picture.get_pixel(4, 4);
    assert!(alike(middle, [0, 0, 255, 128]), "{middle:?}");
}

#[test]
fn a_picture_is_never_enlarged() {
    let (_, picture) = shrunk(&encoded(&halves(20, 10), ImageFormat::Png), width(4096));
    assert_eq!(picture, halves(20, 10));
}

#[test]
fn a_photo_that_lies_on_its_side_is_turned_before_it_is_measured() {
    let mut photo = encoded(&halves(640, 480), ImageFormat::Jpeg);
    // An EXIF segment behind the first marker, with one entry: orientation 6, "turn right to see it upright".
    let exif = b"\xff\xe1\x00\x22Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    photo.splice(2..2, exif.iter().copied());
    let (_, picture) = shrunk(&photo, width(48));
    assert_eq!(picture.dimensions(), (48, 64));
    // What was left is now at the top.
    assert!(alike(picture.get_pixel(24, 8), [255, 0, 0, 255]));
    assert!(alike(picture.get_pixel(24, 56), [0, 0, 255, 255]));
}

#[test]
fn what_is_no_jpeg_or_png_is_refused() {
    assert_eq!(refusal(b"").status, 400);
    for other in [&b"GIF89a\x01\0\x01\0\0\0\0;"[..], b"<svg/>", b"\0", b"\xff\xd8"] {
        assert_eq!(
            refusal(other),
            Refusal::new(415, "The body is neither a JPEG nor a PNG image."),
            "{other:?}"
        );
    }
}

#[test]
fn a_damaged_picture_is_refused_wherever_it_is_cut() {
    for format in [ImageFormat::Jpeg, ImageFormat::Png] {
        let whole = encoded(&halves(64, 64), format);
        for end in (12..whole.len() - 16).step_by(7) {
            if let Err(refusal) = shrink(&whole[..end], width(8)) {
                assert!(matches!(refusal.status, 400 | 415), "{refusal:?}");
            }
        }
        let refusal = refusal(&whole[..whole.len() / 4]);
        assert_eq!(refusal.status, 400, "{refusal:?}");
        assert!(refusal.sentence.starts_with("The image is damaged: "), "{refusal:?}");
    }
}

/// A PNG that states other dimensions than it has, with a checksum that is right.
fn png_of_stated_size(width: u32, height: u32) -> Vec<u8> {
    let mut png = encoded(&halves(2, 2), ImageFormat::Png);
    png[16..20].copy_from_slice(&width.to_be_bytes());
    png[20..24].copy_from_slice(&height.to_be_bytes());
    let checksum = png[12..29].iter().fold(u32::MAX, |mut crc, byte| {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
        crc
    });
    png[29..33].copy_from_slice(&(!checksum).to_be_bytes());
    png
}

/// A JPEG that states other dimensions than it has.
fn jpeg_of_stated_size(width: u16, height: u16) -> Vec<u8> {
    let mut jpeg = encoded(&halves(16, 16), ImageFormat::Jpeg);
    let frame = jpeg.windows(2).position(|marker| marker == [0xff, 0xc0]).expect("a baseline JPEG");
    jpeg[frame + 5..frame + 7].copy_from_slice(&height.to_be_bytes());
    jpeg[frame + 7..frame + 9].copy_from_slice(&width.to_be_bytes());
    jpeg
}

#[test]
fn a_bomb_is_refused_by_what_its_head_says() {
    for bomb in [
        png_of_stated_size(30_000, 30_000),
        png_of_stated_size(u32::MAX >> 1, 1),
        png_of_stated_size(1, MAX_SIDE + 1),
        png_of_stated_size(4097, 4096),
        jpeg_of_stated_size(u16::MAX, u16::MAX),
        jpeg_of_stated_size(4097, 4096),
    ] {
        let refusal = refusal(&bomb);
        assert_eq!(refusal.status, 413, "{refusal:?}");
        assert!(refusal.sentence.starts_with("The image is too large ("), "{refusal:?}");
        assert!(
            refusal.sentence.ends_with("at most 16 megapixels and 32768 pixels a side are decoded."),
            "{refusal:?}"
        );
    }
    // The checksum is right: the very same picture with a size in bounds gets further.
    assert_eq!(refusal(&png_of_stated_size(4096, 4096)).status, 400);
    assert_eq!(shrink(&png_of_stated_size(2, 2), width(1)).expect("as it was").size(), (1, 1));
}
