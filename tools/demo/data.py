"""The texts: reading them, holding some out, and making an endless stream of tokens of the rest."""
import random

from tokenizer import END_OF_TEXT

# A small vocabulary has no room for two spellings of one thing: straighten typographic quotes, dashes and spaces.
STRAIGHT = str.maketrans({"\u201c": '"', "\u201d": '"', "\u2018": "'", "\u2019": "'", "\u2014": "-", "\u2013": "-",
                          "\u2026": "...", "\u00a0": " ", "\ufeff": "", "\r": ""})


def read_text(path):
    with open(path, encoding="utf-8") as file:
        return file.read().translate(STRAIGHT)


def read_stories(path):
    """The stories of a file in which a line <|endoftext|> ends each. Every line of a story is a paragraph; in the
    result a blank line parts them. What follows the last <|endoftext|> may be cut off, and is left out."""
    stories = []
    for story in read_text(path).split(END_OF_TEXT)[:-1]:
        paragraphs = [" ".join(line.split()) for line in story.split("\n") if line.strip()]
        if paragraphs:
            stories.append("\n\n".join(paragraphs))
    return stories


def read_tales(path, size=1200):
    """Long prose (blank lines between paragraphs, hard line breaks in them) cut into pieces of whole paragraphs of at
    least `size` characters. Headings (all capitals) and run-on paragraphs are left out."""
    pieces, piece = [], []
    for paragraph in read_text(path).replace("_", "").split("\n\n"):
        paragraph = " ".join(paragraph.split()).replace("--", " - ")
        if not paragraph or paragraph.upper() == paragraph or len(paragraph) > 4 * size:
            continue
        piece.append(paragraph)
        if sum(map(len, piece)) >= size:
            pieces.append("\n\n".join(piece))
            piece = []
    return pieces


def hold_out(stories, share=0.05):
    """(training, held out): the last `share` of the stories."""
    n_held_out = max(1, int(len(stories) * share))
    return stories[:-n_held_out], stories[-n_held_out:]


def split_stories(path):
    """(training, the last 5%, 1 in 40 of the others). Two held-out sets, because neighbours in the file may come from
    one source: the last 5% have few neighbours in training, the 1 in 40 have all of theirs."""
    others, last = hold_out(read_stories(path))
    return [story for i, story in enumerate(others) if i % 40], last, others[::40]


class Stream:
    """An endless stream of tokens. Each epoch is a fresh shuffle of all texts, each begun by <|endoftext|>."""

    def __init__(self, texts, tokenizer, seed):
        self.texts, self.tokenizer, self.seed = texts, tokenizer, seed
        self.epoch, self.at, self.ids = -1, 0, []

    def seek(self, epoch, at):
        generator = random.Random(self.seed * 1000003 + epoch)
        texts = generator.sample(self.texts, len(self.texts))
        self.ids = [i for text in texts for i in self.tokenizer.encode_story(text)]
        self.epoch, self.at = epoch, at

    def take(self, n_tokens):
        """n_tokens inputs and the token that follows them. The next call begins with that token."""
        taken = self.ids[self.at:self.at + n_tokens + 1]
        self.at += len(taken)
        while len(taken) <= n_tokens:
            self.seek(self.epoch + 1, n_tokens + 1 - len(taken))
            taken += self.ids[:self.at]
        self.at -= 1
        return taken
