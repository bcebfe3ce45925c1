"""Students for other engines: ONNX Runtime, transformers.js, CTranslate2."""
