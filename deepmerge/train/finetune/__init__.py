"""Fine-tuning with labels, following solver.prototxt as Caffe does, in PyTorch or in real Caffe."""
