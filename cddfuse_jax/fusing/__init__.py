"""Images -> fused images: one pair, a folder, a video; whole, in buckets or in strips."""
