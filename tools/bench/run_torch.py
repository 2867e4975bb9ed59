"""The same net in PyTorch, for whole.py."""

import torch
import vgg
from torch import nn
from turns import arguments, take_turns


def net_of(name: str) -> nn.Sequential:
    layers: list[nn.Module] = []
    for block in vgg.blocks(name):
        for inside, outside, window in block:
            layers.append(nn.Conv2d(inside, outside, window, padding=window // 2))
            layers.append(nn.ReLU(inplace=True))
        layers.append(nn.MaxPool2d(2))
    layers.append(nn.Flatten())
    for inside, outside in vgg.FULL[:-1]:
        layers += [nn.Linear(inside, outside), nn.ReLU(inplace=True), nn.Dropout()]
    return nn.Sequential(*layers, nn.Linear(*vgg.FULL[-1]))


def main() -> None:
    parser = arguments()
    parser.add_argument("--form", choices=("default", "channels_last", "compile"), required=True)
    said = parser.parse_args()
    torch.set_num_threads(said.threads)
    torch.manual_seed(1)
    train = said.work == "forward+backward"
    net: nn.Module = net_of(said.net).train(train)
    x, label = torch.randn(said.batch, *vgg.IMAGE), torch.randint(0, 1000, (said.batch,))
    if said.form == "channels_last":
        net = net.to(memory_format=torch.channels_last)
        x = x.to(memory_format=torch.channels_last)
    if said.form == "compile":
        net = torch.compile(net)
    loss = nn.CrossEntropyLoss()

    def work() -> None:
        if train:
            net.zero_grad(set_to_none=False)
            loss(net(x), label).backward()
        else:
            with torch.inference_mode():
                net(x)

    take_turns(work)


if __name__ == "__main__":
    main()
