"""The same net forward by onnxruntime, for whole.py."""

import numpy as np
import onnxruntime
import vgg
from turns import arguments, take_turns


def main() -> None:
    parser = arguments()
    parser.add_argument("--model", required=True)
    said = parser.parse_args()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = said.threads
    session = onnxruntime.InferenceSession(said.model, options, ["CPUExecutionProvider"])
    random = np.random.default_rng(1)
    data = random.standard_normal((said.batch, *vgg.IMAGE), np.float32)
    take_turns(lambda: session.run(None, {"data": data}))


if __name__ == "__main__":
    main()
