"""What this machine has, and what an experiment would take on it, before anything starts."""

from classifsae.doctor.tables import experiment_report, machine_report, sweep_report

__all__ = ["experiment_report", "machine_report", "sweep_report"]
