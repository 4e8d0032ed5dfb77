"""Settings of a small training on the CPU."""

from __future__ import annotations

from sklearn_kt.encoder.training import TrainingSettings

SETTINGS = TrainingSettings(
    loss="squared_error",
    n_outputs=1,
    max_epochs=3,
    batch_size=16,
    learning_rate=1e-3,
    backbone_learning_rate=1e-3,
    weight_decay=0.0,
    dropout=0.0,
    patience=None,
    device="cpu",
    seed=0,
)
