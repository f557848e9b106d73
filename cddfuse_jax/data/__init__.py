"""Sources of pairs -> batches; patches as the release cuts them; a TFDS dataset."""
