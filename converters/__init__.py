"""From a trained student to a model pack: export, calibrate, quantize, check, write."""
