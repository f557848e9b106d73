"""One file per score, or per family of scores: each enters its record (`record.metric`)."""
