"""What is imported with the room: libraries that one feature needs wait for it."""

import subprocess
import sys

CODE = """
import sys
import classifsae.meaning.llm, classifsae.meaning.words
assert "torch" not in sys.modules, "an experiment file is checked without torch"
import classifsae.meaning.encoder, classifsae.meaning.own_names
late = {"transformers", "sentence_transformers", "gensim", "simplemma", "stop_words", "icu4py", "accelerate"}
print(*sorted(late & sys.modules.keys()))
"""


def test_a_library_is_imported_where_it_is_used():
    found = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert (found.stdout.strip(), found.stderr) == ("", "")
