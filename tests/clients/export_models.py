"""Writes tiny transformers models with random weights, as torch's and as ONNX.

usage: python export_models.py FOLDER

Each model has a folder: ``torch`` and ``onnx`` in it are what ``from_pretrained`` reads.
Nothing is downloaded.
"""

import sys
from pathlib import Path

import torch
import transformers as hub
from optimum.exporters.onnx import onnx_export_from_model

SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}
ENDS = {"bos_token_id": 0, "eos_token_id": 1}


def bert(**more):
    return hub.BertConfig(**SIZES, **more)


MODELS = {
    "classifier": (
        "text-classification",
        lambda: hub.BertForSequenceClassification(bert(num_labels=3)),
    ),
    "tagger": (
        "token-classification",
        lambda: hub.BertForTokenClassification(bert(num_labels=3)),
    ),
    "answers": ("question-answering", lambda: hub.BertForQuestionAnswering(bert())),
    "filler": ("fill-mask", lambda: hub.BertForMaskedLM(bert())),
    "features": ("feature-extraction", lambda: hub.BertModel(bert())),
    "gpt2": (
        "text-generation-with-past",
        lambda: hub.GPT2LMHeadModel(
            hub.GPT2Config(
                vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=64, **ENDS
            )
        ),
    ),
    "llama": (
        "text-generation-with-past",
        lambda: hub.LlamaForCausalLM(
            hub.LlamaConfig(**SIZES, **ENDS, pad_token_id=1, num_key_value_heads=2)
        ),
    ),
    "t5": (
        "text2text-generation-with-past",
        lambda: hub.T5ForConditionalGeneration(
            hub.T5Config(
                vocab_size=64, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4,
                decoder_start_token_id=0, pad_token_id=0, eos_token_id=1,
            )
        ),
    ),
    "vit": (
        "image-classification",
        lambda: hub.ViTForImageClassification(
            hub.ViTConfig(
                hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
                intermediate_size=64, image_size=32, patch_size=8, num_labels=5,
            )
        ),
    ),
    "wav2vec2": (
        "automatic-speech-recognition",
        lambda: hub.Wav2Vec2ForCTC(
            hub.Wav2Vec2Config(
                vocab_size=20, hidden_size=32, num_hidden_layers=1,
                num_attention_heads=4, intermediate_size=64, conv_dim=(16, 16),
                conv_stride=(5, 2), conv_kernel=(10, 3), num_feat_extract_layers=2,
                num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
            )
        ),
    ),
}  # fmt: skip


def main(folder):
    for name, (task, make) in MODELS.items():
        torch.manual_seed(0)
        model = make().eval()
        with torch.no_grad():
            for weights in model.parameters():
                if weights.dim() > 1:
                    weights.mul_(4)  # so that the likeliest token stands out
        model.save_pretrained(folder / name / "torch")
        onnx_export_from_model(
            model, folder / name / "onnx", task=task, do_validation=False
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
