"""The onnxruntime-compatible face: it translates and decides nothing."""
