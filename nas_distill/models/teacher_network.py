"""`Teacher`: a network that is frozen and in eval mode from construction, and answers in float32."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch import Tensor, nn

from nas_distill.errors import TeacherError
from nas_distill.models.preprocess import Preprocess

_EMBEDDING_TOLERANCE = 1e-3
"""Largest difference, relative to the largest logit, between a forward pass in two halves and one in whole."""


class Teacher(nn.Module):
    """A network that answers and never learns.

    Its parameters take no gradient, it stays in eval mode whatever `train()` says, and its forward pass runs without
    autograd, so neither weights nor BatchNorm statistics can move. It answers in float32 whatever autocast or TF32
    its surroundings chose.

    Args:
        network: A timm classifier.
        architecture: Its timm name.
        arguments: Constructor arguments that rebuild it, without `num_classes` and `in_chans`.
        channels: Input channels of the network.
        image_size: Input height and width of the network, pixels.
        preprocess: From uint8 images of the data to the network's input.
        class_names: In the order of the outputs, when the teacher knows them.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        architecture: str,
        arguments: Mapping[str, Any],
        channels: int,
        image_size: int,
        preprocess: Preprocess,
        class_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.network = network.requires_grad_(False)
        self.architecture = architecture
        self.arguments = dict(arguments)
        self.channels = channels
        self.image_size = image_size
        self.preprocess = preprocess
        self.class_names = None if class_names is None else tuple(class_names)
        self.eval()

    @property
    def num_classes(self) -> int:
        """Number of outputs."""
        return int(self.network.num_classes)  # type: ignore[arg-type]

    def train(self, mode: bool = True) -> Self:
        """Stays in eval mode, whatever `mode` says."""
        del mode
        return super().train(False)

    def settle(self, device: torch.device) -> Self:
        """Moves to `device`, in the memory layout in which float32 convolutions are fastest there; returns itself."""
        # Convolutions on CPUs gain 2 to 35 percent. On GPUs channels-last kernels need half precision or TF32.
        moved = self.to(device)
        return moved.to(memory_format=torch.channels_last) if device.type == "cpu" else moved

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Returns logits float32 [B, num_classes] for images uint8 [B, C, H, W]."""
        with _full_float32(images.device):
            logits: Tensor = self.network(self.preprocess(images))
        return logits.float()

    @torch.no_grad()
    def answer_with_embedding(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Returns logits float32 [B, num_classes] and the embedding before the classifier, float32 [B, D].

        Args:
            images: uint8 [B, C, H, W].

        Raises:
            TeacherError: The network does not speak timm's interface, see `check_embedding`.
        """
        features, head = self._halves()
        with _full_float32(images.device):
            hidden = features(self.preprocess(images))
            logits, embedding = head(hidden), head(hidden, pre_logits=True)
        return logits.float(), embedding.float()

    def check_embedding(self, images: Tensor) -> int:
        """Returns the embedding's width D, after checking that it leads to the very logits of `forward`.

        Args:
            images: uint8 [B, C, H, W] to try it on.

        Raises:
            TeacherError: The network has no `forward_features` and `forward_head(..., pre_logits=True)`, they fail,
                the embedding is no vector per image, or the logits are others.
        """
        expected = self(images)
        try:
            logits, embedding = self.answer_with_embedding(images)
        except (RuntimeError, TypeError, ValueError, AttributeError) as error:
            raise self._no_embedding(f"asking for its embedding fails ({_first_line(error)})") from error
        if embedding.ndim != 2 or len(embedding) != len(images):
            raise self._no_embedding(f"its embedding has shape {tuple(embedding.shape)}, not one vector per image")
        tolerance = _EMBEDDING_TOLERANCE * max(1.0, expected.abs().max().item())
        if logits.shape != expected.shape or not (logits - expected).abs().max().item() <= tolerance:
            raise self._no_embedding("the logits that follow from its embedding are not those of its forward pass")
        return embedding.shape[1]

    def weights_sha256(self) -> str:
        """Returns the SHA-256 of all parameters and buffers, names included."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.network.state_dict().items()):
            digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def _halves(self) -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
        features = getattr(self.network, "forward_features", None)
        head = getattr(self.network, "forward_head", None)
        if not callable(features) or not callable(head):
            raise self._no_embedding("it has no forward_features and forward_head")
        return features, head

    def _no_embedding(self, reason: str) -> TeacherError:
        return TeacherError(
            f"teacher.embeddings: {self.architecture} gives no embedding: {reason}; set teacher.embeddings=false, or "
            "use a teacher with timm's forward_features and forward_head(pre_logits=True)"
        )


@contextmanager
def _full_float32(device: torch.device) -> Iterator[None]:
    """Computes in float32 proper: no autocast, and on a GPU no TF32, which torch allows convolutions by default."""
    with torch.autocast(device.type, enabled=False):
        if device.type != "cuda":
            yield
            return
        try:
            convolutions, products = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
        except RuntimeError as error:
            raise TeacherError(
                "teacher: its answers need full float32, and something set torch's `fp32_precision`, which shuts the "
                "other way of asking for it; use torch.set_float32_matmul_precision and cudnn.allow_tf32 instead"
            ) from error
        torch.backends.cudnn.allow_tf32 = False
        torch.set_float32_matmul_precision("highest")
        try:
            yield
        finally:
            torch.backends.cudnn.allow_tf32 = convolutions
            torch.set_float32_matmul_precision(products)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
