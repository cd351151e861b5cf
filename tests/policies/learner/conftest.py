"""One thread for torch: several that wait for each other on a busy machine are far slower."""

import torch

torch.set_num_threads(1)
