"""birdplane's own components in plain PyTorch, for `birdplane eject`: from parameters to source. Imports no torch.

Each function has its component's parameters, and returns what computes the same numbers, bit for bit on a CPU.
"""
