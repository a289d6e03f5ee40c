"""How fast anew trains, beside a plain PyTorch loop and torchdistill: `python -m benchmarks
--help`.
"""
