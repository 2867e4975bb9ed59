"""The same net forward by OpenCV's dnn module, for whole.py."""

import cv2
import numpy as np
import vgg
from turns import arguments, take_turns


def main() -> None:
    parser = arguments()
    parser.add_argument("--model", required=True)
    said = parser.parse_args()
    cv2.setNumThreads(said.threads)
    net = cv2.dnn.readNetFromONNX(said.model)
    random = np.random.default_rng(1)
    data = random.standard_normal((said.batch, *vgg.IMAGE), np.float32)

    def work() -> None:
        net.setInput(data)
        net.forward()

    take_turns(work)


if __name__ == "__main__":
    main()
