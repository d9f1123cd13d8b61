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
cs.finetune("minilm", data.train, n_epochs=5, batch_size=8, max_length=32, folder=folder / "classifier")

model = cs.Classifier.load(folder / "classifier", layer=-1)  # or the folder or Hub id of any classifier
train = cs.capture(model, data.train, folder=folder / "train")
test = cs.capture(model, data.test, folder=folder / "test")

for method in (cs.ClassifSAE(n_concepts=4, n_vectors=100_000), cs.Random(n_concepts=4, top_k=2)):
    concepts = method.fit(train, model.tail)
    concepts.save(folder / method.method_name())
    recovered = cs.score(concepts, model.tail, test).completeness.recovery_accuracy
    print(f"{method.method_name():<12} recovers {recovered:.0%} of the decisions")
