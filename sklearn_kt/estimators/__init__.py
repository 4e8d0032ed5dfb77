"""The estimators: implicit, explicit and blended transfer, and the embedder."""
