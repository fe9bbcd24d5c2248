import torch

from bnconvert.verification.task_agreement import TaskAgreement


def test_classes_are_counted_by_sample_and_masks_by_pixel() -> None:
    scores, mask = torch.eye(4), torch.zeros(1, 2, 2, 2)
    decided = TaskAgreement()
    decided.add(["scores", "mask"], [scores, mask], [scores.flip(1), mask])
    decided.add(["scores", "mask"], [scores, mask], [scores, mask])
    assert decided.facts() == {
        "top-1 agreement of scores": "50.00% of 8 samples",
        "mask agreement of mask": "100.00% of 8 pixels",
    }


def test_boxes_are_matched_in_any_order_by_how_far_they_overlap() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [5, 5, 9, 9], [20, 20, 30, 40]])
    labels, moved = torch.tensor([1, 2, 3]), boxes.flip(0).clone()
    moved[0] += torch.tensor([0.0, 0, 0, 0.5])  # 30 x 40 pixels, 2.5% larger
    moved[1] += 3  # another place
    decided = TaskAgreement()
    names, scores = ["boxes", "labels", "scores"], torch.rand(3)
    decided.add(names, [moved, labels, scores], [boxes, labels, scores])
    assert decided.facts() == {"box agreement": "66.67% of 3 boxes"}
    decided.add(names, [boxes[:0], labels[:0], scores[:0]], [boxes, labels, scores])
    assert decided.facts() == {"box agreement": "33.33% of 6 boxes"}


def test_an_output_that_decides_nothing_has_no_figure() -> None:
    decided = TaskAgreement()
    value = torch.rand(3, 1)
    decided.add(["depth"], [value], [value])
    assert decided.facts() == {}


def test_four_scores_beside_their_class_are_no_boxes() -> None:
    decided = TaskAgreement()
    scores = torch.tensor([[3.0, 1, 2, 0], [0, 2, 1, 3]])
    outputs = [scores, scores.argmax(1)]
    decided.add(["logits", "label"], outputs, outputs)
    assert decided.facts() == {"top-1 agreement": "100.00% of 2 samples"}
