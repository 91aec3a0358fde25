"""What recover and finetune have in common: devices, seeds, checkpoints, and what stops a run that goes wrong."""
