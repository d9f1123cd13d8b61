"""From text to scored concepts, one line per step; a minute of training, so the numbers are modest."""

import sys

import classifsae as cs

n_train = int(sys.argv[1]) if len(sys.argv) > 1 else 400
data = cs.load_dataset("planted", options={"n_train": n_train, "n_test": n_train // 2})
model = cs.finetune("minilm", data.train, n_epochs=2, batch_size=8, learning_rate=1e-4, max_length=48)
train, test = cs.capture(model, data.train), cs.capture(model, data.test)

concepts = cs.ClassifSAE(n_concepts=20, n_vectors=500 * n_train).fit(train, model.tail)
scores = cs.score(concepts, model.tail, test)

complete, causal = scores.completeness, scores.causality
print(f"the classifier is right on         {complete.accuracy:.1%} of the test sentences")
print(f"{len(concepts):2} concepts reproduce             {complete.recovery_accuracy:.1%} of its decisions")
print(f"removing one flips, where it fires {causal.conditional_flip_rate:.1%} of them")

strongest = max(scores.causality.concepts, key=lambda c: c.flip_rate * c.support)
codes = concepts.encode(test.hidden)[:, strongest.position]
print(f"\nThe concept that flips most belongs to {data.label_names[strongest.class_index]}. It fires on:")
for row in codes.argsort(descending=True)[:5].tolist():
    print(" -", data.test.texts[row])
