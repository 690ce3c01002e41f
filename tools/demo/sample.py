#!/usr/bin/env python3
"""Let the model write.

  sample.py --model tiny-tales.gguf --prompt "Once upon a time" [--temperature 0.8 --seed 1 --tokens 200]
  sample.py --model tiny-tales.gguf --report [--stories STORIES.txt]

--model is a GGUF of export_gguf.py or a checkpoint of train.py (which needs --tokenizer). --report writes the samples
of models/results.md, whose prompts and seeds were fixed while the run went on: none is picked or left out. With
--stories each sample says the longest run of words that it has in common with those stories.
"""
import argparse

import torch

from data import read_stories
from load import add_model_arguments, load_model
from tokenizer import END_OF_TEXT_ID

PROMPTS = ("Once upon a time", "One day, a little", "Lily and Ben")
TEMPERATURES_AND_SEEDS = ((0.0, 1), (0.8, 1), (0.8, 2), (0.8, 3))


@torch.no_grad()
def generate(model, tokenizer, prompt, n_tokens=150, temperature=0.0, seed=0, context=512):
    """The prompt and what follows it, up to the story's end or n_tokens. Temperature 0 is greedy."""
    model.dropout.on = False
    generator = torch.Generator().manual_seed(seed)
    ids = tokenizer.encode_story(prompt)
    for _ in range(n_tokens):
        logits = model(torch.tensor([ids[-context:]]))[0, -1]
        probability = (logits / temperature).softmax(-1) if temperature else (logits == logits.max()).float()
        chosen = torch.multinomial(probability, 1, generator=generator).item()
        if chosen == END_OF_TEXT_ID:
            return tokenizer.decode(ids) + " <end>"
        ids.append(chosen)
    return tokenizer.decode(ids)


def longest_common_run(text, corpus):
    """The longest run of words of `text` that is in `corpus` (words parted by one space, one at either end)."""
    words, begin, best = text.split(), 0, []
    for end in range(1, len(words) + 1):
        while begin < end and f" {' '.join(words[begin:end])} " not in corpus:
            begin += 1
        if end - begin > len(best):
            best = words[begin:end]
    return best


def report(model, tokenizer, corpus, n_tokens):
    for prompt in PROMPTS:
        for temperature, seed in TEMPERATURES_AND_SEEDS:
            text = generate(model, tokenizer, prompt, n_tokens, temperature, seed)
            how = f"temperature {temperature}, seed {seed}" if temperature else "greedy"
            common = f"; {len(longest_common_run(text, corpus))} words in a row from training" if corpus else ""
            print(f"**{prompt} ...** ({how}{common})\n", flush=True)
            print("\n".join(f"> {line}".rstrip() for line in text.split("\n")) + "\n", flush=True)


def main():
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add_model_arguments(parser)
    parser.add_argument("--prompt", default=PROMPTS[0])
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--stories", help="with --report: look for the samples in these stories")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    model, tokenizer = load_model(arguments.model, arguments.tokenizer)
    if arguments.report:
        stories = read_stories(arguments.stories) if arguments.stories else []
        report(model, tokenizer, " " + " ".join(" ".join(stories).split()) + " " if stories else "", arguments.tokens)
    else:
        print(generate(model, tokenizer, arguments.prompt, arguments.tokens, arguments.temperature, arguments.seed))


if __name__ == "__main__":
    main()
