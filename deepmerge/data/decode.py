"""Coded images → pixels."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np

from deepmerge.errors import ReadError


def decode(coded: bytes | str | Path, name: str) -> np.ndarray:
    """A file, or the bytes of one (JPEG, PNG, BMP, whatever Pillow reads) → RGB uint8 (H, W, 3).

    Grey images get three equal channels, an alpha channel is dropped. ReadError for what is no image.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about sizes and metadata that Pillow finds odd
            with Image.open(io.BytesIO(coded) if isinstance(coded, bytes) else coded) as image:
                return np.asarray(image.convert("RGB"))
    except FileNotFoundError:
        raise ReadError("no such file", name) from None
    except UnidentifiedImageError:
        raise ReadError("is not an image that Pillow knows", name) from None
    except Exception as error:  # Pillow's decoders raise all kinds on broken files
        reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        raise ReadError(f"cannot be read as an image: {reason}", name) from None
