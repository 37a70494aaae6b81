from .account import Account, AccountError, DataError
from .batches import Batches
from .cache import DataCache
from .images import ImageBatches, Preprocessing
from .language.loading import load_texts
from .loading import EMBEDDED_DATA, load_data
from .segmentation.loading import load_masked_data
from .splits import LabeledData, Split, short_name
from .texts import TextBatches, TextPreprocessing

__all__ = [
    "EMBEDDED_DATA",
    "Account",
    "AccountError",
    "Batches",
    "DataCache",
    "DataError",
    "ImageBatches",
    "LabeledData",
    "Preprocessing",
    "Split",
    "TextBatches",
    "TextPreprocessing",
    "load_data",
    "load_masked_data",
    "load_texts",
    "short_name",
]
