"""Measure a latency table: plan, ONNX models, kit, runner, targets, samples, and agreement with whole networks."""
