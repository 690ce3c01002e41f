#!/usr/bin/env python3
"""The loss curve of a run as a table: loss_curve.py RUN_DIR/log.txt"""
import re
import sys

TRAINING = re.compile(r"step (\d+) loss (\S+) lr (\S+) epoch (\d+) .* minutes (\S+)")
HELD_OUT = re.compile(r"eval (\d+) held out: loss (\S+) ppl (\S+) .*1 in 40: loss (\S+) ppl (\S+)")


def main():
    if len(sys.argv) != 2:
        raise SystemExit("usage: loss_curve.py RUN_DIR/log.txt")
    print("| step | minutes | passes begun | learning rate | loss in training | last 5%: loss (perplexity) | 1 in 40 |\n"
          "|---|---|---|---|---|---|---|")
    training = None
    with open(sys.argv[1], encoding="utf-8") as log:
        for line in log:
            training = TRAINING.match(line) or training
            held_out = HELD_OUT.match(line)
            if held_out and training:
                _, loss, rate, epoch, minutes = training.groups()
                step, last, last_perplexity, mixed, mixed_perplexity = held_out.groups()
                mixed_perplexity = mixed_perplexity.rstrip(";")
                print(f"| {step} | {float(minutes):.0f} | {int(epoch) + 1} | {rate} | {loss} | {last} ({last_perplexity}) "
                      f"| {mixed} ({mixed_perplexity}) |")


if __name__ == "__main__":
    main()
