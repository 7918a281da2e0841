"""TensorRT engines from the ONNX of a pack; needs onnx and TensorRT, but no torch."""
