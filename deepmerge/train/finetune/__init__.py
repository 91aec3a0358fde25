"""Fine-tuning with labels, as Caffe's solvers do it: what a solver.prototxt says, on PyTorch or in real Caffe."""
