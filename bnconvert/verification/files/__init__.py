"""An ONNX file: its operators, its precision, and what runs it."""
