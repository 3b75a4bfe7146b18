"""`Teacher`: a network that is frozen, always in eval mode, and computes in float32."""

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
_FIXES: dict[OutputKind, str] = {
    "embedding": "set teacher.embeddings=false and use losses without embeddings, or use a teacher with timm's "
    "forward_features and forward_head(pre_logits=True)",
    "feature map": "use losses of logits or embeddings, or a teacher with timm's forward_intermediates and "
    "forward_head",
}


class Teacher(nn.Module):
    """A network that predicts and never trains.

    Its parameters require no gradient, it is always in eval mode, and its forward pass runs without autograd. Neither
    weights nor BatchNorm statistics can change. It computes in float32 also under autocast and with TF32 enabled.

    Args:
        network: timm classifier.
        architecture: timm name of the architecture.
        arguments: Constructor arguments that rebuild the network, without `num_classes` and `in_chans`.
        channels: Number of input channels of the network.
        image_size: Input height and width of the network, pixels.
        preprocess: Conversion from uint8 images of the data to network inputs.
        class_names: Class names in the order of the outputs; None if unknown.
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
        """Stay in eval mode for any `mode`."""
        del mode
        return super().train(False)

    def to_device(self, device: torch.device) -> Self:
        """Move to `device`, in the memory format with the fastest float32 convolutions there; return self."""
        # On CPUs, channels_last is 2 to 35 percent faster. On GPUs, its kernels need half precision or TF32.
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
        """Return the outputs of the network in float32 (see `features.network_outputs`).

        Args:
            images: Images, uint8 [B, C, H, W].
            request: Outputs that are needed besides the logits, checked by `check_outputs` before.

        Raises:
            TeacherError: The network has no such outputs.
        """
        with _full_float32(images.device), self._as_teacher_error():
            logits, embedding, maps = network_outputs(self.network, self.preprocess(images), request)
        return ModelOutputs(
            logits.float(),
            None if embedding is None else embedding.float(),
            tuple(feature_map.float() for feature_map in maps),
        )

    def check_outputs(self, images: Tensor, request: OutputRequest) -> OutputShapes:
        """Return the shapes of the outputs for one image, after checking that their logits equal those of `forward`.

        Args:
            images: Images for the check, uint8 [B, C, H, W].
            request: Outputs that are needed besides the logits.

        Raises:
            TeacherError: The network has no such outputs, computing them fails, or their logits differ.
        """
        with _full_float32(images.device), self._as_teacher_error():
            return check_outputs(self.network, self.preprocess(images), request)

    def head(self) -> TeacherHead:
        """Return a copy of the classifier from the pooled feature map on, for students that use it (SimKD).

        Raises:
            TeacherError: The classifier does not work on the pooled feature map alone.
        """
        shape = (2, self.channels, self.image_size, self.image_size)
        images = torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        images = images.to(next(self.network.parameters()).device)
        try:
            with _full_float32(images.device):
                return copy_teacher_head(self.network, self.preprocess(images))
        except MissingOutputError as error:
            raise TeacherError(
                f"no student can use the classifier of {self.architecture}: {error.reason}; use losses other than "
                "simkd, or a teacher whose classifier pools a feature map",
                code="models.teacher_head_unusable",
                field="teacher.model",
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
                f"{self.architecture} provides no {error.kind}: {error.reason}; {_FIXES[error.kind]}",
                code="models.output_missing",
                field=_FIELDS[error.kind],
            ) from error


@contextmanager
def _full_float32(device: torch.device) -> Iterator[None]:
    """Compute in full float32: without autocast, and on GPUs without TF32, torch's default for convolutions."""
    with torch.autocast(device.type, enabled=False):
        if device.type != "cuda":
            yield
            return
        try:
            convolutions, products = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
        except RuntimeError as error:
            raise TeacherError(
                "it needs full float32, but torch's `fp32_precision` was set, which blocks the older settings; "
                "use torch.set_float32_matmul_precision and torch.backends.cudnn.allow_tf32 instead",
                code="models.full_float32_unavailable",
                field="teacher",
            ) from error
        torch.backends.cudnn.allow_tf32 = False
        torch.set_float32_matmul_precision("highest")
        try:
            yield
        finally:
            torch.backends.cudnn.allow_tf32 = convolutions
            torch.set_float32_matmul_precision(products)
