"""The network in one file: StableHLO, ONNX, or a page that fuses in the browser."""
