"""Autoencoders of SAELens and sparsify: read as concepts, and written for SAELens too."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from classifsae.activations import Activations, Source
from classifsae.concepts import METHODS, Concepts, load_concepts
from classifsae.concepts.kmeans import KMeans
from classifsae.concepts.pretrained import MOST_PROBED, Pretrained, PretrainedCoder, between_classes
from classifsae.concepts.sae import SAE
from classifsae.errors import ClassifSAEError, ClassifSAEWarning, ConfigError, StorageError
from classifsae.metrics import score
from plain_sae import sae_lens, sparsify, weights

WIDTH, P = 16, 40
TENSORS = weights(WIDTH, P)
THRESHOLD = {"threshold": torch.linspace(0.0, 1.0, P)}


def twin(x: Tensor, keep: str, *, subtracts: bool, scaled: bool) -> tuple[list[float], list[float]]:
    """Codes and reconstruction of one state, by loops."""
    factor = WIDTH**0.5 / x.norm() if scaled else torch.tensor(1.0)
    inputs = factor * x - (TENSORS["b_dec"] if subtracts else 0)
    pre = [float(inputs @ TENSORS["W_enc"][:, j] + TENSORS["b_enc"][j]) for j in range(P)]
    if keep == "topk":
        limit = sorted(pre)[-4]
        codes = [max(value, 0.0) if value >= limit else 0.0 for value in pre]
    else:
        least = THRESHOLD["threshold"].tolist() if keep == "jumprelu" else [0.0] * P
        codes = [value if value > max(t, 0) else 0.0 for value, t in zip(pre, least, strict=True)]
    rebuilt = TENSORS["b_dec"] + sum(code * row for code, row in zip(codes, TENSORS["W_dec"], strict=True))
    return codes, (rebuilt / factor).tolist()


KINDS = [
    ("standard", {"apply_b_dec_to_input": True}, {}),
    ("standard", {"apply_b_dec_to_input": False, "normalize_activations": "constant_norm_rescale"}, {}),
    ("jumprelu", {"apply_b_dec_to_input": False}, THRESHOLD),
    ("topk", {"k": 4, "apply_b_dec_to_input": True, "rescale_acts_by_decoder_norm": False}, {}),
    ("topk", {"k": 4, "apply_b_dec_to_input": False, "normalize_activations": "constant_norm_rescale"}, {}),
]  # fmt: skip


def read(folder: Path) -> PretrainedCoder:
    coder = Pretrained(sae=str(folder)).learn(none, nn.Identity(), None)  # type: ignore[arg-type]
    assert isinstance(coder, PretrainedCoder)
    return coder


none = Activations(
    hidden=torch.zeros(20, WIDTH),
    logits=torch.zeros(20, 3),
    labels=torch.zeros(20, dtype=torch.int64),
    ids=("x",) * 20,
    source=Source(model="m", layer=2, prompt="", dataset="d"),
)


@pytest.mark.parametrize(("architecture", "options", "more"), KINDS)
def test_codes_and_reconstruction_are_those_of_the_definition(
    architecture: str, options: dict[str, object], more: dict[str, Tensor], test: Activations, tmp_path: Path
):
    folder = sae_lens(tmp_path / "sae", TENSORS | more, architecture=architecture, **options)
    coder, scaled = read(folder), "normalize_activations" in options
    codes = coder.encode(test.hidden[:5])
    for x, code, back in zip(test.hidden[:5], codes, coder.decode(codes), strict=True):
        wanted, rebuilt = twin(
            x, architecture, subtracts=bool(options["apply_b_dec_to_input"]), scaled=scaled
        )
        assert code.tolist() == pytest.approx(wanted, abs=1e-5)
        factor = WIDTH**0.5 / x.norm() if scaled else 1.0
        assert (back / factor).tolist() == pytest.approx(rebuilt, abs=1e-4)
    kept = torch.tensor([3, 17, 0])
    assert torch.allclose(coder.encode_kept(test.hidden, kept), coder.encode(test.hidden)[:, kept], atol=1e-6)


def test_sparsify_is_topk_that_subtracts_its_bias(test: Activations, tmp_path: Path):
    own = read(sparsify(tmp_path / "sparsify", TENSORS, k=4))
    other = read(sae_lens(tmp_path / "lens", TENSORS, architecture="topk", k=4, apply_b_dec_to_input=True))
    assert torch.equal(own.encode(test.hidden), other.encode(test.hidden))


def test_topk_by_decoder_norms_is_the_same_with_the_norms_folded_in(test: Activations, tmp_path: Path):
    norms = TENSORS["W_dec"].norm(dim=1)
    coder = read(
        sae_lens(tmp_path / "sae", TENSORS, architecture="topk", k=4, rescale_acts_by_decoder_norm=True)
    )
    pre = ((test.hidden - TENSORS["b_dec"]) @ TENSORS["W_enc"] + TENSORS["b_enc"]) * norms
    limit = pre.sort(dim=1).values[:, [-4]]
    codes = pre.relu().where(pre >= limit, 0.0)
    assert torch.allclose(coder.encode(test.hidden), codes, atol=1e-4)
    rebuilt = (codes / norms) @ TENSORS["W_dec"] + TENSORS["b_dec"]
    assert torch.allclose(coder.decode(codes), rebuilt, atol=1e-3)


def test_a_configuration_of_before_version_6_is_understood(test: Activations, tmp_path: Path):
    old = {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 4}, "architecture": "standard"}
    folder = sae_lens(tmp_path / "old", TENSORS, metadata={}, normalize_activations=None, **old)
    new = sae_lens(tmp_path / "new", TENSORS, architecture="topk", k=4)
    assert torch.equal(read(folder).encode(test.hidden), read(new).encode(test.hidden))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"architecture": "gated"}, r"has architecture: gated, which is not read; give an SAE that is"),
        ({"normalize_activations": "layer_norm"}, "has normalize_activations: layer_norm, which is not read"),
        ({"normalize_activations": True}, "has normalize_activations: True"),
        ({"activation_fn": "tanh-relu"}, "has activation_fn: tanh-relu"),
        ({"reshape_activations": "hook_z"}, "has reshape_activations: hook_z"),
        ({"architecture": "jumprelu"}, r"too many or too few tensors \(threshold\)"),
        ({"architecture": "topk", "k": 400}, "gives k as 400, not 1 to 40"),
        (
            {"d_sae": 32},
            r"cfg\.json states an SAE of 16 x 32, and its weights are 16 x 40; fetch the SAE again",
        ),
        ({"apply_b_dec_to_input": "maybe"}, "has apply_b_dec_to_input: maybe, which is not read"),
        ({"d_in": 99}, "reads states of width 99, and this classifier's have 16"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(options: dict[str, object], said: str, tmp_path: Path):
    folder = sae_lens(tmp_path / "sae", TENSORS, **options)
    with pytest.raises(ClassifSAEError, match=said):
        read(folder)


@pytest.mark.parametrize("option", ["signed", "transcode", "skip_connection"])
def test_other_kinds_of_sparsify_are_refused(option: str, tmp_path: Path):
    with pytest.raises(ConfigError, match=f"has {option}: True, which is not read"):
        read(sparsify(tmp_path / "sae", TENSORS, k=4, **{option: True}))


def test_folders_without_an_sae_are_refused(tmp_path: Path):
    with pytest.raises(StorageError, match=r"holds no cfg\.json; give the folder of one SAE"):
        read(tmp_path)
    (tmp_path / "cfg.json").write_text("{}")
    with pytest.raises(
        StorageError, match=r"no sae_weights\.safetensors \(SAELens\) and no sae\.safetensors"
    ):
        read(tmp_path)
    with pytest.raises(ConfigError, match="there is no folder nowhere; give one, or owner/name/folder"):
        read(Path("nowhere"))


def test_a_large_sae_is_scored_by_the_latents_that_tell_the_classes(
    train: Activations, test: Activations, tail: nn.Linear, tmp_path: Path
):
    """Of 3,000 latents only three tell anything: one per class."""
    n = 3000
    assert n > MOST_PROBED
    tensors = {k: 0.0 * v for k, v in weights(WIDTH, n).items()}
    for c, j in enumerate((2900, 1, 777)):
        tensors["W_enc"][c, j], tensors["W_dec"][j, c], tensors["b_enc"][j] = 1.0, 1.0, -1.0
    folder = sae_lens(tmp_path / "sae", tensors, architecture="standard", apply_b_dec_to_input=False)
    concepts = Pretrained(sae=str(folder), n_concepts=20).fit(train, tail)
    assert sorted(concepts.kept.tolist()) == [1, 777, 2900]
    assert score(concepts, tail, test).completeness.recovery_accuracy > 0.9
    assert between_classes(concepts.coder, train.hidden, train.predictions).count_nonzero() == 3


def test_how_latents_differ_between_classes_is_the_f_ratio(test: Activations, tmp_path: Path):
    from sklearn.feature_selection import f_classif

    coder = read(sae_lens(tmp_path / "sae", TENSORS, architecture="standard"))
    codes, classes = coder.encode(test.hidden), test.predictions
    live = codes.any(dim=0)
    wanted = f_classif(codes[:, live].numpy(), classes.numpy())[0]
    found = between_classes(coder, test.hidden, classes)[live] * (len(test) - 3) / 2
    assert found.tolist() == pytest.approx(wanted.tolist(), rel=1e-3)


def test_an_sae_of_another_layer_is_used_with_a_warning(train: Activations, tail: nn.Linear, tmp_path: Path):
    folder = sae_lens(tmp_path / "sae", TENSORS, metadata={"hook_name": "blocks.8.hook_resid_post"})
    with pytest.warns(
        ClassifSAEWarning, match=r"hook_resid_post, which is layer 9; the states are of layer 2"
    ):
        Pretrained(sae=str(folder), n_concepts=4).fit(train, tail)


def test_a_changed_file_is_another_recipe(tmp_path: Path):
    folder = sae_lens(tmp_path / "sae", TENSORS)
    before = Pretrained(sae=str(folder)).files
    sae_lens(folder, weights(WIDTH, P, seed=1))
    assert Pretrained(sae=str(folder)).files not in (before, "")


def test_exported_concepts_come_back_with_the_same_codes(
    train: Activations, test: Activations, tail: nn.Linear, tmp_path: Path
):
    concepts = SAE(n_concepts=6, n_latents=24, top_k=4, n_vectors=2000, batch_size=32).fit(train, tail)
    concepts.to_sae_lens(tmp_path / "sae")
    back = read(tmp_path / "sae")
    codes = back.encode(test.hidden)
    assert torch.equal(codes[:, concepts.kept], concepts.encode(test.hidden))
    assert torch.equal(back.decode(codes), concepts.coder.decode(codes))
    fitted = Pretrained(sae=str(tmp_path / "sae"), n_concepts=6).fit(train, tail)
    fitted.to_sae_lens(tmp_path / "again")
    for file in ("sae_weights.safetensors",):
        assert (tmp_path / "again" / file).read_bytes() == (tmp_path / "sae" / file).read_bytes()
    fitted.save(tmp_path / "shared")
    assert torch.equal(load_concepts(tmp_path / "shared").encode(test.hidden), fitted.encode(test.hidden))


def test_concepts_that_are_no_sae_cannot_be_exported(train: Activations, tail: nn.Linear, tmp_path: Path):
    with pytest.raises(ConfigError, match="concepts of kmeans are no sparse autoencoder that SAELens has"):
        KMeans(n_concepts=4).fit(train, tail).to_sae_lens(tmp_path / "sae")


# ------------------------------------------------------------------- SAELens itself


def _loaded(folder: Path) -> object:
    """As SAELens loads it; the test is left out where it is not installed."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its many libraries
        sae_lens = pytest.importorskip("sae_lens", reason="needs sae-lens (extra saelens)")
        return sae_lens.SAE.load_from_disk(folder)


def _same(concepts: Concepts, folder: Path, states: Tensor) -> None:
    other = _loaded(folder)
    codes = other.encode(states)  # type: ignore[attr-defined]
    scale = other.cfg.normalize_activations == "constant_norm_rescale"  # type: ignore[attr-defined]
    factor = WIDTH**0.5 / states.norm(dim=1, keepdim=True) if scale else 1.0
    assert (codes - concepts.coder.encode(states)).abs().max() <= 1e-5
    assert (codes[:, concepts.kept] - concepts.encode(states)).abs().max() <= 1e-5
    rebuilt = other.decode(codes)  # type: ignore[attr-defined]
    assert (rebuilt - concepts.coder.decode(codes) / factor).abs().max() <= 1e-5


def test_saelens_loads_exported_concepts_as_a_plain_topk_sae(
    train: Activations, test: Activations, tail: nn.Linear, tmp_path: Path
):
    concepts = SAE(n_concepts=6, n_latents=24, top_k=4, n_vectors=2000, batch_size=32).fit(train, tail)
    concepts.to_sae_lens(tmp_path / "sae")
    other = _loaded(tmp_path / "sae")
    assert (other.cfg.architecture(), other.cfg.k, other.cfg.d_sae) == ("topk", 4, 24)  # type: ignore[attr-defined]
    assert other.cfg.metadata.concepts == concepts.kept.tolist()  # type: ignore[attr-defined]
    assert other.cfg.metadata.hook_name == "blocks.1.hook_resid_post"  # type: ignore[attr-defined]
    _same(concepts, tmp_path / "sae", test.hidden)


@pytest.mark.parametrize(("architecture", "options", "more"), KINDS)
def test_saelens_finds_the_same_codes_as_imported_concepts(
    architecture: str,
    options: dict[str, object],
    more: dict[str, Tensor],
    train: Activations,
    test: Activations,
    tail: nn.Linear,
    tmp_path: Path,
):
    folder = sae_lens(tmp_path / "sae", TENSORS | more, architecture=architecture, **options)
    concepts = METHODS.load("pretrained")(sae=str(folder), n_concepts=6).fit(train, tail)
    _same(concepts, folder, test.hidden)
    concepts.to_sae_lens(tmp_path / "again")
    _same(concepts, tmp_path / "again", test.hidden)
