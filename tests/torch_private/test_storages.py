import torch

from bnconvert.torch_private.storages import StorageReference, identity_of


def test_views_share_an_identity_and_copies_do_not() -> None:
    x = torch.randn(4)
    assert identity_of(x.untyped_storage()) == identity_of(x[1:].untyped_storage())
    assert identity_of(x.untyped_storage()) != identity_of(x.clone().untyped_storage())


def test_memory_that_is_emptied_and_filled_keeps_its_identity() -> None:
    storage = torch.randn(4).untyped_storage()
    before = identity_of(storage)
    storage.resize_(0)
    assert identity_of(storage) == before
    storage.resize_(16)
    assert identity_of(storage) == before


def test_a_reference_does_not_keep_memory_alive() -> None:
    x = torch.randn(4)
    reference = StorageReference(x.untyped_storage())
    view = x[:2]
    del x
    assert reference.is_alive()
    assert reference.identity == identity_of(view.untyped_storage())
    del view
    assert not reference.is_alive()


def test_while_it_lives_no_other_memory_gets_its_identity() -> None:
    reference = StorageReference(torch.randn(1000).untyped_storage())
    others = [torch.randn(1000).untyped_storage() for _ in range(100)]
    assert reference.identity not in map(identity_of, others)
