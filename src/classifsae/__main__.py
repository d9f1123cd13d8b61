"""``python -m classifsae``."""

from classifsae.cli import main

main()
