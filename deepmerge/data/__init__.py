"""Images: where they come from, and how they become what a network is fed."""

from deepmerge.data.images import Images, Picture
from deepmerge.data.loader import Batch, Loader, Loading
from deepmerge.data.open_loader import NetworkImages, open_loader, open_network_images
from deepmerge.data.preprocess import ImageWishes, Preprocessing, choose_preprocessing
from deepmerge.data.sources import open_images, pictures, source_path
from deepmerge.data.transform import network_transform

__all__ = [
    "Batch",
    "ImageWishes",
    "Images",
    "Loader",
    "Loading",
    "NetworkImages",
    "Picture",
    "Preprocessing",
    "choose_preprocessing",
    "network_transform",
    "open_images",
    "open_loader",
    "open_network_images",
    "pictures",
    "source_path",
]
