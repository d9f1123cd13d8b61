"""A preset's architecture at toy size: the same code and configuration class, in seconds, no hub."""

from pydantic import JsonValue

from classifsae.errors import ConfigError

SIZES: dict[str, JsonValue] = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
    "rotary_dim": 4,  # a part of a head's width, which is 8
}
VOCABULARY = 512
SPREAD = 0.1
"""Of the random weights: what 0.02 is to a width of 768, so that texts still differ at the end."""


def shrunk(fields: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """A preset's fields with random weights of toy size in place of its model; the rest stays as it is.

    Raises:
        ConfigError: nothing is known of the model's form, as it is no preset of the paper.
    """
    form = fields.get("form")
    if not isinstance(form, dict):
        raise ConfigError(f"tiny is for presets that state their form, and {fields.get('model')!r} does not.")
    layer, n_layers = fields.get("layer"), form["num_hidden_layers"]
    if isinstance(layer, int) and isinstance(n_layers, int) and layer > 0:
        layer -= n_layers + 1  # counted from the last block
    of_a_model = {"model", "sha256", "revision"}
    return {
        **{name: value for name, value in fields.items() if name not in of_a_model},
        "architecture": {
            **form,
            **{name: size for name, size in SIZES.items() if name in form},
            "initializer_range": SPREAD,
        },
        "tokenizer": {"vocab_size": VOCABULARY},
        "layer": layer,
    }
