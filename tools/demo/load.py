"""A model and its tokenizer from a GGUF of export_gguf.py or from a checkpoint of train.py."""
import torch

import gguf_file
from model import Model, Shape
from tokenizer import Tokenizer


def shape_of_gguf(metadata):
    def field(key):
        return metadata["deepseek2." + key]

    return Shape(
        vocab=field("vocab_size"), dim=field("embedding_length"), layers=field("block_count"),
        dense=field("leading_dense_block_count"), ff=field("feed_forward_length"), heads=field("attention.head_count"),
        nope=field("attention.key_length") - field("rope.dimension_count"), rope=field("rope.dimension_count"),
        value=field("attention.value_length"), q_lora=field("attention.q_lora_rank"),
        kv_lora=field("attention.kv_lora_rank"), experts=field("expert_count"), top=field("expert_used_count"),
        expert_ff=field("expert_feed_forward_length"), route_scale=field("expert_weights_scale"))


def model_of_gguf(metadata, tensors):
    """The PyTorch model with the file's (dequantised) weights."""
    model = Model(shape_of_gguf(metadata))
    model.load_state_dict({name: torch.from_numpy(weights) for name, weights in tensors.items()
                           if name != "output.weight"})          # a copy of the embedding
    return model


def load_model(model_path, tokenizer_path=None):
    """(model, tokenizer)"""
    if model_path.endswith(".gguf"):
        metadata, tensors = gguf_file.read(model_path)
        tokenizer = Tokenizer(metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.merges"])
        return model_of_gguf(metadata, tensors), tokenizer
    if tokenizer_path is None:
        raise SystemExit("error: a checkpoint holds no tokenizer; give the run's own with --tokenizer")
    return Model.from_checkpoint(model_path), Tokenizer.load(tokenizer_path)


def add_model_arguments(parser):
    parser.add_argument("--model", required=True, help="a GGUF of export_gguf.py or a checkpoint of train.py")
    parser.add_argument("--tokenizer", help="for a checkpoint: the run's tokenizer.json")
