r"""NVIDIA Model Optimizer's INT8 form of the step beside the one that packs carry for TensorRT.

    python -m venv /tmp/optimizer
    /tmp/optimizer/bin/pip install --no-deps nvidia-modelopt==0.47.0
    /tmp/optimizer/bin/pip install -r benchmarks/model_optimizer/requirements.txt
    python -m benchmarks.model_optimizer --checkpoint RUN/all/checkpoint.safetensors \
        --calibration-data emodb=DIR --optimizer /tmp/optimizer/bin/python --out FILE.md

Both start from the same float step and measure ranges on the same streaming steps with real
state. Needs `edge-ser[convert,rtx]`, no GPU: TensorRT for RTX builds engines without one.
Model Optimizer lives in an environment of its own, because it wants other versions of onnx and
onnxruntime. What the forms are goes beside FILE.md as JSON.
"""
