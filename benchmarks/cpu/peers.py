"""The official packages: versions, settings, compilation."""

from collections.abc import Callable
from contextlib import redirect_stderr
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from io import StringIO
from typing import Any
from unittest.mock import patch

import torch

from benchmarks.harness import BenchmarkError

PACKAGES = ("xlstm", "mlstm_kernels", "tirex", "transformers")

# A state that comes back in another layout makes the second call compile once more.
COMPILING_CALLS = 3

# Names on the package index that differ from those of the module.
INDEX_NAMES = {"tirex": "tirex-ts"}


def require_peers() -> None:
    """Checks that there is somebody to compare with.

    Raises:
      BenchmarkError: a package is missing.
    """
    missing = [INDEX_NAMES.get(name, name) for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise BenchmarkError(
            f"peers: expected {', '.join(missing)}, which are not here: "
            "pip install 'xlstmd[torch,bench]'"
        )


def named(package: str, setting: str) -> str:
    """Gives a package with its version and setting."""
    name = INDEX_NAMES.get(package, package)
    return f"{name} {version(name)} {setting}"


def compiled(function: Callable[..., Any], *, frozen: bool = False) -> Callable[..., Any]:
    """Compiles at the first calls, one shape at a time.

    Args:
      function: a function or module.
      frozen: takes weights as constants and tries out kernels for each product: the fastest
        setting for inference, a minute to compile.
    """
    options: dict[str, Any] = {"mode": "max-autotune"} if frozen else {}
    fast = torch.compile(function, dynamic=False, **options)
    compiling = COMPILING_CALLS

    def call(*arguments: Any, **named_arguments: Any) -> Any:
        nonlocal compiling
        if not compiling:
            return fast(*arguments, **named_arguments)
        compiling -= 1
        select: Any = import_module("torch._inductor.select_algorithm")
        select.PRINT_AUTOTUNE = False
        settings = import_module("torch._inductor.config").patch(freezing=frozen)
        # The trials of kernels are told on stderr, each of them.
        with settings, redirect_stderr(StringIO()):
            return fast(*arguments, **named_arguments)

    return call


def transformers_own() -> Any:
    """Gives the xLSTM module of transformers with its own code.

    It takes the blocks of `xlstm` where that is installed, which is another peer already.
    """
    utils: Any = import_module("transformers.utils")
    before = utils.is_xlstm_available
    utils.is_xlstm_available = lambda: False
    try:
        return import_module("transformers.models.xlstm.modeling_xlstm")
    finally:
        utils.is_xlstm_available = before


@torch.no_grad()
def stir(module: torch.nn.Module, seed: int, scale: float = 0.02) -> None:
    """Adds noise to every weight, so that none is zero or one by its initialization."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.add_(scale * torch.randn(parameter.shape, generator=generator))


class Float32Torch:
    """Stands for torch in a module that rounds to bfloat16, and makes it keep float32."""

    bfloat16 = torch.float32

    def __getattr__(self, name: str) -> Any:
        """Gives everything else as it is."""
        return getattr(torch, name)


def without_rounding(call: Callable[[], Any]) -> Any:
    """Calls something of `tirex-ts` with its cell in float32 instead of bfloat16."""
    with patch("tirex.models.slstm.cell.torch", Float32Torch()):
        return call()


def tirex_network(**shape: Any) -> Any:
    """Builds the network of TiRex in any size, with random weights.

    Args:
      shape: `width`, `heads`, `blocks`, `hidden`, `context`, `patch`.
    """
    from tirex.models.tirex import TiRexZero

    model = TiRexZero(backend="torch", **tirex_settings(**shape))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # The package leaves its cells' memory as it finds it.
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim == 1:
                start = 0.0 if "bias" in name or "group_norm" in name else 1.0
                parameter.copy_(start + 0.1 * noise)
            else:
                fan_in = parameter.shape[1 if "recurrent" in name else -1]
                parameter.copy_(noise / fan_in**0.5)
    return model.eval()


def tirex_settings(
    *, width: int, heads: int, blocks: int, hidden: int, context: int, patch: int = 32
) -> dict[str, Any]:
    """Gives what a checkpoint of TiRex says of its network."""
    return {
        "model_config": {
            "input_patch_size": patch,
            "output_patch_size": patch,
            "quantiles": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9],
            "input_ff_dim": hidden,
            "block_kwargs": {
                "all_slstm": True,
                "embedding_dim": width,
                "num_blocks": blocks,
                "num_heads": heads,
                "return_last_states": True,
                "vocab_size": 0,
            },
        },
        "train_ctx_len": context,
    }


def compile_cells(model: Any) -> None:
    """Compiles the recurrence of every block, as the package's own switch does."""
    from tirex.models.slstm.cell import sLSTMCellTorch

    fast = compiled(sLSTMCellTorch.slstm_forward)
    for block in model.blocks:
        block.slstm_layer.slstm_cell._impl_forward_torch = fast
