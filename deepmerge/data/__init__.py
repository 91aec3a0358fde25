"""Images: where they come from, and how they become what a network is fed."""

from deepmerge.data.preprocess import Preprocessing, choose_preprocessing
from deepmerge.data.sources import Images, Picture, open_images, pictures

__all__ = ["Images", "Picture", "Preprocessing", "choose_preprocessing", "open_images", "pictures"]
