"""Text: labelled texts from the Hub, from files, or planted with known truth."""

from classifsae.data.config import DatasetConfig
from classifsae.data.load import load_dataset
from classifsae.data.planted import PlantedCorpus, PlantedOptions, PlantedSentence, generate
from classifsae.data.repeats import RepeatedText, repeated_texts
from classifsae.data.texts import Dataset, Texts

__all__ = [
    "Dataset",
    "DatasetConfig",
    "PlantedCorpus",
    "PlantedOptions",
    "PlantedSentence",
    "RepeatedText",
    "Texts",
    "generate",
    "load_dataset",
    "repeated_texts",
]
