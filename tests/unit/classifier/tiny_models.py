"""Tiny random models of many families, built from configurations, and toy texts: no download."""

import warnings
from pathlib import Path

import torch

from classifsae.classifier.classifier import Classifier
from classifsae.classifier.config import BackboneConfig
from classifsae.classifier.loading.loaded import Loaded
from classifsae.classifier.loading.tokenizer import train_tokenizer
from classifsae.data.prompt import DEFAULT_TEMPLATE, fill
from classifsae.data.texts import Texts

N_LAYERS, WIDTH, LIMIT = 3, 32, 96
NAMES = ("World", "Sports", "Business")

_SHAPE = {
    "hidden_size": WIDTH,
    "intermediate_size": 48,
    "num_hidden_layers": N_LAYERS,
    "num_attention_heads": 4,
    "max_position_embeddings": LIMIT,
}
_GPT = {"n_embd": WIDTH, "n_layer": N_LAYERS, "n_head": 4, "n_positions": LIMIT}
ENCODERS: dict[str, dict[str, object]] = {
    "bert": _SHAPE,
    "roberta": {**_SHAPE, "max_position_embeddings": LIMIT + 1},
    "deberta-v2": {**_SHAPE, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "distilbert": {"dim": WIDTH, "hidden_dim": 48, "n_layers": N_LAYERS, "n_heads": 4},
    "modernbert": {**_SHAPE, "classifier_pooling": "cls", "global_attn_every_n_layers": 2},
    "electra": {**_SHAPE, "embedding_size": WIDTH},
}
DECODERS: dict[str, dict[str, object]] = {
    "gpt_neox": _SHAPE,
    "gptj": {**_GPT, "rotary_dim": 4},
    "gpt2": _GPT,
    "llama": {**_SHAPE, "num_key_value_heads": 2},
    "mistral": {**_SHAPE, "num_key_value_heads": 2, "sliding_window": 40},
    "qwen2": {**_SHAPE, "num_key_value_heads": 2},
}
OTHERS: dict[str, dict[str, object]] = {
    "xlm-roberta": {**_SHAPE, "max_position_embeddings": LIMIT + 1},
    "deberta": {**_SHAPE, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "mpnet": {**_SHAPE, "max_position_embeddings": LIMIT + 2},
    "roformer": {**_SHAPE, "embedding_size": WIDTH},
    "albert": {**_SHAPE, "embedding_size": 16},
    "longformer": {**_SHAPE, "attention_window": 8, "max_position_embeddings": LIMIT + 2},
    "xlm": {"emb_dim": WIDTH, "n_layers": N_LAYERS, "n_heads": 4},
    "xlnet": {"d_model": WIDTH, "n_layer": N_LAYERS, "n_head": 4, "d_inner": 48},
    "squeezebert": {
        **_SHAPE,
        "embedding_size": WIDTH,
        **{f"{part}_groups": 1 for part in ("q", "k", "v", "post_attention", "intermediate", "output")},
    },
    "eurobert": {**_SHAPE, "num_key_value_heads": 2},
    "convbert": {**_SHAPE, "embedding_size": WIDTH},
    "fnet": _SHAPE,
    "funnel": {"block_sizes": [1, 1, 1], "d_model": WIDTH, "n_head": 4, "d_head": 8, "d_inner": 48},
    "reformer": {
        "hidden_size": WIDTH,
        "attention_head_size": 8,
        "num_attention_heads": 4,
        "feed_forward_size": 48,
        "attn_layers": ["local", "lsh", "local"],
        "axial_pos_embds": False,
        "is_decoder": False,
    },
    "xmod": {**_SHAPE, "max_position_embeddings": LIMIT + 2},
    "perceiver": {
        "num_latents": 8,
        "d_latents": WIDTH,
        "d_model": WIDTH,
        "num_self_attends_per_block": 3,
        "num_self_attention_heads": 4,
        "num_cross_attention_heads": 4,
        "max_position_embeddings": LIMIT,
    },
    "qwen3": {**_SHAPE, "num_key_value_heads": 2, "head_dim": 8},
    "gemma2": {**_SHAPE, "num_key_value_heads": 2, "head_dim": 8},
    "opt": {**_SHAPE, "ffn_dim": 48, "word_embed_proj_dim": WIDTH},
    "openai-gpt": _GPT,
}

_TEXT = "oil prices fell after the team won a match in paris while markets and players rested 12 days"
_WORDS = _TEXT.split()
SENTENCES = tuple(" ".join(_WORDS[(i * 5 + j) % len(_WORDS)] for j in range(2 + i % 9)) for i in range(64))


def texts(n: int = 64) -> Texts:
    labels = tuple(i % len(NAMES) for i in range(n))
    return Texts(SENTENCES[:n], labels, tuple(f"row-{i}" for i in range(n)), NAMES, dataset="tiny")


def build(family: str, kind: str, **fields: object) -> Loaded:
    """A random model with weights large enough that its logits differ between texts."""
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM, AutoModelForSequenceClassification

    prompts = [fill(DEFAULT_TEMPLATE, text, NAMES) for text in SENTENCES]
    tokenizer = train_tokenizer(prompts, kind=kind, vocab_size=400)
    shape = {**ENCODERS, **DECODERS, **OTHERS}[family]
    config = CONFIG_MAPPING[family](
        **{**shape, **fields},
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        num_labels=len(NAMES),
        id2label=dict(enumerate(NAMES)),
        initializer_range=0.2,
    )
    auto = AutoModelForCausalLM if kind == "decoder" else AutoModelForSequenceClassification
    with torch.random.fork_rng(), warnings.catch_warnings():
        # DeBERTa compiles two functions when it is imported, by a way that torch is about to remove.
        warnings.filterwarnings("ignore", message=".*torch.jit.*", category=DeprecationWarning)
        torch.manual_seed(0)
        return Loaded(auto.from_config(config, dtype=torch.float32), tokenizer, kind)


def classifier_of(
    loaded: Loaded, name: str, label_names: tuple[str, ...] = NAMES, **options: object
) -> Classifier:
    """A classifier of a model that is built, with these options of its backbone."""
    return Classifier(loaded, BackboneConfig(model=name, **options), label_names)


def ids_of(model: Classifier, text: str) -> torch.Tensor:
    """One text as the only row (1, t), unpadded."""
    return torch.tensor([model.reader.encode([text]).rows[0].ids])


def own_adapter(base: Path, folder: Path, kind: str, **options: object) -> torch.nn.Module:
    """An adapter as a user of peft makes it; its second factors are not zero."""
    import peft
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    auto = AutoModelForCausalLM if kind == "CAUSAL_LM" else AutoModelForSequenceClassification
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)  # of the first factors
        model = auto.from_pretrained(base)
        wrapped = peft.get_peft_model(model, peft.LoraConfig(r=4, task_type=kind, **options))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in wrapped.named_parameters():
            if "lora_B" in name or "modules_to_save" in name:
                weight.copy_(torch.randn(weight.shape, generator=generator))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrapped.save_pretrained(folder)
    return wrapped.eval()


FIELDS = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 96,
}
DROPOUT = {"hidden_dropout": 0.2, "attention_dropout": 0.1}
DECODER = {
    "architecture": {"model_type": "gpt_neox", **FIELDS, **DROPOUT},
    "tokenizer": {"vocab_size": 400},
    "n_steps": 6,
    "batch_size": 8,
    "learning_rate": 1e-3,
}
ENCODER = {**DECODER, "architecture": {"model_type": "bert", **FIELDS}}  # BERT drops 10 % by default


class KilledError(RuntimeError):
    pass


def killed_at(step: int):
    def on_step(done, total, values):
        if done == step:
            raise KilledError

    return on_step


def topical() -> Texts:
    """Texts whose class is plain from one word."""
    words = ("minister", "goalkeeper", "dividend")
    rows = [f"{words[i % 3]} {SENTENCES[i]}" for i in range(48)]
    ids = tuple(map(str, range(48)))
    return Texts(tuple(rows), tuple(i % 3 for i in range(48)), ids, NAMES, dataset="topical")
