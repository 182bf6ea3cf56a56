"""The only room that may import torch, lightning and onnx."""
