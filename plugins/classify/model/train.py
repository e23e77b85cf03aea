#!/usr/bin/env python3
"""Trains the model of `classify`, and writes digits.onnx and reference.json beside this file.

    python3 -m venv venv && venv/bin/pip install -r requirements.txt
    venv/bin/python train.py            writes both
    venv/bin/python train.py --check    trains again, and fails unless both come out as they are

The data are the 1,797 handwritten digits of 8 by 8 pixels that scikit-learn brings along: the test set of
"Optical Recognition of Handwritten Digits" by E. Alpaydin and C. Kaynak, UCI Machine Learning Repository,
CC BY 4.0. Every fifth image is held out: the accuracy printed is that on images the training has not seen.

The model is a perceptron with one hidden layer: 64 pixels (0 to 16), 32 rectified units, 10 probabilities.
Everything random comes from one seed, and one thread adds in one order, so that a second run on a machine of
the same kind makes the same bytes.

reference.json holds held-out images, and what ONNX Runtime, the format's reference, answers to them with
digits.onnx. The tests hold `classify` against it.
"""

import json
import os
import pathlib
import sys

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy is imported

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits

HERE = pathlib.Path(__file__).resolve().parent
SEED = 20_261_121
PIXELS, HIDDEN, DIGITS = 64, 32, 10
BRIGHTEST = 16.0
EPOCHS, BATCH = 120, 32
RATE, DECAY = 2e-3, 1e-4  # of Adam's steps, and of the weights
REFERENCES = 60


def softmax(scores):
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def train(images, digits):
    """Adam on the cross entropy, in double precision. Returns [weights, bias, weights, bias]."""
    random = np.random.default_rng(SEED)
    layer = lambda rows, columns: random.normal(0, np.sqrt(2 / rows), (rows, columns))
    parameters = [layer(PIXELS, HIDDEN), np.zeros(HIDDEN), layer(HIDDEN, DIGITS), np.zeros(DIGITS)]
    first = [np.zeros_like(each) for each in parameters]
    second = [np.zeros_like(each) for each in parameters]
    wanted = np.eye(DIGITS)[digits]
    step = 0
    for _ in range(EPOCHS):
        order = random.permutation(len(images))
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            inputs = images[batch]
            w1, b1, w2, b2 = parameters
            hidden = np.maximum(inputs @ w1 + b1, 0)
            error = (softmax(hidden @ w2 + b2) - wanted[batch]) / len(batch)
            back = (error @ w2.T) * (hidden > 0)
            slopes = [
                inputs.T @ back + DECAY * w1,
                back.sum(axis=0),
                hidden.T @ error + DECAY * w2,
                error.sum(axis=0),
            ]
            step += 1
            for which, slope in enumerate(slopes):
                first[which] = 0.9 * first[which] + 0.1 * slope
                second[which] = 0.999 * second[which] + 0.001 * slope**2
                mean = first[which] / (1 - 0.9**step)
                spread = np.sqrt(second[which] / (1 - 0.999**step))
                parameters[which] = parameters[which] - RATE * mean / (spread + 1e-8)
    return parameters


def model_of(parameters):
    """The trained network as ONNX: pixels as they are in, probabilities out."""
    w1, b1, w2, b2 = parameters
    tensors = {"w1": w1 / BRIGHTEST, "b1": b1, "w2": w2, "b2": b2}
    nodes = [
        helper.make_node("Gemm", ["pixels", "w1", "b1"], ["sums"]),
        helper.make_node("Relu", ["sums"], ["hidden"]),
        helper.make_node("Gemm", ["hidden", "w2", "b2"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1, PIXELS])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [1, DIGITS])],
        [numpy_helper.from_array(values.astype(np.float32), name) for name, values in tensors.items()],
    )
    model = helper.make_model(
        graph, producer_name="train.py", ir_version=8, opset_imports=[helper.make_opsetid("", 17)]
    )
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def main():
    data = load_digits()
    held_out = np.arange(len(data.data)) % 5 == 4
    parameters = train(data.data[~held_out] / BRIGHTEST, data.target[~held_out])
    model = model_of(parameters)

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    images = data.data[held_out].astype(np.float32)
    digits = data.target[held_out]
    answers = [session.run(None, {"pixels": image[None, :]})[0][0] for image in images]
    right = sum(int(answer.argmax()) == digit for answer, digit in zip(answers, digits))
    print(f"{right} of {len(digits)} held-out digits are recognised ({right / len(digits):.1%})")

    cases = [
        {
            "digit": int(digit),
            "pixels": [int(pixel) for pixel in image],
            "probabilities": [float(value) for value in answer],
        }
        for image, digit, answer in list(zip(images, digits, answers))[:REFERENCES]
    ]
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    reference = f'{{"by":"onnxruntime {onnxruntime.__version__}","cases":[\n{lines}\n]}}\n'.encode()

    results = {HERE / "digits.onnx": model, HERE / "reference.json": reference}
    if "--check" in sys.argv[1:]:
        different = [path.name for path, content in results.items() if path.read_bytes() != content]
        if different:
            sys.exit(f"came out different: {', '.join(different)}")
        return
    for path, content in results.items():
        path.write_bytes(content)


if __name__ == "__main__":
    main()
