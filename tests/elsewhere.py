"""What the tests of Ray and of SLURM share: a small study, as a file, and what one process makes of
it.
"""

STUDY = """
title = "Where it runs"
seeds = [0]
[data]
source = "npz:{npz}"
[training]
epochs = {epochs}
batch_size = 16
learning_rate = 0.02
[rows]
small = "small_cnn"
[columns.Teacher]
[columns.BAN]
teacher = "Teacher"
objective = "ban"
[columns.CWTM]
teacher = "Teacher"
objective = "cwtm"
[columns.Fails]
teacher = "Teacher"
objective = {{ name = "kd", alpha = 0.0 }}
[columns."BAN-2"]
teacher = "BAN"
objective = "ban"
"""


FAILS = "1 networks failed"
"""How the command ends: a weight of 0 is stopped by a check, and nothing else is."""


def write_study(folder, arrays, epochs):
    """Write the study and its data; returns its path."""
    import numpy as np

    npz = folder / "small.npz"
    np.savez(npz, x=arrays[0], y=arrays[1])
    path = folder / "study.toml"
    path.write_text(STUDY.format(npz=npz, epochs=epochs))
    return path
