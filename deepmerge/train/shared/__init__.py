"""What recover and finetune share: devices, augmentation, losses, checkpoints, guards."""
