from .batches import Batches
from .cache import DataCache
from .images import ImageBatches, Preprocessing
from .loading import EMBEDDED_DATA, load_data
from .splits import LabeledData, Split, short_name
from .texts import TextBatches, TextPreprocessing

__all__ = [
    "EMBEDDED_DATA",
    "Batches",
    "DataCache",
    "ImageBatches",
    "LabeledData",
    "Preprocessing",
    "Split",
    "TextBatches",
    "TextPreprocessing",
    "load_data",
    "short_name",
]
