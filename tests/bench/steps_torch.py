"""The training steps of examples/lab/bench_steps.cc in PyTorch: same nets, same names of parameters, same work.

Each function of STEPS takes (norm, draw) and returns (networks by name, step function). draw(kind, name, *shape) gives the inputs; the step
returns its losses. Networks start as PyTorch's layers do by default, which is how ours start, too.
"""
import torch
from torch import nn
from torch.nn import functional as F

bce = F.binary_cross_entropy_with_logits


def make_norm(kind, channels, size):
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    if kind == "layer":
        return nn.LayerNorm([channels, size, size])
    if kind == "group":
        return nn.GroupNorm(8, channels)
    if kind == "instance":
        return nn.InstanceNorm2d(channels, affine=True)
    return nn.Identity()


def chain(*parts):
    """Sequential from layers and lists of layers."""
    flat = []
    for part in parts:
        flat += part if isinstance(part, list) else [part]
    return nn.Sequential(*flat)


def adam(net, lr=1e-3, betas=(0.9, 0.999)):
    return torch.optim.Adam(net.parameters(), lr=lr, betas=betas)


def minimize(optimizer, loss):
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return loss


# Adversarial ----------------------------------------------------------------------------------------------------------------------


def generator(norm):
    bias = norm == "none"
    doubled = lambda i, o, size: [nn.ConvTranspose2d(i, o, 4, 2, 1, bias=bias), make_norm(norm, o, size), nn.ReLU()]
    return chain(nn.ConvTranspose2d(128, 256, 4, bias=bias), make_norm(norm, 256, 4), nn.ReLU(),
                 doubled(256, 128, 8), doubled(128, 64, 16), nn.ConvTranspose2d(64, 3, 4, 2, 1), nn.Tanh())


def critic(norm):
    halved = lambda i, o, size: [nn.Conv2d(i, o, 4, 2, 1, bias=norm == "none"), make_norm(norm, o, size), nn.LeakyReLU(0.2)]
    return chain(nn.Conv2d(3, 64, 4, 2, 1), nn.LeakyReLU(0.2), halved(64, 128, 8), halved(128, 256, 4), nn.Conv2d(256, 1, 4), nn.Flatten())


def dcgan(norm, draw):
    g, d = generator(norm), critic(norm)
    g_adam, d_adam = adam(g, 2e-4, (0.5, 0.999)), adam(d, 2e-4, (0.5, 0.999))
    real = draw("normal", "real", 64, 3, 32, 32).tanh()
    one, zero = torch.ones(64, 1), torch.zeros(64, 1)
    count = iter(range(10**9))

    def step():
        fake = g(draw("normal", f"z.{next(count)}", 64, 128, 1, 1))
        d_loss = minimize(d_adam, bce(d(real), one) + bce(d(fake.detach()), zero))
        d.requires_grad_(False)
        g_loss = minimize(g_adam, bce(d(fake), one))
        d.requires_grad_(True)
        return d_loss, g_loss
    return {"G": g, "D": d}, step


def wgangp(norm, draw):
    g, d = generator("batch"), critic(norm)
    optimizer = adam(d, 1e-4, (0.0, 0.9))
    real = draw("normal", "real", 64, 3, 32, 32).tanh()
    count = iter(range(10**9))

    def step():
        i = next(count)
        z, share = draw("normal", f"z.{i}", 64, 128, 1, 1), draw("uniform", f"e.{i}", 64, 1, 1, 1)
        with torch.no_grad():
            fake = g(z)
        mixed = (share * real + (1 - share) * fake).requires_grad_()
        slopes = torch.autograd.grad(d(mixed).sum(), mixed, create_graph=True)[0]
        penalty = (slopes.flatten(1).norm(2, dim=1) - 1).square().mean()
        return (minimize(optimizer, d(fake).mean() - d(real).mean() + 10 * penalty),)
    return {"G": g, "D": d}, step


class UNet(nn.Module):
    def __init__(self, norm):
        super().__init__()
        bias = norm == "none"
        down = lambda i, o, b: nn.Conv2d(i, o, 4, 2, 1, bias=b)
        up = lambda i, o, b: nn.ConvTranspose2d(i, o, 4, 2, 1, bias=b)
        leak = lambda: nn.LeakyReLU(0.2)
        self.down0 = chain(down(3, 32, True))
        self.down1 = chain(leak(), down(32, 64, bias), make_norm(norm, 64, 16))
        self.down2 = chain(leak(), down(64, 128, bias), make_norm(norm, 128, 8))
        self.down3 = chain(leak(), down(128, 256, bias), make_norm(norm, 256, 4))
        self.down4 = chain(leak(), down(256, 256, True))
        self.up0 = chain(nn.ReLU(), up(256, 256, bias), make_norm(norm, 256, 4))
        self.up1 = chain(nn.ReLU(), up(512, 128, bias), make_norm(norm, 128, 8))
        self.up2 = chain(nn.ReLU(), up(256, 64, bias), make_norm(norm, 64, 16))
        self.up3 = chain(nn.ReLU(), up(128, 32, bias), make_norm(norm, 32, 32))
        self.up4 = chain(nn.ReLU(), up(64, 3, True), nn.Tanh())

    def forward(self, x):
        a = self.down0(x)
        b = self.down1(a)
        c = self.down2(b)
        d = self.down3(c)
        y = torch.cat([self.up0(self.down4(d)), d], 1)
        y = torch.cat([self.up1(y), c], 1)
        y = torch.cat([self.up2(y), b], 1)
        return self.up4(torch.cat([self.up3(y), a], 1))


def unet(norm, draw):
    leak, bias = nn.LeakyReLU(0.2), norm == "none"
    g = UNet(norm)
    d = chain(nn.Conv2d(6, 32, 4, 2, 1), leak, nn.Conv2d(32, 64, 4, 2, 1, bias=bias), make_norm(norm, 64, 16), leak,
              nn.Conv2d(64, 128, 4, 2, 1, bias=bias), make_norm(norm, 128, 8), leak,
              nn.Conv2d(128, 256, 4, 1, 1, bias=bias), make_norm(norm, 256, 7), leak, nn.Conv2d(256, 1, 4, 1, 1))
    g_adam, d_adam = adam(g, 2e-4, (0.5, 0.999)), adam(d, 2e-4, (0.5, 0.999))
    x, y = draw("normal", "x", 8, 3, 64, 64).tanh(), draw("normal", "y", 8, 3, 64, 64).tanh()
    one, zero = torch.ones(8, 1, 6, 6), torch.zeros(8, 1, 6, 6)
    judged = lambda picture: d(torch.cat([x, picture], 1))

    def step():
        fake = g(x)
        d_loss = minimize(d_adam, 0.5 * (bce(judged(y), one) + bce(judged(fake.detach()), zero)))
        d.requires_grad_(False)
        g_loss = minimize(g_adam, bce(judged(fake), one) + 100 * F.l1_loss(fake, y))
        d.requires_grad_(True)
        return d_loss, g_loss
    return {"G": g, "D": d}, step


# Style ----------------------------------------------------------------------------------------------------------------------------


class Residual(nn.Module):
    def __init__(self, *body):
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, x):
        return x + self.body(x)


class LossNet(nn.Module):
    def __init__(self):
        super().__init__()
        pair = lambda i, o: [nn.Conv2d(i, o, 3, padding=1), nn.ReLU()]
        self.block1 = chain(pair(3, 64), pair(64, 64))
        self.block2 = chain(nn.MaxPool2d(2), pair(64, 128), pair(128, 128))
        self.block3 = chain(nn.MaxPool2d(2), pair(128, 256), pair(256, 256), pair(256, 256))
        self.requires_grad_(False)

    def forward(self, x):
        a = self.block1(x)
        b = self.block2(a)
        return a, b, self.block3(b)


def gram(maps):
    n, c, h, w = maps.shape
    rows = maps.reshape(n, c, h * w)
    return rows @ rows.transpose(1, 2) / (c * h * w)


def style(norm, draw):
    conv = lambda i, o, k, s: nn.Conv2d(i, o, k, s, k // 2, padding_mode="reflect")
    block = lambda i, o, k, s, size: [conv(i, o, k, s), make_norm(norm, o, size), nn.ReLU()]
    residual = lambda: Residual(*block(128, 128, 3, 1, 32), conv(128, 128, 3, 1), make_norm(norm, 128, 32))
    double = lambda: nn.Upsample(scale_factor=2, mode="nearest")
    net = chain(block(3, 32, 9, 1, 128), block(32, 64, 3, 2, 64), block(64, 128, 3, 2, 32), [residual() for _ in range(5)],
                double(), block(128, 64, 3, 1, 64), double(), block(64, 32, 3, 1, 128), conv(32, 3, 9, 1))
    judge = LossNet()
    optimizer = adam(net)
    x, example = draw("normal", "x", 4, 3, 128, 128), draw("normal", "style", 4, 3, 128, 128)
    targets = []

    def step():
        if not targets:  # only now: the judge's weights may have been replaced since it was made
            with torch.no_grad():
                targets.extend(gram(maps) for maps in judge(example))
        y = net(x)
        maps = judge(y)
        with torch.no_grad():
            content = judge(x)[1]
        loss = 1e5 * F.mse_loss(maps[1], content)
        for m, target in zip(maps, targets):
            loss = loss + 1e10 * F.mse_loss(gram(m), target)
        variation = (y[:, :, 1:] - y[:, :, :-1]).abs().sum() + (y[..., 1:] - y[..., :-1]).abs().sum()
        return (minimize(optimizer, loss + 1e-6 * variation),)
    return {"T": net, "VGG": judge}, step


# Classifiers ----------------------------------------------------------------------------------------------------------------------


class BasicBlock(nn.Module):
    def __init__(self, i, o, stride, norm, size):
        super().__init__()
        self.stride, self.more = stride, o - i
        self.conv1, self.norm1 = nn.Conv2d(i, o, 3, stride, 1, bias=False), make_norm(norm, o, size)
        self.conv2, self.norm2 = nn.Conv2d(o, o, 3, 1, 1, bias=False), make_norm(norm, o, size)

    def forward(self, x):
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        if self.stride > 1:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, self.more))
        return F.relu(y + x)


def learn(net, optimizer, draw, *shape, count):
    x, y = draw("normal", "x", *shape), draw("labels", "y", count)
    return {"M": net}, lambda: (minimize(optimizer, F.cross_entropy(net(x), y)),)


def resnet20(norm, draw):
    layers, i, size = [nn.Conv2d(3, 16, 3, padding=1, bias=False), make_norm(norm, 16, 32), nn.ReLU()], 16, 32
    for o in (16, 32, 64):
        for _ in range(3):
            stride = 1 if i == o else 2
            size //= stride
            layers.append(BasicBlock(i, o, stride, norm, size))
            i = o

    class Pooled(nn.Module):
        def forward(self, x):
            return F.adaptive_avg_pool2d(x, 1).flatten(1)
    net = chain(layers, Pooled(), nn.Linear(64, 10))
    return learn(net, torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4), draw, 128, 3, 32, 32, count=128)


def lenet(norm, draw):
    net = chain(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10))
    return learn(net, torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9), draw, 64, 1, 28, 28, count=64)


def mlp(norm, draw):
    net = chain(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10))
    return learn(net, adam(net), draw, 64, 784, count=64)


class LstmClassifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.fc = nn.LSTM(28, 128), nn.Linear(128, 10)

    def forward(self, x):
        return self.fc(self.rnn(x)[0][-1])


class LstmCellClassifier(nn.Module):
    def __init__(self, norms):
        super().__init__()
        bound = 128**-0.5
        self.wx = nn.Parameter(torch.empty(512, 28).uniform_(-bound, bound))
        self.wh = nn.Parameter(torch.empty(512, 128).uniform_(-bound, bound))
        self.b = nn.Parameter(torch.zeros(512))
        self.norms = norms
        if norms:
            self.norm_x, self.norm_h, self.norm_c = nn.LayerNorm(512), nn.LayerNorm(512), nn.LayerNorm(128)
        self.fc = nn.Linear(128, 10)

    def forward(self, x):
        h = c = torch.zeros(x.shape[1], 128)
        for now in x:
            if self.norms:
                gates = self.norm_x(F.linear(now, self.wx)) + self.norm_h(F.linear(h, self.wh)) + self.b
            else:
                gates = F.linear(now, self.wx, self.b) + F.linear(h, self.wh)
            i, f, g, o = gates.chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * (self.norm_c(c) if self.norms else c).tanh()
        return self.fc(h)


def sequence(net, draw):
    return learn(net, adam(net), draw, 28, 64, 28, count=64)


# Super-resolution -------------------------------------------------------------------------------------------------------------------


class Edsr(nn.Module):
    def __init__(self):
        super().__init__()
        conv = lambda i, o: nn.Conv2d(i, o, 3, padding=1)
        self.head = conv(3, 64)
        for i in range(4):
            self.add_module(f"body{i}", nn.Sequential(conv(64, 64), nn.ReLU(), conv(64, 64)))
        self.tail, self.up, self.out = conv(64, 64), conv(64, 256), conv(64, 3)

    def forward(self, x):
        head = y = self.head(x)
        for i in range(4):
            y = y + getattr(self, f"body{i}")(y)
        return self.out(F.pixel_shuffle(self.up(self.tail(y) + head), 2))


def enlarge(net, draw, lr, measure):
    optimizer = adam(net, lr)
    y, x = draw("normal", "y", 16, 3, 64, 64), draw("normal", "x", 16, 3, 32, 32)
    return {"M": net}, lambda: (minimize(optimizer, measure(net(x), y)),)


def espcn(norm, draw):
    net = chain(nn.Conv2d(3, 64, 5, padding=2), nn.Tanh(), nn.Conv2d(64, 32, 3, padding=1), nn.Tanh(), nn.Conv2d(32, 12, 3, padding=1),
                nn.PixelShuffle(2))
    return enlarge(net, draw, 1e-3, F.mse_loss)


STEPS = {
    "dcgan": dcgan, "style": style, "resnet20": resnet20, "unet": unet, "espcn": espcn,
    "edsr": lambda norm, draw: enlarge(Edsr(), draw, 1e-4, F.l1_loss),
    "wgangp": wgangp, "lenet": lenet, "mlp": mlp,
    "lstm": lambda norm, draw: sequence(LstmClassifier(), draw),
    "lstm_cell": lambda norm, draw: sequence(LstmCellClassifier(False), draw),
    "lnlstm": lambda norm, draw: sequence(LstmCellClassifier(True), draw),
    "lnlstm_cell": lambda norm, draw: sequence(LstmCellClassifier(True), draw),
}
