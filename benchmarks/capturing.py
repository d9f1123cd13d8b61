"""Capture: batches of like lengths bounded in tokens, against one text at a time and file order."""

import time
from collections.abc import Callable

import torch

import classifsae as cs

N_TEXTS, BATCH = 256, 32


def main() -> None:
    data = cs.load_dataset("planted", options={"n_train": 60, "n_test": N_TEXTS})
    long = [text * (1 + 7 * (i % 8 == 0)) for i, text in enumerate(data.test.texts)]
    texts = cs.Texts(tuple(long), data.test.labels, data.test.ids, data.label_names)
    model = cs.finetune("minilm", data.train, n_steps=1, max_length=256)
    ours = seconds(lambda: cs.capture(model, texts))
    single = seconds(lambda: [model.hidden([text]) for text in texts.texts])
    in_order = seconds(lambda: [model.hidden(long[i : i + BATCH]) for i in range(0, N_TEXTS, BATCH)])
    print(f"{N_TEXTS} texts on {torch.get_num_threads()} threads: {ours:.1f} s by length")
    print(
        f"one at a time takes {single / ours:.1f} times as long, {BATCH} in file order {in_order / ours:.1f}"
    )


def seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
