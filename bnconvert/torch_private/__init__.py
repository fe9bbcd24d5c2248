"""Private torch API, one file per subject: what it stands in for, and since which torch.

All of it is tried with the versions of torch that docs/versions.md lists.
`python -m tests.torch_private.test_canaries` lists every name with its risk, and says which of them
the installed torch lacks.
"""
