//! Bytes of a picture → bytes of a smaller picture, within bounds.
//!
//! What one picture needs at most, in bytes a pixel of the original: 16-bit colours with alpha are 8, and 4 more
//! while they are made 8-bit; a progressive CMYK JPEG needs 8 for its coefficients and 4 for its pixels; resizing
//! 8-bit colours with alpha to nearly the original size needs 4 for each of source, intermediate and result. So
//! 12 × [`MAX_PIXELS`] = 192 MiB, plus the encoded original, plus [`DECODER_MEMORY`]: below the 256 MiB of
//! `function.toml`.

use crate::size::Wanted;
use fast_image_resize::images::Image;
use fast_image_resize::{MulDiv, PixelType, ResizeOptions, Resizer};
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::metadata::Orientation;
use image::{
    DynamicImage, ExtendedColorType, GrayAlphaImage, GrayImage, ImageDecoder, ImageEncoder, ImageError,
    ImageFormat, ImageReader, ImageResult, Limits, RgbImage, RgbaImage,
};
use std::fmt::Display;
use std::io::{Cursor, Write};

/// Most pixels of an original.
pub const MAX_PIXELS: u64 = 16 << 20;
/// Most pixels of one side of an original: one row is decoded at a time, so it is bounded by itself.
pub const MAX_SIDE: u32 = 32_768;
/// What a decoder may allocate besides the pixels (for compressed metadata, for instance), in bytes.
pub const DECODER_MEMORY: u64 = 8 << 20;
/// Quality of a JPEG that is written, 1 to 100.
pub const JPEG_QUALITY: u8 = 85;

/// Why there is no thumbnail: an HTTP status and one sentence for the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// 400 and up.
    pub status: u16,
    /// What is wrong, and what would be right.
    pub sentence: String,
}

impl Refusal {
    /// A refusal with this status and sentence.
    pub fn new(status: u16, sentence: impl Display) -> Self {
        Self { status, sentence: sentence.to_string() }
    }
}

/// A thumbnail, and the format it is to be sent in.
#[derive(Debug)]
pub struct Picture {
    pixels: DynamicImage,
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Jpeg,
    Png,
}

/// Decodes, shrinks to fit `wanted`, and turns upright.
///
/// # Errors
/// 400: no picture, or a damaged one. 413: too large to be decoded. 415: neither JPEG nor PNG.
pub fn shrink(encoded: &[u8], wanted: Wanted) -> Result<Picture, Refusal> {
    if encoded.is_empty() {
        return Err(Refusal::new(400, "The body is empty: send a JPEG or PNG image in it."));
    }
    let (format, decoder_format) = match image::guess_format(encoded) {
        Ok(ImageFormat::Jpeg) => (Format::Jpeg, ImageFormat::Jpeg),
        Ok(ImageFormat::Png) => (Format::Png, ImageFormat::Png),
        _ => return Err(Refusal::new(415, "The body is neither a JPEG nor a PNG image.")),
    };

    let mut reader = ImageReader::with_format(Cursor::new(encoded), decoder_format);
    reader.limits(limits());
    // Reads the head only.
    let mut decoder = reader.into_decoder().map_err(refuse)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(too_large(format_args!("{width} × {height} pixels")));
    }
    // Unreadable EXIF data is no reason to refuse the picture.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let pixels = DynamicImage::from_decoder(decoder).map_err(refuse)?;

    // The box is that of the upright picture; the pixels may still lie on their side.
    let wanted = if lies_on_its_side(orientation) { wanted.turned() } else { wanted };
    let mut pixels = resize(pixels, wanted.fit((width, height)));
    pixels.apply_orientation(orientation);
    Ok(Picture { pixels, format })
}

impl Picture {
    /// The media type, as in `content-type`.
    #[must_use]
    pub fn media_type(&self) -> &'static str {
        match self.format {
            Format::Jpeg => "image/jpeg",
            Format::Png => "image/png",
        }
    }

    /// Width and height, in pixels.
    #[must_use]
    pub fn size(&self) -> (u32, u32) {
        (self.pixels.width(), self.pixels.height())
    }

    /// Writes the picture in the format of the original.
    ///
    /// # Errors
    /// Those of `output`.
    pub fn encode(&self, output: &mut impl Write) -> ImageResult<()> {
        let (width, height) = self.size();
        let color: ExtendedColorType = self.pixels.color().into();
        match self.format {
            Format::Jpeg => JpegEncoder::new_with_quality(output, JPEG_QUALITY).write_image(
                self.pixels.as_bytes(),
                width,
                height,
                color,
            ),
            Format::Png => PngEncoder::new(output).write_image(self.pixels.as_bytes(), width, height, color),
        }
    }
}

fn limits() -> Limits {
    let mut limits = Limits::no_limits();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(DECODER_MEMORY);
    limits
}

fn too_large(what: impl Display) -> Refusal {
    let megapixels = MAX_PIXELS >> 20;
    Refusal::new(
        413,
        format_args!(
            "The image is too large ({what}): at most {megapixels} megapixels and {MAX_SIDE} pixels a side are decoded."
        ),
    )
}

fn refuse(error: ImageError) -> Refusal {
    match error {
        ImageError::Limits(limit) => too_large(limit),
        ImageError::Unsupported(what) => {
            Refusal::new(415, format_args!("This kind of image is not supported: {what}."))
        }
        other => Refusal::new(400, format_args!("The image is damaged: {other}.")),
    }
}

fn lies_on_its_side(orientation: Orientation) -> bool {
    match orientation {
        Orientation::Rotate90
        | Orientation::Rotate270
        | Orientation::Rotate90FlipH
        | Orientation::Rotate270FlipH => true,
        Orientation::NoTransforms
        | Orientation::Rotate180
        | Orientation::FlipHorizontal
        | Orientation::FlipVertical => false,
    }
}

/// Resizes to exactly `(width, height)`, in 8 bits a channel and the channels there are.
fn resize(pixels: DynamicImage, (width, height): (u32, u32)) -> DynamicImage {
    let color = pixels.color();
    match (color.has_color(), color.has_alpha()) {
        (false, false) => {
            let pixels = pixels.into_luma8();
            let (w, h) = pixels.dimensions();
            let resized = resample(pixels.into_raw(), (w, h), (width, height), PixelType::U8);
            GrayImage::from_raw(width, height, resized).map(DynamicImage::ImageLuma8)
        }
        (false, true) => {
            let pixels = pixels.into_luma_alpha8();
            let (w, h) = pixels.dimensions();
            let resized = resample(pixels.into_raw(), (w, h), (width, height), PixelType::U8x2);
            GrayAlphaImage::from_raw(width, height, resized).map(DynamicImage::ImageLumaA8)
        }
        (true, false) => {
            let pixels = pixels.into_rgb8();
            let (w, h) = pixels.dimensions();
            let resized = resample(pixels.into_raw(), (w, h), (width, height), PixelType::U8x3);
            RgbImage::from_raw(width, height, resized).map(DynamicImage::ImageRgb8)
        }
        (true, true) => {
            let pixels = pixels.into_rgba8();
            let (w, h) = pixels.dimensions();
            let resized = resample(pixels.into_raw(), (w, h), (width, height), PixelType::U8x4);
            RgbaImage::from_raw(width, height, resized).map(DynamicImage::ImageRgba8)
        }
    }
    .expect("a result has width × height pixels of its type")
}

/// The pixels of `from` resampled to `to`. Colours are weighted by their alpha, in place, so that what is
/// invisible does not bleed into what is visible, and no further copy is needed.
fn resample(pixels: Vec<u8>, from: (u32, u32), to: (u32, u32), kind: PixelType) -> Vec<u8> {
    if from == to {
        return pixels;
    }
    let has_alpha = matches!(kind, PixelType::U8x2 | PixelType::U8x4);
    let alpha = MulDiv::new();
    let mut source = Image::from_vec_u8(from.0, from.1, pixels, kind)
        .expect("the decoder gave width × height pixels of this type");
    if has_alpha {
        alpha.multiply_alpha_inplace(&mut source).expect("this type has alpha");
    }
    let mut result = Image::new(to.0, to.1, kind);
    Resizer::new()
        .resize(&source, &mut result, &ResizeOptions::new().use_alpha(false))
        .expect("both are of one type and neither is empty");
    if has_alpha {
        alpha.divide_alpha_inplace(&mut result).expect("this type has alpha");
    }
    result.into_vec()
}

#[cfg(test)]
mod tests;
