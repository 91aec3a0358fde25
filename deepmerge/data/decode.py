"""Decode images."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np

from deepmerge.errors import ReadError
from deepmerge.text import flat

# Not all of Pillow's: its EPS decoder, for one, hands files to Ghostscript
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")


def decode(coded: bytes | str | Path, name: str) -> np.ndarray:
    """Decode an image file, or the bytes of one, of a format in FORMATS; return RGB, uint8 (H, W, 3).

    Grey images get three equal channels, an alpha channel is dropped. Raises ReadError for what is not an image, or has
    more pixels than Pillow considers harmless (89 million).
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about metadata that Pillow finds odd
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(coded) if isinstance(coded, bytes) else coded, formats=FORMATS) as image:
                if image.mode.startswith("I"):  # 16 bits; OpenCV, by which Caffe reads, takes the upper 8
                    grey = np.clip(np.asarray(image).astype(np.int64) >> 8, 0, 255).astype(np.uint8)
                    return np.repeat(grey[..., None], 3, axis=2)
                return np.asarray(image.convert("RGB"))
    except FileNotFoundError:
        raise ReadError("no such file", name) from None
    except UnidentifiedImageError:
        raise ReadError(f"is not an image of a known format ({', '.join(FORMATS)})", name) from None
    except Exception as error:  # Pillow's decoders raise all kinds on broken files
        reason = getattr(error, "strerror", None) or flat(error) or type(error).__name__
        raise ReadError(f"cannot be read as an image: {reason}", name) from None
