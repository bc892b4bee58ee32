"""The TensorRT execution provider: claimed subgraphs become TensorRT engines."""
