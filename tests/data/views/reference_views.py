"""Reference implementation of views in NumPy, one image at a time; shares no code with `nas_distill.data.views`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from nas_distill.data.views.plan import ViewPlan

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
TABLE_SIZE = 4096

Image = NDArray[np.uint8]


def splitmix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    with np.errstate(over="ignore"):
        bits = state + GOLDEN
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return bits ^ (bits >> np.uint64(31))


def hashed(indices: NDArray[np.int64], view: int, seed: int) -> NDArray[np.uint64]:
    with np.errstate(over="ignore"):
        key = splitmix(np.array([seed % 2**64], dtype=np.uint64))
        key = splitmix(key + indices.astype(np.uint64))
        return splitmix(key + np.uint64(view))


def output(bits: int, number: int) -> int:
    """Return output `number`, from 1, of SplitMix64 seeded with `bits`."""
    return int(splitmix(np.array([(bits + (number - 1) * int(GOLDEN)) % 2**64], dtype=np.uint64))[0])


def level(bits: int, slot: int) -> float:
    """Return the midpoint of the interval that 12 of the 64 bits select."""
    return (((bits >> 12 * slot) % TABLE_SIZE) + 0.5) / TABLE_SIZE


def rounded(value: float, slots: int) -> float:
    return float(np.rint(value * 2.0**slots) / 2.0**slots)


def shifts(bits: int, plan: ViewPlan) -> tuple[int, int, bool]:
    choices = 2 * plan.crop_padding + 1
    down = ((bits & 0xFFFFFF) * choices >> 24) - plan.crop_padding
    right = (((bits >> 24) & 0xFFFFFF) * choices >> 24) - plan.crop_padding
    return down, right, plan.flip and bits >> 63 == 1


def cropped(image: Image, bits: int, plan: ViewPlan) -> Image:
    pad, (height, width) = plan.crop_padding, image.shape[1:]
    down, right, mirrored = shifts(bits, plan)
    padded = np.pad(image, ((0, 0), (pad, pad), (pad, pad)))
    seen = padded[:, down + pad : down + pad + height, right + pad : right + pad + width]
    return seen[:, :, ::-1] if mirrored else seen


def warp_strengths(bits: int, plan: ViewPlan) -> tuple[float, float, float]:
    """Return angle in degrees, zoom factor and shear in degrees."""
    drawn = output(bits, 1)
    angle, zoom, shear = (2 * level(drawn, slot) - 1 for slot in range(3))
    return angle * plan.rotate_degrees, 1 + zoom * plan.scale, shear * plan.shear_degrees


OPERATIONS = (
    "nothing", "rotate", "shear", "across", "along", "brightness", "contrast", "saturation", "posterise", "solarise",
    "autocontrast",
)  # fmt: skip


def operations(bits: int, plan: ViewPlan) -> dict[str, int]:
    """Return the sign of each operation that is drawn."""
    kinds, signs = output(bits, 7), output(bits, 8)
    numbers = {((kinds >> 12 * draw) % 4096) * len(OPERATIONS) // 4096 for draw in range(plan.operations)}
    drawn = sorted(numbers) if plan.strength > 0 else []
    return {OPERATIONS[number]: 1 if (signs >> number) % 2 else -1 for number in drawn}


def crop_box(bits: int, plan: ViewPlan, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return width and height as shares of the image, and the distances of the centres, pixels."""
    if plan.min_crop_area == 1:
        return 1.0, 1.0, 0.0, 0.0
    drawn = output(bits, 6)
    root = rounded(np.sqrt(plan.min_crop_area + level(drawn, 0) * (1 - plan.min_crop_area)), 20)
    stretch = (2 * level(drawn, 1) - 1) * np.log(plan.crop_aspect) / 2
    width, height = (min(1.0, root * rounded(np.exp(sign * stretch), 20)) for sign in (1, -1))
    across, along = (((drawn >> 24 + 20 * slot) % 2**20) / 2**20 - 0.5 for slot in (0, 1))
    return width, height, across * ((1 - width) * (size[1] - 1)), along * ((1 - height) * (size[0] - 1))


def matrix(bits: int, plan: ViewPlan) -> NDArray[np.float64]:
    """Return the map of offsets in the view to offsets in the image, without the resized crop."""
    degrees, zoom, shear = warp_strengths(bits, plan)
    drawn = operations(bits, plan)
    turned = 30 * plan.strength if "rotate" in drawn else 0.0
    slope = rounded(0.3 * plan.strength, 20) * drawn["shear"] if "shear" in drawn else 0.0
    cos, sin = rounded(np.cos(np.deg2rad(degrees)), 20), rounded(np.sin(np.deg2rad(degrees)), 20)
    tan, shrink = rounded(np.tan(np.deg2rad(shear)), 20), rounded(1 / zoom, 20)
    first = np.array([[(cos - sin * tan) * shrink, (cos * tan + sin) * shrink], [-sin * shrink, cos * shrink]])
    cos, sin = rounded(np.cos(np.deg2rad(turned)), 20), rounded(np.sin(np.deg2rad(turned)), 20)
    sin *= drawn.get("rotate", 0)
    second = np.array([[cos - sin * slope, cos * slope + sin], [-sin, cos]])
    return np.asarray(first @ second)


def warped(image: Image, bits: int, plan: ViewPlan) -> Image:
    down, right, mirrored = shifts(bits, plan)
    height, width = image.shape[1:]
    drawn = operations(bits, plan)
    zoom_x, zoom_y, offset_x, offset_y = crop_box(bits, plan, (height, width))
    offset_x += drawn.get("across", 0) * round(0.45 * plan.strength * width)
    offset_y += drawn.get("along", 0) * round(0.45 * plan.strength * height)
    ((x_from_x, x_from_y), (y_from_x, y_from_y)) = matrix(bits, plan) * (zoom_x, zoom_y)
    x = np.arange(width) - (width - 1) / 2
    x = -x if mirrored else x
    y = (np.arange(height) - (height - 1) / 2)[:, None]
    snap = np.vectorize(lambda position: rounded(position, 8))
    from_x = snap(x_from_x * x) + snap(x_from_y * y) + snap(offset_x) + (width - 1) / 2 + right
    from_y = snap(y_from_x * x) + snap(y_from_y * y) + snap(offset_y) + (height - 1) / 2 + down
    left, top = np.floor(from_x).astype(int), np.floor(from_y).astype(int)
    warped = np.zeros(image.shape)
    for one_y in (0, 1):
        for one_x in (0, 1):
            weight = (1 - np.abs(from_x - (left + one_x))) * (1 - np.abs(from_y - (top + one_y)))
            inside = (left + one_x >= 0) & (left + one_x < width) & (top + one_y >= 0) & (top + one_y < height)
            rows, columns = np.clip(top + one_y, 0, height - 1), np.clip(left + one_x, 0, width - 1)
            warped += weight * inside * image[:, rows, columns]
    return np.rint(warped).astype(np.uint8)


def colour_factors(bits: int, plan: ViewPlan) -> tuple[float, float, float]:
    """Return the factors of brightness, contrast and saturation."""
    drawn = output(bits, 2)
    strengths = (plan.brightness, plan.contrast, plan.saturation)
    first, second, third = (
        rounded(1 + (2 * level(drawn, slot) - 1) * value, 12) for slot, value in enumerate(strengths)
    )
    return first, second, third


def grey(image: Image) -> NDArray[np.int64]:
    wide = image.astype(np.int64)
    if len(wide) == 1:
        return np.asarray(wide[0])
    red, green, blue = wide
    return np.asarray((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16)


def recoloured(image: Image, bits: int, plan: ViewPlan) -> Image:
    def blend(image: Image, other: NDArray[np.int64] | int, factor: float) -> Image:
        return np.clip(np.rint(factor * image + (1 - factor) * other), 0, 255).astype(np.uint8)

    brightness, contrast, saturation = colour_factors(bits, plan)
    is_rgb = len(image) == 3
    image = blend(image, 0, brightness)
    if plan.contrast > 0:
        image = blend(image, mean_grey(image), contrast)
    image = blend(image, grey(image), saturation) if plan.saturation > 0 and is_rgb else image
    image = hue_turned(image, bits, plan) if plan.hue > 0 and is_rgb else image
    drawn = operations(bits, plan)
    change = rounded(0.9 * plan.strength, 12)
    if "brightness" in drawn:
        image = blend(image, 0, 1 + drawn["brightness"] * change)
    if "contrast" in drawn:
        image = blend(image, mean_grey(image), 1 + drawn["contrast"] * change)
    if "saturation" in drawn and is_rgb:
        image = blend(image, grey(image), 1 + drawn["saturation"] * change)
    if "posterise" in drawn:
        step = 2 ** round(4 * plan.strength)
        image = (image // step * step).astype(np.uint8)
    if "solarise" in drawn:
        image = np.where(image >= 256 - round(256 * plan.strength), 255 - image, image)
    return np.stack([stretched(channel) for channel in image]) if "autocontrast" in drawn else image


def mean_grey(image: Image) -> int:
    return int(np.floor(grey(image).mean() + 0.5))


def hue_turned(image: Image, bits: int, plan: ViewPlan) -> Image:
    """Rotate colours about the grey axis with Rodrigues' formula for the axis (1, 1, 1)."""
    angle = (2 * level(output(bits, 2), 3) - 1) * 2 * np.pi * plan.hue
    own = rounded((1 + 2 * np.cos(angle)) / 3, 12)
    following = rounded((1 - np.cos(angle)) / 3 - np.sin(angle) / np.sqrt(3), 12)
    rotation = np.array([np.roll([own, following, 1 - own - following], shift) for shift in range(3)])
    return np.clip(np.rint(np.tensordot(rotation, image, 1)), 0, 255).astype(np.uint8)


def stretched(channel: Image) -> Image:
    low, high = int(channel.min()), int(channel.max())
    return channel if low == high else ((channel.astype(int) - low) * 255 // (high - low)).astype(np.uint8)


def view(image: Image, index: int, number: int, plan: ViewPlan) -> Image:
    """Return a view without mixing."""
    bits = int(hashed(np.array([index]), number, plan.seed)[0])
    seen = warped(image, bits, plan) if plan.is_warped else cropped(image, bits, plan)
    return recoloured(seen, bits, plan) if plan.is_recoloured else seen


def mixed_view(images: NDArray[np.uint8], index: int, number: int, plan: ViewPlan) -> tuple[Image, int, float]:
    """Return the mixed view, the partner's index and the share of the image's own label."""
    bits = int(hashed(np.array([index]), number, plan.seed)[0])
    strength, chance = output(bits, 3), output(bits, 4)
    own = view(images[index], index, number, plan)
    if (strength >> 12) % 2**24 >= round(plan.mix_share * 2**24):
        return own, index, 1.0
    partner = (chance >> 1) % len(images)
    other = view(images[partner], partner, number, plan)
    share = float(beta.ppf(level(strength, 0), plan.mix_alpha, plan.mix_alpha))
    if plan.mix == "mixup":
        share = rounded(share, 16)
        return np.rint(share * own + (1 - share) * other).astype(np.uint8), partner, share
    height, width = own.shape[1:]
    side, centre = rounded(np.sqrt(1 - share), 16), output(bits, 5)
    # As `rand_bbox` in the authors' code.
    cut_h, cut_w = int(height * side), int(width * side)
    y, x = (centre & 0xFFFFFF) * height >> 24, ((centre >> 24) & 0xFFFFFF) * width >> 24
    rows = slice(max(y - cut_h // 2, 0), min(y + cut_h // 2, height))
    columns = slice(max(x - cut_w // 2, 0), min(x + cut_w // 2, width))
    mixed = own.copy()
    mixed[:, rows, columns] = other[:, rows, columns]
    inside = (rows.stop - rows.start) * (columns.stop - columns.start)
    return mixed, partner, 1 - inside / (height * width)
