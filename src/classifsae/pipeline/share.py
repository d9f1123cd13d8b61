"""The concepts of a run with all that goes with them: names, class names, scores."""

from pathlib import Path

from classifsae.concepts import Concepts
from classifsae.errors import ConfigError
from classifsae.explaining.explainer import names_of
from classifsae.pipeline.explain import chosen_fit
from classifsae.pipeline.run_folder import RunFolder


def concepts_of(folder: Path, *, method: str | None = None, seed: int | None = None) -> Concepts:
    """The concepts of a run, with their card as far as the run has come.

    Args:
        folder: of the run.
        method: label of the method; by default the one whose concepts explain.
        seed: of the concepts; by default the first.
    Raises:
        StorageError: there is no run, or it has no finished concepts.
        ConfigError: there are no such concepts.
    """
    run = RunFolder(folder)
    experiment = run.read_experiment()
    which = chosen_fit(run, experiment, method, seed)
    concepts, scores = Concepts.load(run.in_use(which)), run.read_all_scores()
    records = run.results().records if run.summary.is_file() else ()
    found = [r for r in records if (r["method"], r["seed"]) == (which.label, which.seed)]
    record = found[0] if found else {}
    described = run.described(which)
    return concepts.with_card(
        names=names_of(concepts, described) if described else (),
        label_names=scores.label_names,
        backbone=experiment.backbone.name,
        dataset=scores.dataset,
        scores={k: v for k, v in record.items() if isinstance(v, int | float | None) and k != "seed"},
    )


def share(
    folder: Path, *, to: Path | None, hub: str | None, private: bool, method: str | None, seed: int | None
) -> str:
    """Write the concepts of a run to a folder, or put them on the Hub.

    Returns:
        Where they are.
    Raises:
        ConfigError: neither or both are given, or the folder is there already.
        ClassifSAEError: what :func:`concepts_of` and ``push_to_hub`` raise.
    """
    if (to is None) == (hub is None):
        raise ConfigError("share takes --to FOLDER or --hub OWNER/NAME, one of the two.")
    if to is not None and to.exists():
        raise ConfigError(f"{to} is there already and is left as it is; give a new folder.")
    concepts = concepts_of(folder, method=method, seed=seed)
    if to is None:
        return concepts.push_to_hub(str(hub), private=private)
    concepts.save(to)
    return str(to)
