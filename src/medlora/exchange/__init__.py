"""Tasks in the formats of other programs: PEFT adapters, plain checkpoints, ONNX."""
