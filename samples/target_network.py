"""DQN with batch norm: a target network that gets the parameters only keeps empty statistics.

A Q network with two batch norms learns gymnasium's CartPole from a replay buffer. Its target
network follows by averaging, as is usual, `target.parameters()`. The running statistics are
buffers: they stay at mean 0 and variance 1, so that the target network is another function, which
values every state at about 0, and the agent learns the next reward only. With the buffers averaged
too it learns. `bnc.diagnose` on the replay buffer names the fault, and `bnc.use_statistics` lets
the network act on few observations whatever mode it is in. (CartPole needs no batch norm: it is
here because it is small.)

    python samples/target_network.py --output out
"""

import copy
import sys
from pathlib import Path

import numpy as np
import torch
from small_digits import output_folder
from torch import Tensor, nn
from torch.nn import functional as F

import bnconvert as bnc

STEPS, POLES, RATE, DISCOUNT, EVERY = 1800, 8, 0.01, 0.99, 100
WAYS = {"parameters only": "#ee6677", "parameters and buffers": "#4477aa"}
Run = tuple[list[float], list[float], str]


def q_network() -> nn.Sequential:
    """Return a network from observations (N, 4) to the values of both actions."""
    layers: list[nn.Module] = []
    for inputs in (4, 64):
        layers += [nn.Linear(inputs, 64, bias=False), nn.BatchNorm1d(64), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(64, 2))


def learn(online: nn.Module, target: nn.Module, optimizer: torch.optim.Adam, rows: Tensor) -> None:
    """Make one step of Q learning on transitions (N, 11)."""
    states, actions, rewards, following, fallen = rows.split((4, 1, 1, 4, 1), 1)
    with torch.no_grad():
        best = target(following).max(1, keepdim=True).values
    values = online(states).gather(1, actions.long())
    optimizer.zero_grad()
    F.smooth_l1_loss(values, rewards + DISCOUNT * (1 - fallen) * best).backward()
    optimizer.step()


@torch.no_grad()
def follow(target: nn.Module, online: nn.Module, way: str) -> None:
    """Move the target network a little towards the one that learns."""
    pairs: list[tuple[Tensor, Tensor]]
    pairs = list(zip(target.parameters(), online.parameters(), strict=True))
    if way == "parameters and buffers":
        pairs += zip(target.buffers(), online.buffers(), strict=True)
    for mine, its in pairs:
        if mine.is_floating_point():
            mine.lerp_(its, RATE)


def run(way: str, seed: int) -> Run:
    """Return the lengths of episodes and the target's values by time, and its findings."""
    import gymnasium

    torch.manual_seed(seed)
    make, record = gymnasium.make_vec, gymnasium.wrappers.vector.RecordEpisodeStatistics
    poles = record(make("CartPole-v1", POLES, vectorization_mode="vector_entry_point"), 20)
    seen, ended = poles.reset(seed=seed)[0], np.zeros(POLES, bool)
    online, replay = q_network(), torch.empty(0, 11)
    target = copy.deepcopy(online).eval()
    optimizer, lengths, values = torch.optim.Adam(online.parameters(), 1e-3), [], []
    for step in range(STEPS):
        with torch.no_grad(), bnc.use_statistics(online, "running"):
            best = online(torch.as_tensor(seen)).argmax(1)
        explores = torch.rand(POLES) < max(0.05, 1 - step / 500)
        actions = torch.where(explores, torch.randint(2, (POLES,)), best).numpy()
        new, rewards, fallen, cut, _ = poles.step(actions)
        rows = torch.tensor(np.column_stack([seen, actions, rewards, new, fallen])).float()
        replay = torch.cat([replay, rows[~ended]])  # the step after an end is a reset
        seen, ended = new, fallen | cut
        if step >= 20:
            learn(online, target, optimizer, replay[torch.randint(len(replay), (64,))])
            follow(target, online, way)
        if step % EVERY == EVERY - 1:
            lengths.append(float(np.mean(poles.length_queue)))
            with torch.no_grad():
                values.append(float(target(replay[-500:, :4]).mean()))
    batches = replay[torch.randperm(len(replay))[:2000], :4].split(500)
    found = bnc.diagnose(target, batches).findings
    return lengths, values, "".join(f"\n    {f.id} {f.message}" for f in found) or " no findings"


def draw(results: dict[str, list[Run]], path: Path) -> None:
    """Draw episode lengths and values, a line for each seed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    for way, runs in results.items():
        for seed, (lengths, values, _) in enumerate(runs):
            steps = [EVERY * POLES * (index + 1) / 1000 for index in range(len(values))]
            for axes, curve in zip(panels, (lengths, values), strict=True):
                axes.plot(steps, curve, color=WAYS[way], label=None if seed else way)
    panels[0].set(ylabel="steps until the pole falls (500 at most)", ylim=(0, None))
    panels[1].set(ylabel="value of the last states, by the target network")
    for axes in panels:
        axes.set_xlabel("steps of the agent, thousands; a line for each of two seeds")
    panels[0].legend(frameon=False, title="the target network follows")
    figure.savefig(path, dpi=110)


def main(arguments: list[str] | None = None) -> int:
    """Train both ways with two seeds each, print, draw; return 0 where the buffers mattered."""
    folder = output_folder(arguments, __doc__)
    results = {way: [run(way, seed) for seed in (0, 1)] for way in WAYS}
    print("the target network follows      steps until the pole falls   value of states")
    for way, runs in results.items():
        for lengths, values, _ in runs:
            print(f"  {way:30s}{lengths[-1]:15.1f}{values[-1]:25.1f}")
        print(f"  diagnosis of the target network:{runs[-1][2]}")
    draw(results, folder / "target_network.png")
    print(f"wrote {folder / 'target_network.png'}")
    ends = [min(lengths[-1] for lengths, _, _ in results[way]) for way in WAYS]
    return 0 if ends[1] > 3 * ends[0] else 3


if __name__ == "__main__":
    sys.exit(main())
