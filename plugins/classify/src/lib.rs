//! `classify`: a handwritten digit in, which one it is out. Inference on demand, with a model that every worker
//! has without loading it.
//!
//! ```text
//! curl --data '{"pixels": [[0,0,0,1,11,0,0,0], …]}' http://127.0.0.1:8080/classify
//! {"label":4,"probability":0.99984,"probabilities":[…]}
//! ```
//!
//! The image has 8 rows of 8 pixels, from 0 (paper) to 16 (ink). The model is `model/digits.onnx`, which
//! `model/train.py` makes; it is compiled into the plugin, and [tract](tract_onnx) reads and optimises it in
//! `init`. So a worker, which is a fork of what `init` left, only computes.

pub mod image;
pub mod model;

use hairtrigger_abi::{Error, Function, Host, Request, Response};
use model::{DIGITS, Model};
use serde::Serialize;

const USAGE: &str = "POST {\"pixels\": […]} to /classify, with 8 rows of 8 numbers from 0 (paper) to 16 (ink), to \
                     learn which digit that is.\n";

struct Classify {
    model: Model,
}

/// What the caller gets.
#[derive(Serialize)]
struct Answer {
    /// The likeliest digit.
    label: usize,
    /// How likely it is, 0 to 1.
    probability: f32,
    /// The same of each digit, from 0 to 9.
    probabilities: [f32; DIGITS],
}

impl Answer {
    fn of(probabilities: [f32; DIGITS]) -> Self {
        let best = probabilities.into_iter().enumerate().max_by(|(_, one), (_, other)| one.total_cmp(other));
        let (label, probability) = best.expect("there are ten digits");
        Self { label, probability, probabilities }
    }
}

impl Function for Classify {
    fn init(_: &Host) -> Result<Self, Error> {
        let model = Model::load()?;
        // Once here, so that no worker is the first to compute.
        model.probabilities(&[0.0; image::PIXELS])?;
        Ok(Self { model })
    }

    fn invoke(&mut self, request: &Request<'_>, response: &mut Response<'_>) -> Result<(), Error> {
        if request.method() != "POST" {
            response.set_status(405)?;
            response.header("allow", "POST")?;
            return Ok(response.text(USAGE)?);
        }
        match image::parse(request.body()) {
            Ok(pixels) => {
                let answer = Answer::of(self.model.probabilities(&pixels)?);
                Ok(response.json(serde_json::to_string(&answer)? + "\n")?)
            }
            Err(sentence) => {
                response.set_status(400)?;
                Ok(response.text(sentence + "\n")?)
            }
        }
    }
}

hairtrigger_abi::export!(Classify);
