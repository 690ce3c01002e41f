#!/usr/bin/env python3
"""Byte-level BPE in the manner of GPT-2: train it, save it, load it, encode and decode.

  tokenizer.py --stories STORIES.txt --vocab 2048 --out tokenizer.json

Ids: 0 is <|endoftext|>, which begins and ends a story; 1 to 256 are the bytes, in GPT-2's order; then one id a merge.
The JSON file holds {"tokens": [...], "merges": ["a b", ...]}, written in GPT-2's printable alphabet of bytes. These are
the contents of tokenizer.ggml.tokens and tokenizer.ggml.merges (model "gpt2", pre "gpt-2").
"""
import argparse
import collections
import heapq
import json

import regex

END_OF_TEXT = "<|endoftext|>"
END_OF_TEXT_ID = 0

# GPT-2's pre-tokenisation: merges never cross the border between two of these.
PIECE = regex.compile(r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+""")


def byte_alphabet():
    """GPT-2's printable character for each byte: {byte: character}, in the order of GPT-2's ids."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    alphabet = {byte: chr(byte) for byte in printable}
    for byte in range(256):
        if byte not in alphabet:
            alphabet[byte] = chr(256 + len(alphabet) - len(printable))
    return alphabet


def merge_pair(symbols, left, right):
    """The list of symbols with every `left right` replaced, from the left, by their concatenation."""
    merged, at = [], 0
    while at < len(symbols):
        if symbols[at] == left and at + 1 < len(symbols) and symbols[at + 1] == right:
            merged.append(left + right)
            at += 2
        else:
            merged.append(symbols[at])
            at += 1
    return merged


def train(texts, vocab):
    """Merges the most frequent pair of neighbours until there are `vocab` tokens; equal counts go in string order."""
    alphabet = byte_alphabet()
    count_of_piece = collections.Counter(piece for text in texts for piece in PIECE.findall(text))
    pieces = [[alphabet[byte] for byte in piece.encode()] for piece in count_of_piece]
    counts = list(count_of_piece.values())

    pair_count, pieces_with = collections.Counter(), collections.defaultdict(set)
    for i, symbols in enumerate(pieces):
        for pair in zip(symbols, symbols[1:]):
            pair_count[pair] += counts[i]
            pieces_with[pair].add(i)
    heap = [(-count, pair) for pair, count in pair_count.items()]
    heapq.heapify(heap)

    tokens, merges = [END_OF_TEXT, *alphabet.values()], []
    while len(tokens) < vocab and heap:
        negative_count, best = heapq.heappop(heap)
        if -negative_count != pair_count[best]:      # the count has changed since it was pushed: push the true one
            if pair_count[best] > 0:
                heapq.heappush(heap, (-pair_count[best], best))
            continue
        tokens.append(best[0] + best[1])
        merges.append(best[0] + " " + best[1])
        changed = set()
        for i in pieces_with.pop(best):
            for pair in zip(pieces[i], pieces[i][1:]):
                pair_count[pair] -= counts[i]
            pieces[i] = merge_pair(pieces[i], *best)
            for pair in zip(pieces[i], pieces[i][1:]):
                pair_count[pair] += counts[i]
                pieces_with[pair].add(i)
                changed.add(pair)
        del pair_count[best]
        for pair in changed:
            if pair_count[pair] > 0:
                heapq.heappush(heap, (-pair_count[pair], pair))
    return Tokenizer(tokens, merges)


class Tokenizer:
    def __init__(self, tokens, merges):
        self.tokens, self.merges = tokens, merges
        self._id_of = {token: i for i, token in enumerate(tokens)}
        self._rank_of = {tuple(merge.split(" ")): rank for rank, merge in enumerate(merges)}
        self._character_of = byte_alphabet()
        self._byte_of = {character: byte for byte, character in self._character_of.items()}
        self._ids_of_piece = {}

    @classmethod
    def load(cls, path):
        with open(path, encoding="utf-8") as file:
            return cls(**json.load(file))

    def save(self, path):
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"tokens": self.tokens, "merges": self.merges}, file, ensure_ascii=False, indent=0)

    def _encode_piece(self, piece):
        symbols, never = [self._character_of[byte] for byte in piece.encode()], len(self.merges)
        while len(symbols) > 1:
            rank, at = min((self._rank_of.get(pair, never), i) for i, pair in enumerate(zip(symbols, symbols[1:])))
            if rank == never:
                break
            symbols[at:at + 2] = [symbols[at] + symbols[at + 1]]
        return [self._id_of[symbol] for symbol in symbols]

    def encode(self, text):
        """Ids without begin and end."""
        ids = []
        for piece in PIECE.findall(text):
            if piece not in self._ids_of_piece:
                self._ids_of_piece[piece] = self._encode_piece(piece)
            ids += self._ids_of_piece[piece]
        return ids

    def encode_story(self, text):
        """Ids with the token that begins a story. The next story's begin is this one's end."""
        return [END_OF_TEXT_ID, *self.encode(text)]

    def decode(self, ids):
        """The text of the ids; <|endoftext|> has none."""
        raw = bytes(self._byte_of[c] for i in ids if i != END_OF_TEXT_ID for c in self.tokens[i])
        return raw.decode("utf-8", "replace")


def main():
    from data import hold_out, read_stories

    parser = argparse.ArgumentParser(description="Train the tokenizer on the stories that are not held out at the end.")
    parser.add_argument("--stories", required=True)
    parser.add_argument("--vocab", type=int, default=2048)
    parser.add_argument("--out", required=True)
    arguments = parser.parse_args()

    training, held_out = hold_out(read_stories(arguments.stories))
    tokenizer = train(training, arguments.vocab)
    tokenizer.save(arguments.out)
    for name, stories in (("training", training), ("held out", held_out)):
        encoded = [tokenizer.encode(story) for story in stories]
        assert all(tokenizer.decode(ids) == story for ids, story in zip(encoded, stories))
        lengths = sorted(map(len, encoded))
        print(f"{name}: {len(stories)} stories, {sum(lengths)} tokens, "
              f"{sum(map(len, stories)) / sum(lengths):.2f} characters a token, "
              f"median length {lengths[len(lengths) // 2]}, longest {lengths[-1]}")


if __name__ == "__main__":
    main()
