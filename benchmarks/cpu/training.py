"""A training step of an sLSTM forecaster: 6 blocks of 128 units, 1.2 million weights, 64 series."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.cpu.peers import compiled, named, tirex_network, without_rounding
from benchmarks.cpu.weights import recurrent_to_xlstm, tirex_backbone
from benchmarks.cpu.workload import Candidate, Cost, Plan, Precision, Work, ours_by_precision
from xlstmd.nn.backbone import Backbone
from xlstmd.nn.config import BackboneConfig, FeedForwardConfig, SLSTMBlockConfig
from xlstmd.nn.linear import Linear, set_products

WIDTH = 128
HEADS = 4
BLOCKS = 6
HIDDEN = 256
PATCH = 32
CONTEXT = 512
BATCH = 64
TOKENS = CONTEXT // PATCH

LEVELS = torch.arange(1, 10) / 10.0
RATE = 1e-3
# Steps of plain gradient descent that the parity check takes, large enough to move the outputs.
CHECK_STEPS = 2
CHECK_RATE = 0.05

GOALS: dict[tuple[Precision, str], float] = {
    (precision, peer): goal
    for precision in ("fp32", "bf16")
    for peer, goal in (("xlstm", 7.0), ("tirex", 5.5))
}

BLOCK = SLSTMBlockConfig(
    width=WIDTH,
    num_heads=HEADS,
    conv_window=0,
    norm="rms",
    norm_eps=1e-6,
    head_norm_eps=1e-5,
    feedforward=FeedForwardConfig(factor=2.6667, multiple_of=64),
)
CONFIG = BackboneConfig(width=WIDTH, blocks=(BLOCK,) * BLOCKS, norm="rms", norm_eps=1e-6)


class Ours(nn.Module):
    """Our backbone between the same two maps."""

    def __init__(self, network: Any) -> None:
        """Takes the weights of an official network."""
        super().__init__()
        state = network.state_dict()
        self.backbone = Backbone(CONFIG)
        weights = tirex_backbone(state, BLOCKS, HEADS)
        self.backbone.load_state_dict({name: torch.tensor(w) for name, w in weights.items()})
        self.embedding = _two_layer_map(network.input_patch_embedding)
        self.head = _two_layer_map(network.output_patch_embedding)

    def forward(self, tokens: Tensor) -> Tensor:
        """Maps tokens [B, N, 2P] to [B, N, quantiles * P]."""
        hidden, _ = self.backbone(self.embedding(tokens), self.backbone.init_state(len(tokens)))
        out: Tensor = self.head(hidden)
        return out


class TwoLayerMap(nn.Module):
    """down(relu(up(x))) + skip(x)."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        """Builds the three maps."""
        super().__init__()
        self.up = Linear(inputs, hidden)
        self.down = Linear(hidden, outputs)
        self.skip = Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Maps the last axis."""
        out: Tensor = self.down(functional.relu(self.up(x))) + self.skip(x)
        return out


class XLSTMLayer(nn.Module):
    """The sLSTM layer of `xlstm` in the place of that of `tirex-ts`, with the same weights."""

    def __init__(self, theirs: Any) -> None:
        """Takes the weights of a layer of `tirex-ts`."""
        super().__init__()
        from xlstm.blocks.slstm.layer import sLSTMLayer, sLSTMLayerConfig

        self.layer = sLSTMLayer(
            sLSTMLayerConfig(
                embedding_dim=WIDTH,
                num_heads=HEADS,
                conv1d_kernel_size=0,
                backend="vanilla",
                dtype="float32",
            )
        )
        state = dict(theirs.state_dict())
        units = WIDTH // HEADS
        kernel, bias = "slstm_cell._recurrent_kernel_", "slstm_cell._bias_"
        state[kernel] = recurrent_to_xlstm(state[kernel].reshape(HEADS, units, 4, units))
        state[bias] = state[bias].reshape(HEADS, 4, units).transpose(0, 1).flatten()
        self.layer.load_state_dict(state)

    def forward(self, x: Tensor, slstm_state: None = None) -> Tensor:
        """Maps [B, T, D]; the state is always the empty one."""
        out: Tensor = self.layer(x, slstm_state=slstm_state)
        return out


def works(plan: Plan) -> Iterator[Work]:
    """Gives the training step."""
    generator = torch.Generator().manual_seed(0)
    series = torch.randn(BATCH, CONTEXT + PATCH, generator=generator).cumsum(1) / CONTEXT**0.5
    patches = series.unflatten(1, (-1, PATCH))
    tokens = torch.cat([patches[:, :-1], torch.ones(BATCH, TOKENS, PATCH)], dim=-1)
    targets = patches[:, 1:]

    def make(precision: Precision) -> Candidate:
        return ours(precision, tokens, targets)

    built, notes = ours_by_precision(("fp32", "bf16"), make)
    reference = steps("", "", official, tokens, targets).check
    assert reference is not None
    check = reference
    weights = sum(p.numel() for p in Ours(official()).parameters())
    yield Work(
        id=f"training-slstm-d{WIDTH}-b{BATCH}",
        ours=built,
        peers=tuple(peers(tokens, targets, plan)),
        reference=lambda: without_rounding(check),
        goals=GOALS,
        # Forward, and twice as much backward.
        cost=Cost(flops=6.0 * BATCH * TOKENS * weights),
        gradients=True,
        notes=notes,
    )


def ours(precision: Precision, tokens: Tensor, targets: Tensor) -> Candidate:
    """Gives our modules with whatever implementations are chosen at load."""

    def build() -> Ours:
        network = Ours(official())
        set_products(network, "bfloat16" if precision == "bf16" else "float32")
        return network

    return steps(precision, "xlstmd", build, tokens, targets)


def official() -> Any:
    """Builds the official network in this size."""
    shape = {"width": WIDTH, "heads": HEADS, "blocks": BLOCKS, "hidden": HIDDEN}
    return tirex_network(**shape, context=CONTEXT, patch=PATCH).train()


def peers(tokens: Tensor, targets: Tensor, plan: Plan) -> Iterator[Candidate]:
    """Gives the official network with both official layers, eager and compiled."""
    builds: list[tuple[str, str, Callable[[], Any]]] = [
        ("xlstm", "layer in the network of tirex-ts, eager", with_xlstm),
        ("tirex", "eager", official),
    ]
    for package, setting, build in builds:
        name = named(package, setting)
        yield steps(package, name, build, tokens, targets)
        if not plan.quick:
            name = named(package, setting.replace("eager", "compiled"))
            yield steps(f"{package}-compiled", name, build, tokens, targets, compiled)


def with_xlstm() -> Any:
    """Builds the official network with the layers of `xlstm`."""
    network = official()
    for block in network.blocks:
        block.slstm_layer = XLSTMLayer(block.slstm_layer)
    return network


def steps(
    label: str,
    name: str,
    build: Callable[[], Any],
    tokens: Tensor,
    targets: Tensor,
    wrap: Callable[[Any], Any] | None = None,
) -> Candidate:
    """Makes a candidate: timed in training, checked by its outputs after a few first steps.

    Args:
      label: of the candidate.
      name: of the candidate.
      build: gives a network with the common first weights.
      tokens: [B, N, 2P].
      targets: [B, N, P].
      wrap: compiles a forward pass.
    """
    network = build()
    forward = _forward(network, wrap)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, fused=True)
    start = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    descent = torch.optim.SGD(network.parameters(), lr=CHECK_RATE)

    def learn(rule: torch.optim.Optimizer) -> None:
        loss = pinball(forward(tokens), targets)
        rule.zero_grad()
        loss.backward()
        rule.step()

    def check() -> Tensor:
        network.load_state_dict(start)
        for _ in range(CHECK_STEPS):
            learn(descent)
        with torch.no_grad():
            out: Tensor = forward(tokens)
        return out

    return Candidate(label=label, name=name, run=lambda: learn(optimizer), check=check)


def pinball(outputs: Tensor, targets: Tensor) -> Tensor:
    """Gives the loss of quantiles [B, N, Q * P]."""
    quantiles = outputs.unflatten(-1, (len(LEVELS), PATCH))
    above = targets.unsqueeze(2) - quantiles
    levels = LEVELS[:, None]
    return torch.maximum(levels * above, (levels - 1.0) * above).mean()


def _forward(network: Any, wrap: Callable[[Any], Any] | None) -> Callable[[Tensor], Tensor]:
    function: Any = network if isinstance(network, Ours) else network._forward_model
    wrapped: Callable[[Tensor], Tensor] = function if wrap is None else wrap(function)
    return wrapped


def _two_layer_map(theirs: Any) -> TwoLayerMap:
    hidden, inputs = theirs.hidden_layer.weight.shape
    ours = TwoLayerMap(inputs, hidden, theirs.output_layer.weight.shape[0])
    for layer, other in (
        (ours.up, theirs.hidden_layer),
        (ours.down, theirs.output_layer),
        (ours.skip, theirs.residual_layer),
    ):
        layer.load_state_dict(other.state_dict())
    return ours
