"""What a machine sees in fused images: a segmenter's IoU and a detector's AP, input by input."""
