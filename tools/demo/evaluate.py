#!/usr/bin/env python3
"""Held-out loss, and how evenly the experts are used.

  evaluate.py --model tiny-tales.gguf --stories STORIES.txt [--prose TOM-SAWYER.txt ...]

--stories is the training corpus: its held-out parts are found as train.py finds them. --prose is other text, none of it
trained on.
"""
import argparse
import math
import os

import torch
import torch.nn.functional as F

from data import read_tales, split_stories
from load import add_model_arguments, load_model
from tokenizer import END_OF_TEXT_ID


@torch.no_grad()
def mean_loss(model, texts, tokenizer, window):
    """(nats a token, bits a character) over the texts laid end to end, in windows that do not overlap."""
    model.dropout.on = False
    ids = torch.tensor([i for text in texts for i in tokenizer.encode_story(text)] + [END_OF_TEXT_ID])
    n_targets = len(ids) - 1
    total = 0.0
    for begin in range(0, n_targets, 8 * window):
        rows = [ids[at:at + window + 1] for at in range(begin, min(begin + 8 * window, n_targets), window)]
        whole = [row for row in rows if len(row) == window + 1]
        for group in (whole, rows[len(whole):]):
            if group:
                batch = torch.stack(group)
                logits = model(batch[:, :-1]).flatten(0, 1)
                total += F.cross_entropy(logits, batch[:, 1:].flatten(), reduction="sum").item()
    return total / n_targets, total / math.log(2) / sum(map(len, texts))


def expert_shares(model):
    """For each MoE layer: what share of the tokens each expert had since the loads were cleared. Sums to `top`."""
    return [(block.load / block.load.sum() * model.shape.top).tolist() for block in model.moe_blocks()]


def main():
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add_model_arguments(parser)
    parser.add_argument("--stories", required=True)
    parser.add_argument("--prose", nargs="*", default=[])
    parser.add_argument("--window", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    model, tokenizer = load_model(arguments.model, arguments.tokenizer)
    training, last, mixed = split_stories(arguments.stories)
    sets = [("stories, last 5%", last), ("stories, 1 in 40", mixed), ("100 training stories", training[::9][:100])]
    sets += [(os.path.basename(path), read_tales(path)) for path in arguments.prose]

    print("| text | tokens | loss a token | perplexity | bits a character |\n|---|---|---|---|---|")
    held_out_shares = None
    model.clear_loads()
    for name, texts in sets:
        loss, bits = mean_loss(model, texts, tokenizer, arguments.window)
        n_tokens = sum(len(tokenizer.encode_story(text)) for text in texts)
        print(f"| {name} | {n_tokens} | {loss:.4f} | {math.exp(loss):.2f} | {bits:.3f} |", flush=True)
        if texts is mixed:
            held_out_shares = expert_shares(model)

    even = model.shape.top / model.shape.experts
    print(f"\nShare of the held-out stories' tokens that go to each expert (even: {even:.3f}):\n")
    for layer, shares in enumerate(held_out_shares, model.shape.dense):
        print(f"- layer {layer}: " + " ".join(f"{share:.3f}" for share in shares))


if __name__ == "__main__":
    main()
