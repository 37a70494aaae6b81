from .account import Account, AccountError, DataError
from .batches import Batches
from .cache import DataCache
from .images import ImageBatches, Preprocessing
from .language.loading import load_texts
from .loading import EMBEDDED_DATA, load_data
from .segmentation.loading import load_masked_data
from .splits import LabeledData, Split, short_name
from .targets.label_sets import load_label_sets
from .targets.numbers import load_numbers
from .targets.tags import load_tags
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
    "load_label_sets",
    "load_masked_data",
    "load_texts",
    "load_numbers",
    "load_tags",
    "short_name",
]
