"""The only place that knows Z.ai: its paths, codes, models and shapes (zai-api.md)."""
