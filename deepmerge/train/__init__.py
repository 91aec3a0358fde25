"""Training of merged networks: recover without labels, finetune with labels."""
