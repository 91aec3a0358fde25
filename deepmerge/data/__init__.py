"""Images: where they come from, and how they become what a network is fed."""

from deepmerge.data.images import Images, Picture
from deepmerge.data.loader import Batch, Loader
from deepmerge.data.open_loader import ImageWishes, image_input, open_loader, preprocessing_of
from deepmerge.data.preprocess import Preprocessing, choose_preprocessing
from deepmerge.data.sources import open_images, pictures

__all__ = [
    "Batch",
    "ImageWishes",
    "Images",
    "Loader",
    "Picture",
    "Preprocessing",
    "choose_preprocessing",
    "image_input",
    "open_images",
    "open_loader",
    "pictures",
    "preprocessing_of",
]
