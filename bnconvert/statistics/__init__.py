"""Running statistics, recomputed exactly: by layer or mini-batch, over ranks, in little memory."""
