"""A CSV file and a classifier of one's own, here made on the spot; the results go to a folder."""

import csv
import sys
from pathlib import Path

import classifsae as cs

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "own_data")
folder.mkdir(parents=True, exist_ok=True)
with (folder / "reviews.csv").open("w", newline="") as file:
    write = csv.writer(file)
    write.writerow(["review", "stars"])
    for i in range(40):
        write.writerow([f"Lovely, friendly and quick, visit {i}.", "good"])
        write.writerow([f"Slow, cold and far too dear, visit {i}.", "bad"])

data = cs.load_dataset(folder / "reviews.csv", text_column="review", label_column="stars")
tuning = {"n_epochs": 3, "batch_size": 8, "learning_rate": 2e-4, "max_length": 32}
cs.finetune("minilm", data.train, **tuning, folder=folder / "classifier")

model = cs.Classifier.load(folder / "classifier", layer=-1)  # or the folder or Hub id of any classifier
train = cs.capture(model, data.train, folder=folder / "train")
test = cs.capture(model, data.test, folder=folder / "test")

for method in (cs.ClassifSAE(n_concepts=4, n_vectors=30_000), cs.Random(n_concepts=4, top_k=2)):
    concepts = method.fit(train, model.tail)
    concepts.save(folder / method.method_name())
    recovered = cs.score(concepts, model.tail, test).completeness.recovery_accuracy
    print(f"{method.method_name():<12} recovers {recovered:.0%} of the decisions")
