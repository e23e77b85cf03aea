//! The trained network, and how it is asked.

use crate::image::PIXELS;
use hairtrigger_abi::Error;
use std::sync::Arc;
use tract_onnx::prelude::{
    Framework, InferenceModelExt, IntoRunnable, Tensor, TractError, TypedRunnableModel, tvec,
};

/// How many digits there are.
pub const DIGITS: usize = 10;

/// `model/train.py` makes it.
const ONNX: &[u8] = include_bytes!("../model/digits.onnx");

/// The network, ready to run.
pub struct Model {
    plan: Arc<TypedRunnableModel>,
}

impl Model {
    /// Reads and optimises the model of this plugin.
    ///
    /// # Errors
    /// It is damaged, or has an operation that tract does not know.
    pub fn load() -> Result<Self, Error> {
        let plan = tract_onnx::onnx()
            .model_for_read(&mut &*ONNX)
            .and_then(|model| model.into_optimized()?.into_runnable())
            .map_err(|error| Error::new(format_args!("the model cannot be loaded: {error:#}")))?;
        Ok(Self { plan })
    }

    /// How likely each digit is, from 0 to 9: ten numbers from 0 to 1, with the sum of 1.
    ///
    /// # Errors
    /// The model is not of this shape.
    pub fn probabilities(&self, pixels: &[f32; PIXELS]) -> Result<[f32; DIGITS], Error> {
        let run = || {
            let image = Tensor::from_shape(&[1, PIXELS], pixels)?;
            let outputs = self.plan.run(tvec!(image.into()))?;
            let found = outputs[0].try_as_plain_ram()?.as_slice::<f32>()?;
            Ok(found.try_into()?)
        };
        run().map_err(|error: TractError| Error::new(format_args!("the model cannot be run: {error:#}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Deserialize)]
    struct Reference {
        cases: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        digit: usize,
        pixels: Vec<f32>,
        probabilities: Vec<f32>,
    }

    /// What ONNX Runtime answers to images that the training has not seen.
    fn reference() -> Vec<Case> {
        let text = include_str!("../model/reference.json");
        serde_json::from_str::<Reference>(text).expect("train.py writes this").cases
    }

    #[test]
    fn probabilities_are_those_of_the_reference() {
        let model = Model::load().expect("the model is in order");
        let cases = reference();
        assert_eq!(cases.len(), 60);
        for case in &cases {
            let pixels = case.pixels.as_slice().try_into().expect("64 pixels");
            let found = model.probabilities(&pixels).expect("the model runs");
            for (found, expected) in found.iter().zip(&case.probabilities) {
                assert!((found - expected).abs() < 1e-5, "{found} instead of {expected}");
            }
            assert!((found.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        }
    }

    #[test]
    fn most_digits_are_recognised() {
        let model = Model::load().expect("the model is in order");
        let cases = reference();
        let right = cases.iter().filter(|case| {
            let pixels = case.pixels.as_slice().try_into().expect("64 pixels");
            let found = model.probabilities(&pixels).expect("the model runs");
            (0..DIGITS).all(|other| found[other] <= found[case.digit])
        });
        assert!(right.count() >= 54, "fewer than nine of ten digits are recognised");
    }
}
