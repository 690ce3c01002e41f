#!/usr/bin/env python3
"""Writes chat_golden.txt: conversations rendered by jinja2 from the models' own templates (templates/*.jinja).

    make_chat_golden.py

templates/NAME.jinja is the template of a public model, named after our format for it; branches for tools are left out of some.
The file is a list of fields, each `KEY LENGTH` on a line, then LENGTH bytes and a line break. A record is: template (its
name), bos, text (of the template), and for each conversation: open (0 or 1), any number of role and content pairs, expected.
"""
import pathlib

import jinja2
import jinja2.sandbox

HERE = pathlib.Path(__file__).resolve().parent

CONVERSATIONS = [
    [("user", "Hello")],
    [("system", "Be brief."), ("user", "Hello")],
    [("user", "Hello"), ("assistant", "Hi there"), ("user", "Who are you?")],
    [("system", "You are a poet.\nRhyme."), ("user", "Hello"), ("assistant", "Hi there"), ("user", "Who are you?"),
     ("assistant", "   I am an assistant   "), ("user", "  Another\n\nquestion \u3000")],
    [("user", "Hello"), ("assistant", "<think>\nWhat is this?\n\nA greeting.\n</think>\n\nHi there"), ("user", "1 + 1?")],
    [("user", "Hello"), ("assistant", "a</think>b</think>\n\nc"), ("user", "你好，世界 🦙")],
    [("user", "Hello"), ("assistant", "<think>\nLast.\n</think>\n\nHi there")],
    [("user", " \n"), ("assistant", ""), ("user", "x")],
    [("system", " padded "), ("user", "  padded  "), ("assistant", " padded "), ("user", "padded ")],
    [("system", "Say nothing. "), ("user", " \n")],
]
BOS_EOS = {"deepseek": ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"), "llama3": ("<|begin_of_text|>", "<|eot_id|>")}


def raise_exception(message):
    raise jinja2.TemplateError(message)


def render(text, bos, eos, messages, open_assistant):
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = raise_exception
    return environment.from_string(text).render(
        messages=[{"role": role, "content": content} for role, content in messages],
        bos_token=bos, eos_token=eos, add_generation_prompt=open_assistant)


def field(key, text):
    data = text.encode()
    return f"{key} {len(data)}\n".encode() + data + b"\n"


def main():
    out = b""
    for path in sorted((HERE / "templates").glob("*.jinja")):
        text = path.read_text(encoding="utf-8").removesuffix("\n")
        bos, eos = next((value for key, value in BOS_EOS.items() if path.stem.startswith(key)), ("<s>", "</s>"))
        out += field("template", path.stem) + field("bos", bos) + field("text", text)
        n = 0
        for messages in CONVERSATIONS:
            for open_assistant in (True, False):
                if open_assistant and messages[-1][0] == "assistant":
                    continue
                try:
                    expected = render(text, bos, eos, messages, open_assistant)
                except jinja2.TemplateError:
                    continue  # some templates refuse a system message
                out += field("open", str(int(open_assistant)))
                for role, content in messages:
                    out += field("role", role) + field("content", content)
                out += field("expected", expected)
                n += 1
        print(f"{path.stem}: {n} conversations")
    (HERE / "chat_golden.txt").write_bytes(out)


if __name__ == "__main__":
    main()
