"""The same net in PyTorch, for bench_cpu.py."""

import torch
from torch import nn
from turns import arguments, take_turns

BLOCKS = {
    "A": [[64], [128], [256] * 2, [512] * 2, [512] * 2],
    "B": [[64] * 2, [128] * 2, [256] * 2, [512] * 2, [512] * 2],
    "D": [[64] * 2, [128] * 2, [256] * 3, [512] * 3, [512] * 3],
    "E": [[64] * 2, [128] * 2, [256] * 4, [512] * 4, [512] * 4],
}


def net_of(name: str) -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = 3
    for block in BLOCKS[name]:
        for width in block:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
            channels = width
        layers.append(nn.MaxPool2d(2))
    layers.append(nn.Flatten())
    for inside, outside in ((25088, 4096), (4096, 4096)):
        layers += [nn.Linear(inside, outside), nn.ReLU(inplace=True), nn.Dropout()]
    return nn.Sequential(*layers, nn.Linear(4096, 1000))


def main() -> None:
    parser = arguments()
    parser.add_argument("--form", choices=("default", "channels_last"), required=True)
    said = parser.parse_args()
    torch.set_num_threads(said.threads)
    torch.manual_seed(1)
    train = said.work == "forward+backward"
    net = net_of(said.net).train(train)
    x, label = torch.randn(said.batch, 3, 224, 224), torch.randint(0, 1000, (said.batch,))
    if said.form == "channels_last":
        net = net.to(memory_format=torch.channels_last)
        x = x.to(memory_format=torch.channels_last)
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
