#!/usr/bin/env python3
"""Train the model on a CPU (PyTorch 1.13 or later, float32).

  train.py --stories STORIES.txt --tales TALES.txt --tokenizer tokenizer.json --out RUN_DIR [--steps 5000] [--minutes M]

Writes RUN_DIR/log.txt, last.pt (with the optimiser's state) and best.pt (lowest held-out loss) at every evaluation, and
goes on from last.pt if it is there. The defaults are the settings of models/tiny-tales.gguf. The schedule ends with
--steps or with --minutes, whichever comes first; without --minutes the run is the same every time on one machine.
"""
import argparse
import ctypes
import dataclasses
import math
import os
import random
import time

try:    # glibc gives freed memory back at once, and the page faults of getting it again cost a third of the speed
    M_MMAP_THRESHOLD, M_TRIM_THRESHOLD = -3, -1
    ctypes.CDLL("libc.so.6").mallopt(M_MMAP_THRESHOLD, 1 << 30)
    ctypes.CDLL("libc.so.6").mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)
except OSError:
    pass

import torch
import torch.multiprocessing as multiprocessing
import torch.nn as nn
import torch.nn.functional as F

from data import Stream, read_tales, split_stories
from evaluate import expert_shares, mean_loss
from model import Model, Shape
from sample import generate
from tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class Settings:
    steps: int = 5000
    minutes: float = 1e9
    seed: int = 1
    workers: int = 2               # processes of one thread each
    batch: int = 8                 # sequences a step, over all workers,
    seq: int = 256                 # of this many tokens,
    long: float = 0.15             # but in this last part of the run half as many of twice the length
    lr: float = 1.5e-3             # the learning rate's peak
    warmup: float = 0.025          # part of the run
    beta2: float = 0.98
    decay: float = 0.3             # weight decay of matrices
    dropout: float = 0.1
    init: float = 0.03             # standard deviation of the first weights
    bias_speed: float = 0.003      # a step's change of an expert's selection bias
    tales_share: float = 0.25      # part of the sequences that are tales at the beginning,
    tales_until: float = 0.5       # falling to none when this part of the run is over
    log_every: int = 25
    eval_every: int = 500


def learning_rate(settings, progress):
    """At progress 0..1: linear warm-up, then a cosine down to a twentieth."""
    if progress < settings.warmup:
        return settings.lr * (progress + 1e-3) / settings.warmup
    along = (progress - settings.warmup) / (1 - settings.warmup)
    return settings.lr * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * along)))


class Worker:
    """One process of several. Each has the whole model and optimiser and one core (two matrix products at once are
    faster than one on two threads), takes its rows of every batch, and sees everybody's gradients before the step, so
    that all models stay the same. The first one, the lead, also logs, evaluates, saves and keeps the time.

    shared [workers, parameters + MoE layers * experts + 1]: each worker's gradient, expert loads and loss.
    shared_progress [1]: of the run, 0 to 1, set by the lead. gate: a barrier of all workers.
    """

    def __init__(self, rank, shape, settings, paths, shared, shared_progress, gate):
        self.rank, self.is_lead = rank, rank == 0
        self.shape, self.settings, self.paths = shape, settings, paths
        self.shared, self.shared_progress, self.gate = shared, shared_progress, gate
        torch.set_num_threads(1)
        torch.manual_seed(settings.seed)
        self.random = random.Random(settings.seed)          # the same in all workers: it chooses stories or tales

        self.tokenizer = Tokenizer.load(paths.tokenizer)
        self.stories, self.held_last, self.held_mixed = split_stories(paths.stories)
        self.streams = [Stream(self.stories, self.tokenizer, settings.seed)]
        if paths.tales:
            self.streams.append(Stream(read_tales(paths.tales), self.tokenizer, settings.seed + 1))

        self.model = Model(shape, settings.dropout, settings.init)
        self.parameters = list(self.model.parameters())
        self.optimizer = torch.optim.AdamW(
            [{"params": [p for p in self.parameters if p.dim() > 1], "weight_decay": settings.decay},
             {"params": [p for p in self.parameters if p.dim() == 1], "weight_decay": 0.0}],
            lr=settings.lr, betas=(0.9, settings.beta2), eps=1e-8, foreach=True)

        self.step, self.spent, self.best = 0, 0.0, 9e9      # spent: seconds, in all sittings of this run
        if os.path.exists(self.path("last.pt")):
            self.resume()
        self.spent_before, self.began = self.spent, time.time()
        self.log = open(self.path("log.txt"), "a", encoding="utf-8") if self.is_lead else None

        # The gradients live in the shared buffer.
        self.mine, self.mean, n_parameters = shared[rank], torch.empty_like(shared[0]), 0
        for p in self.parameters:
            p.grad = self.mine[n_parameters:n_parameters + p.numel()].view_as(p)
            n_parameters += p.numel()
        self.loads = self.mine[n_parameters:-1].view(-1, shape.experts)     # [MoE layers, E]

        n_expert = sum(p.numel() for name, p in self.model.named_parameters() if "_exps" in name)
        n_active = n_parameters - n_expert * (shape.experts - shape.top) // shape.experts
        self.say(f"{n_parameters} parameters, {n_active} active a token; {len(self.stories)} stories, "
                 f"held out {len(self.held_last)} + {len(self.held_mixed)}")

    def path(self, name):
        return os.path.join(self.paths.out, name)

    def say(self, line):
        if self.is_lead:
            print(line, flush=True)
            print(line, file=self.log, flush=True)

    def resume(self):
        checkpoint = torch.load(self.path("last.pt"))
        self.model.load_state_dict(checkpoint["model"])
        self.optimizer.load_state_dict(checkpoint["opt"])
        self.step, self.spent, self.best = checkpoint["step"], checkpoint["spent"], checkpoint["best"]
        self.random.setstate(checkpoint["random"])
        for stream, (epoch, at) in zip(self.streams, checkpoint["streams"]):
            stream.seek(epoch, at)

    def save(self, name, **extra):
        config = {**dataclasses.asdict(self.shape), **dataclasses.asdict(self.settings)}
        partial = self.path(name + ".partial")
        torch.save({"model": self.model.state_dict(), "config": config, "step": self.step, **extra}, partial)
        os.replace(partial, self.path(name))

    def next_batch(self, progress):
        """(this worker's inputs and targets [rows, T + 1], the share of tales)"""
        settings = self.settings
        T = 2 * settings.seq if progress >= 1 - settings.long else settings.seq
        tales = settings.tales_share * max(0.0, 1 - progress / settings.tales_until) if self.paths.tales else 0.0
        rows = [self.streams[self.random.random() < tales].take(T) for _ in range(settings.batch * settings.seq // T)]
        return torch.tensor(rows[self.rank::settings.workers]), tales

    def backward(self, batch):
        """Leaves in `mine` the mean over all workers of gradient, loads and loss; returns the new progress."""
        settings, model = self.settings, self.model
        model.dropout.on = True
        model.dropout.generator.seed(f"{settings.seed} {self.step} {self.rank}")
        model.clear_loads()
        self.mine.zero_()
        loss = F.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
        loss.backward()
        self.mine[-1] = loss.item()
        for i, block in enumerate(model.moe_blocks()):
            self.loads[i] = block.load * settings.workers
        self.spent = self.spent_before + time.time() - self.began
        if self.is_lead:
            self.shared_progress[0] = max((self.step + 1) / settings.steps, self.spent / 60 / settings.minutes)
        self.gate.wait()                                    # everybody's are there
        torch.mean(self.shared, 0, out=self.mean)
        progress = self.shared_progress.item()
        self.gate.wait()                                    # everybody has read them; the buffers are free again
        self.mine.copy_(self.mean)
        return progress

    def move_biases(self):
        """Towards the experts that had less than their share, as DeepSeek-V3 does."""
        for block, load in zip(self.model.moe_blocks(), self.loads):
            block.exp_probs_b.bias += self.settings.bias_speed * torch.sign(load.mean() - load)

    def train(self):
        settings = self.settings
        progress = max(self.step / settings.steps, self.spent / 60 / settings.minutes)
        recent_loss, first_step = 0.0, self.step
        while progress < 1:
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(settings, progress)
            batch, tales = self.next_batch(progress)
            progress = self.backward(batch)
            nn.utils.clip_grad_norm_(self.parameters, 1.0)
            self.optimizer.step()
            if progress < 0.9:                              # the routing stays as it is at the end
                self.move_biases()
            self.step += 1

            recent_loss += self.mine[-1].item() / settings.log_every
            if self.step % settings.log_every == 0:
                seconds = time.time() - self.began
                rate = (self.step - first_step) * settings.batch * settings.seq / seconds
                self.say(f"step {self.step} loss {recent_loss:.3f} lr {learning_rate(settings, progress):.2e} "
                         f"epoch {self.streams[0].epoch} tales {tales:.2f} "
                         f"load max/mean {(self.loads.max(1).values / self.loads.mean(1)).max():.2f} "
                         f"tokens/s {rate:.0f} minutes {(self.spent_before + seconds) / 60:.1f}")
                recent_loss = 0.0
            if self.is_lead and (self.step % settings.eval_every == 0 or progress >= 1):
                self.evaluate_and_save()
        if self.is_lead:
            self.conclude()

    def evaluate_and_save(self):
        torch.set_num_threads(self.settings.workers)        # the others wait at the gate
        last, bits = mean_loss(self.model, self.held_last, self.tokenizer, self.settings.seq)
        mixed, _ = mean_loss(self.model, self.held_mixed, self.tokenizer, self.settings.seq)
        self.say(f"eval {self.step} held out: loss {last:.3f} ppl {math.exp(last):.1f} bits/char {bits:.3f}; "
                 f"1 in 40: loss {mixed:.3f} ppl {math.exp(mixed):.1f}")
        for temperature in (0.0, 0.8):
            text = generate(self.model, self.tokenizer, "Once upon a time", 60, temperature, self.step)
            self.say(f"  [{temperature}] " + text.replace("\n", " / "))
        torch.set_num_threads(1)
        is_best, self.best = last + mixed < self.best, min(self.best, last + mixed)
        self.save("last.pt", opt=self.optimizer.state_dict(), spent=self.spent_before + time.time() - self.began,
                  best=self.best, random=self.random.getstate(), streams=[(s.epoch, s.at) for s in self.streams])
        if is_best:
            self.save("best.pt")

    def conclude(self):
        torch.set_num_threads(self.settings.workers)
        loss, _ = mean_loss(self.model, self.stories[::9][:100], self.tokenizer, self.settings.seq)
        self.say(f"loss without dropout on 100 training stories: {loss:.3f}")
        self.model.clear_loads()
        mean_loss(self.model, self.held_last + self.held_mixed, self.tokenizer, self.settings.seq)
        for layer, shares in enumerate(expert_shares(self.model), self.shape.dense):
            self.say(f"moe layer {layer}, share of the held-out tokens that go to each expert (even: "
                     f"{self.shape.top / self.shape.experts:.3f}): " + " ".join(f"{share:.3f}" for share in shares))


def run_worker(rank, shape, settings, paths, shared, shared_progress, gate):
    try:
        Worker(rank, shape, settings, paths, shared, shared_progress, gate).train()
    except BaseException:
        gate.abort()               # the others must not wait for this one
        raise


def main():
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--stories", required=True, help="the stories; some of them are held out, see data.py")
    parser.add_argument("--tales", help="other prose, mixed in at the beginning")
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--out", required=True)
    for field in (*dataclasses.fields(Shape), *dataclasses.fields(Settings)):
        if field.name != "vocab":                           # the tokenizer's size
            parser.add_argument("--" + field.name.replace("_", "-"), type=field.type, default=field.default)
    paths = parser.parse_args()
    given = {**vars(paths), "vocab": len(Tokenizer.load(paths.tokenizer).tokens)}
    shape = Shape.from_settings(given)
    settings = Settings(**{field.name: given[field.name] for field in dataclasses.fields(Settings)})
    if settings.batch % (2 * settings.workers):
        raise SystemExit(f"error: --batch {settings.batch} is not a multiple of twice --workers {settings.workers}")

    os.makedirs(paths.out, exist_ok=True)
    torch.set_num_threads(1)
    model = Model(shape)
    n_shared = sum(p.numel() for p in model.parameters()) + len(model.moe_blocks()) * shape.experts + 1
    shared, progress = torch.zeros(settings.workers, n_shared).share_memory_(), torch.zeros(1).share_memory_()
    context = multiprocessing.get_context("fork")
    gate = context.Barrier(settings.workers)
    team = [context.Process(target=run_worker, args=(rank, shape, settings, paths, shared, progress, gate))
            for rank in range(settings.workers)]
    for worker in team:
        worker.start()
    for worker in team:
        worker.join()
    if any(worker.exitcode for worker in team):
        raise SystemExit("error: a worker failed; the run goes on from the last evaluation when started again")


if __name__ == "__main__":
    main()
