"""`Teacher`: a network that is frozen and in eval mode from construction, and answers in float32."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch import Tensor, nn

from nas_distill.errors import TeacherError
from nas_distill.model_outputs import ModelOutputs, OutputRequest, OutputShapes
from nas_distill.models.features import MissingOutputError, OutputKind, check_outputs, network_outputs
from nas_distill.models.preprocess import Preprocess
from nas_distill.models.teacher_head import TeacherHead, copy_teacher_head
from nas_distill.models.weights import weights_sha256

_FIELDS: dict[OutputKind, str] = {"embedding": "teacher.embeddings", "feature map": "teacher.model"}
_WAYS_OUT: dict[OutputKind, str] = {
    "embedding": "set teacher.embeddings=false and take losses without embeddings, or use a teacher with timm's "
    "forward_features and forward_head(pre_logits=True)",
    "feature map": "take losses of logits or embeddings, or a teacher with timm's forward_intermediates and "
    "forward_head",
}


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
        """Stay in eval mode, whatever `mode` says."""
        del mode
        return super().train(False)

    def to_device(self, device: torch.device) -> Self:
        """Move to `device`, in the memory layout in which float32 convolutions are fastest there; returns itself."""
        # Convolutions on CPUs gain 2 to 35 percent. On GPUs channels-last kernels need half precision or TF32.
        moved = self.to(device)
        return moved.to(memory_format=torch.channels_last) if device.type == "cpu" else moved

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Return logits float32 [B, num_classes] for images uint8 [B, C, H, W]."""
        with _full_float32(images.device):
            logits: Tensor = self.network(self.preprocess(images))
        return logits.float()

    @torch.no_grad()
    def outputs(self, images: Tensor, request: OutputRequest) -> ModelOutputs:
        """Return what the network says of images, float32 (`anatomy.network_signals`).

        Args:
            images: uint8 [B, C, H, W].
            request: Which signals; `check_signals` has accepted it.

        Raises:
            TeacherError: The network has no such signals.
        """
        with _full_float32(images.device), self._as_teacher_error():
            logits, embedding, maps = network_outputs(self.network, self.preprocess(images), request)
        return ModelOutputs(
            logits.float(),
            None if embedding is None else embedding.float(),
            tuple(feature_map.float() for feature_map in maps),
        )

    def check_outputs(self, images: Tensor, request: OutputRequest) -> OutputShapes:
        """Return the shapes of one image's signals, after checking that they lead to the very logits of `forward`.

        Args:
            images: uint8 [B, C, H, W] to try it on.
            request: Which signals.

        Raises:
            TeacherError: The network has no such signals, asking for them fails, or they lead to other logits.
        """
        with _full_float32(images.device), self._as_teacher_error():
            return check_outputs(self.network, self.preprocess(images), request)

    def head(self) -> TeacherHead:
        """Return a copy of its classifier from the pooled feature map on, for students that answer through it.

        Raises:
            TeacherError: Its classifier does not take a feature map alone.
        """
        shape = (2, self.channels, self.image_size, self.image_size)
        images = torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        images = images.to(next(self.network.parameters()).device)
        try:
            with _full_float32(images.device):
                return copy_teacher_head(self.network, self.preprocess(images))
        except MissingOutputError as error:
            raise TeacherError(
                f"teacher.model: no student can answer through {self.architecture}'s classifier: {error.reason}; take "
                "losses other than simkd, or a teacher whose classifier pools a feature map"
            ) from error

    def weights_sha256(self) -> str:
        """Return the SHA-256 of all parameters and buffers, names included."""
        return weights_sha256(self.network)

    @contextmanager
    def _as_teacher_error(self) -> Iterator[None]:
        try:
            yield
        except MissingOutputError as error:
            raise TeacherError(
                f"{_FIELDS[error.kind]}: {self.architecture} gives no {error.kind}: {error.reason}; "
                f"{_WAYS_OUT[error.kind]}"
            ) from error


@contextmanager
def _full_float32(device: torch.device) -> Iterator[None]:
    """Compute in float32 proper: no autocast, and on a GPU no TF32, which torch allows convolutions by default."""
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
