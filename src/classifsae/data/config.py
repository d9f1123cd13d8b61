"""What a data set is: where its texts are, which columns to take, and how much of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, Field, ValidationError, field_validator

from classifsae.bounds import Name, PositiveInt, Seed
from classifsae.data.planted import PlantedOptions
from classifsae.errors import ConfigError, one_line, setting
from classifsae.registry import cleaned
from classifsae.yaml_files import read_yaml

Values = Mapping[str, object]


class DatasetSizes(BaseModel, frozen=True, extra="forbid"):
    """What is published of a data set's size: all that an estimate needs where the texts are out of reach.

    Attributes:
        n_train: training texts.
        n_test: test texts, of all the splits that make up the test part.
        n_characters: of a training text, on average.
    """

    n_train: PositiveInt
    n_test: PositiveInt
    n_characters: PositiveInt


class DatasetConfig(BaseModel, frozen=True, extra="forbid", coerce_numbers_to_str=True):
    """A data set in data form; a preset is one of these in YAML.

    Attributes:
        name: a preset, a Hub name (owner/name), a file, a folder with train.* and test.* files, or a YAML
            file with these fields; free to choose where ``train`` is a file.
        config: the Hub data set's configuration, such as ``offensive``.
        train: training split, or several with + between them; or a file.
        test: test split, or several with + between them; or a file. Without one, a part of the training rows.
        text_column: column of texts; found by its usual names if not given.
        label_column: column of labels; found by its usual names if not given.
        id_column: column of row ids; ``id`` if there is one; "#" numbers the rows.
        concepts_column: column of true concepts; ``concepts`` if there is one.
        label_names: names of the classes, in the order of their indices; found if not given.
        test_fraction: share of each class that goes to the test part, where there is none.
        drop_seen: leave texts out of the test part that the training part holds too, case and spacing aside.
        max_train: draw this many training rows, with the classes in proportion.
        max_test: draw this many test rows, with the classes in proportion.
        seed: decides the split and the draws.
        revision: Hub revision: a commit hash, tag or branch.
        options: knobs of ``planted``.
        sizes: of a preset on the Hub, for estimates where it cannot be reached; nothing is computed from it.
    """

    name: Annotated[Name, Field(min_length=1)]
    config: Name | None = None
    train: Name | None = None
    test: Name | None = None
    text_column: str | None = None
    label_column: str | None = None
    id_column: str | None = None
    concepts_column: str | None = None
    label_names: tuple[str, ...] | None = None
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    drop_seen: bool = False
    max_train: PositiveInt | None = None
    max_test: PositiveInt | None = None
    seed: Seed = 0
    revision: str | None = None
    options: PlantedOptions | None = None
    sizes: DatasetSizes | None = None

    @field_validator("label_names", mode="before")
    @classmethod
    def _words(cls, given: object) -> object:
        if isinstance(given, list | tuple) and any(isinstance(name, bool) for name in given):
            example = setting("dataset.label_names", ["no", "yes"])
            raise ValueError(f"YAML reads a bare yes or no as true or false; quote names, such as {example}")
        return given

    @field_validator("label_names")
    @classmethod
    def _different(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if names is None:
            return None
        different = {cleaned(name).casefold() for name in names}
        if len(different) < max(2, len(names)) or "" in different:
            raise ValueError(f"needs at least two different names, got {list(names)}")
        return tuple(map(cleaned, names))

    def stated(self) -> dict[str, object]:
        """The fields that differ from the defaults."""
        return self.model_dump(exclude_defaults=True)

    def over(self, base: Self) -> Self:
        """This data set's fields on top of another's; the name, where the data is, stays the other's."""
        merged = {**base.stated(), **self.stated(), "name": base.name}
        if base.options is not None and self.options is not None:
            merged["options"] = base.options.model_copy(update=self.options.model_dump(exclude_defaults=True))
        return type(self).model_validate(merged)


_OPTIONS = [
    *DatasetConfig.model_fields,
    *(f"options.{name}" for name in PlantedOptions.model_fields),
    *(f"sizes.{name}" for name in DatasetSizes.model_fields),
]


def check_config(values: Values, *, where: str = "data set") -> DatasetConfig:
    """Validate fields given by a user.

    Raises:
        ConfigError: a field that does not exist, with the closest that does; values that cannot be; all of
            them at once.
    """
    try:
        return DatasetConfig.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError(f"{where}: {one_line(error, known=_OPTIONS)}") from error


def read_config(path: Path) -> DatasetConfig:
    """Read a data set's YAML file.

    Raises:
        ConfigError: it is not YAML, not a mapping, or not a data set.
    """
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must be a mapping of data set options, such as 'name: reviews.csv'.")
    return check_config({str(key): value for key, value in values.items()}, where=str(path))
