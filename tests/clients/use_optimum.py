"""Runs optimum's classes over onnxruntime, and writes what they answer as JSON.

usage: python [-m runtime.as_onnxruntime] use_optimum.py FOLDER RESULTS

FOLDER is what `export_models.py` wrote. RESULTS maps each section to what it found, or to
what it raised; that torch answers the same is asserted here.
"""

import json
import sys
import traceback
from pathlib import Path

import numpy as np
import onnxruntime as ort
import optimum.onnxruntime as optimum
import torch
import transformers as hub
from onnxruntime.capi.onnxruntime_pybind11_state import OrtDevice, SessionIOBinding

FOLDER, RESULTS = Path(sys.argv[1]), Path(sys.argv[2])
RANDOM = torch.Generator().manual_seed(1)
IDS = torch.randint(2, 64, (2, 7), generator=RANDOM)
MASK = torch.ones_like(IDS)
MASK[1, :2] = 0
TEXT = {
    "input_ids": IDS,
    "attention_mask": MASK,
    "token_type_ids": torch.zeros_like(IDS),
}
PIXELS = {"pixel_values": torch.randn(2, 3, 32, 32, generator=RANDOM)}
SOUND = {"input_values": torch.randn(2, 4000, generator=RANDOM)}
BINDINGS = (None, False, True)
"""optimum's own choice, arrays through ``run``, and torch's memory through IOBinding."""


def heads(kind, name, feed, *keys):
    """Run a model without a cache in each way, on two batch sizes, and on arrays."""
    want = getattr(hub, kind[0]).from_pretrained(FOLDER / name / "torch").eval()
    with torch.no_grad():
        wanted = want(**feed)
    one = {key: each[:1] for key, each in feed.items()}
    arrays = {key: each.numpy() for key, each in feed.items()}
    found = []
    for binding in BINDINGS:
        model = getattr(optimum, kind[1]).from_pretrained(
            FOLDER / name / "onnx", use_io_binding=binding
        )
        made = model(**feed)
        for key in keys:
            torch.testing.assert_close(made[key], wanted[key], rtol=1e-3, atol=1e-3)
            found += [made[key].tolist(), model(**one)[key].tolist()]
        if not binding:
            made = model(**arrays)
            assert all(isinstance(made[key], np.ndarray) for key in keys)
            found += [made[key].tolist() for key in keys]
    return found


def classification():
    kind = "BertForSequenceClassification", "ORTModelForSequenceClassification"
    return heads(kind, "classifier", TEXT, "logits")


def tagging():
    kind = "BertForTokenClassification", "ORTModelForTokenClassification"
    return heads(kind, "tagger", TEXT, "logits")


def answering():
    kind = "BertForQuestionAnswering", "ORTModelForQuestionAnswering"
    return heads(kind, "answers", TEXT, "start_logits", "end_logits")


def filling():
    return heads(("BertForMaskedLM", "ORTModelForMaskedLM"), "filler", TEXT, "logits")


def features():
    kind = "BertModel", "ORTModelForFeatureExtraction"
    return heads(kind, "features", TEXT, "last_hidden_state")


def images():
    kind = "ViTForImageClassification", "ORTModelForImageClassification"
    return heads(kind, "vit", PIXELS, "logits")


def sound():
    return heads(("Wav2Vec2ForCTC", "ORTModelForCTC"), "wav2vec2", SOUND, "logits")


def generated(want, models, feed, **options):
    """Generate greedily and with beams; torch must choose the same tokens."""
    found = []
    for beams in (1, 3):
        options = {**options, "do_sample": False, "num_beams": beams}
        wanted = want.generate(**feed, **options)
        for model in models:
            made = model.generate(**feed, **options)
            assert torch.equal(made, wanted), (made, wanted)
            found.append(made.tolist())
    return found


def causal(kind, name):
    want = kind.from_pretrained(FOLDER / name / "torch").eval()
    models = [
        optimum.ORTModelForCausalLM.from_pretrained(
            FOLDER / name / "onnx", use_io_binding=binding
        )
        for binding in BINDINGS
    ]
    feed = {"input_ids": IDS, "attention_mask": MASK}
    found = generated(want, models, feed, max_new_tokens=12, pad_token_id=1)
    first, ones = IDS[:, :4], torch.ones_like(IDS)
    with torch.no_grad():
        wanted = want(input_ids=IDS).logits[:, -1]
    for model in models:
        cache = model(
            input_ids=first, attention_mask=ones[:, :4], use_cache=True
        ).past_key_values
        made = model(
            input_ids=IDS[:, 4:],
            attention_mask=ones,
            past_key_values=cache,
            use_cache=True,
        ).logits[:, -1]
        torch.testing.assert_close(made, wanted, rtol=1e-3, atol=1e-3)
        torch.manual_seed(5)
        sampled = model.generate(
            **feed, max_new_tokens=6, do_sample=True, top_k=5, pad_token_id=1
        )
        found += [made.tolist(), sampled.tolist()]
    return found


def gpt2():
    return causal(hub.GPT2LMHeadModel, "gpt2")


def llama():
    return causal(hub.LlamaForCausalLM, "llama")


def t5():
    """The merged decoder is an If, fed past values of no length in the first step."""
    want = hub.T5ForConditionalGeneration.from_pretrained(FOLDER / "t5" / "torch")
    models = [
        optimum.ORTModelForSeq2SeqLM.from_pretrained(
            FOLDER / "t5" / "onnx", use_merged=merged, use_io_binding=binding
        )
        for merged, binding in ((True, False), (True, True), (False, True))
    ]
    feed = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS)}
    return generated(want.eval(), models, feed, max_new_tokens=10)


def pipelines():
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *(f"w{i}" for i in range(59)),
    ]
    vocabulary = RESULTS.with_suffix(".vocabulary")
    vocabulary.write_text("\n".join(words))
    tokenizer = hub.BertTokenizerFast(str(vocabulary))
    found = []
    for task, name, kind in (
        ("text-classification", "classifier", "SequenceClassification"),
        ("token-classification", "tagger", "TokenClassification"),
        ("fill-mask", "filler", "MaskedLM"),
        ("feature-extraction", "features", "FeatureExtraction"),
    ):
        model = getattr(optimum, f"ORTModelFor{kind}").from_pretrained(
            FOLDER / name / "onnx"
        )
        for make in (optimum.pipeline, hub.pipeline):
            found.append(make(task, model=model, tokenizer=tokenizer)("w3 [MASK] w5"))
    model = optimum.ORTModelForCausalLM.from_pretrained(FOLDER / "gpt2" / "onnx")
    write = hub.pipeline("text-generation", model=model, tokenizer=tokenizer)
    found.append(write("w3 w4", max_new_tokens=5, do_sample=False))
    return found


def saved():
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    model = optimum.ORTModelForSequenceClassification.from_pretrained(
        FOLDER / "classifier" / "onnx",
        session_options=options,
        provider="CPUExecutionProvider",
    )
    place = RESULTS.with_suffix(".saved")
    model.to("cpu").save_pretrained(place)
    again = optimum.ORTModelForSequenceClassification.from_pretrained(place)
    return [
        model.providers, model.provider, str(model.device), str(model.dtype),
        model.input_names, model.output_names, model.input_dtypes, model.output_dtypes,
        model.input_shapes, model.output_shapes, again(**TEXT).logits.tolist(),
    ]  # fmt: skip


def tensors():
    """Torch's memory in and out: DLPack, addresses, and the extension module's forms."""
    path = str(FOLDER / "vit" / "onnx" / "model.onnx")
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    x, y = PIXELS["pixel_values"], torch.zeros(2, 5)
    value = ort.OrtValue.from_dlpack(x)
    assert value.data_ptr() == x.data_ptr()
    (made,) = session.run_with_ort_values(["logits"], {"pixel_values": value})
    found = [torch.from_dlpack(made), torch.from_dlpack(made._ortvalue.to_dlpack())]

    binding = session.io_binding()
    place = x.device.type, 0, np.float32
    binding.bind_input("pixel_values", *place, x.shape, x.data_ptr())
    binding.bind_output("logits", *place, tuple(y.shape), y.data_ptr())
    session.run_with_iobinding(binding)
    found.append(y.clone())

    inner = SessionIOBinding(session._sess)
    host = OrtDevice(OrtDevice.cpu(), OrtDevice.default_memory(), 0)
    inner.bind_input("pixel_values", host, np.float32, tuple(x.shape), x.data_ptr())
    inner.bind_output("logits", host)
    session._sess.run_with_iobinding(inner, None)
    found += [torch.from_dlpack(each) for each in inner.get_outputs()]
    for each in found[1:]:
        torch.testing.assert_close(each, found[0])

    kinds = [torch.float16, torch.bfloat16, torch.bool, torch.int64, torch.uint8]
    types = [ort.OrtValue.from_dlpack(x.to(kind)).data_type() for kind in kinds]
    return [found[0].tolist(), types]


SECTIONS = [
    classification, tagging, answering, filling, features, images, sound, gpt2, llama, t5,
    pipelines, saved, tensors,
]  # fmt: skip


def main():
    hub.logging.set_verbosity_error()
    results = {"by": ort.InferenceSession.__module__}
    for section in SECTIONS:
        try:
            results[section.__name__] = section()
        except Exception:
            results[section.__name__] = {"raised": traceback.format_exc()}
    RESULTS.write_text(json.dumps(results, default=float))


if __name__ == "__main__":
    main()
