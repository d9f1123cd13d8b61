"""Fine-tuning: all weights, LoRA or a soft prompt."""
