"""The base policy behind ONNX Runtime, its I/O contract, its training; the residual's slot."""
