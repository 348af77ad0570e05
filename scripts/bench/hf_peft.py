"""Hugging Face transformers and peft, doing the work of scripts/bench/work.ts; contender.ts speaks to it."""

import json
import os
import random
import resource
import subprocess
import sys
import time

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
work = json.loads(sys.argv[1])
os.environ["OMP_NUM_THREADS"] = str(work["threads"] or os.cpu_count())

import torch  # noqa: E402
import transformers  # noqa: E402
from peft import LoraConfig, get_peft_model  # noqa: E402
from transformers import RobertaForSequenceClassification  # noqa: E402

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
TARGETS = ["query", "key", "value", "output.dense", "intermediate.dense"]
TRAINS = work["kind"] != "inference"


def make_model(attention):
    model = RobertaForSequenceClassification.from_pretrained(
        work["folder"], dtype=getattr(torch, work["dtype"]), attn_implementation=attention
    )
    config = LoraConfig(
        task_type="SEQ_CLS", r=8, lora_alpha=16, lora_dropout=work["loraDropout"], target_modules=TARGETS
    )
    model = get_peft_model(model, config)
    model.train(TRAINS)
    parameters = [p for p in model.parameters() if p.requires_grad]
    return (torch.compile(model) if work["compile"] else model), parameters, torch.optim.AdamW(parameters, lr=3e-4)


def make_batch(lengths, seed):
    generator = random.Random(seed)
    width = work["padTo"] or max(lengths)
    ids = torch.full((len(lengths), width), 1)
    mask = torch.zeros((len(lengths), width), dtype=torch.long)
    for row, n in enumerate(lengths):
        tokens = [0] + [generator.randrange(5, 50265) for _ in range(n - 2)] + [2]
        ids[row, :n] = torch.tensor(tokens[:n])
        mask[row, :n] = 1
    return {"input_ids": ids, "attention_mask": mask, "labels": torch.arange(len(lengths)) % 2}


BATCHES = [make_batch(lengths, i) for i, lengths in enumerate(work["batches"])]


def run(model, parameters, optimizer):
    start, loss = time.perf_counter(), 0.0
    for batch in BATCHES:
        if TRAINS:
            out = model(**batch)
            out.loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        else:
            with torch.inference_mode():
                out = model(**batch)
        loss += float(out.loss)
    return {
        "seconds": time.perf_counter() - start,
        "tokens": sum(int(b["attention_mask"].sum()) for b in BATCHES),
        "paddedTokens": sum(b["input_ids"].numel() for b in BATCHES),
        "loss": loss / len(BATCHES),
    }


def tell(answer):
    print(json.dumps(answer), flush=True)


def best():
    """The faster of the two attentions, tried in processes of their own, or memory would tell of the trial."""
    times = {}
    for attention in ("sdpa", "eager"):
        trial = json.dumps({**work, "attention": attention, "trial": True})
        done = subprocess.run([sys.executable, __file__, trial], capture_output=True, text=True, check=True)
        times[attention] = json.loads(done.stdout.splitlines()[-1])["seconds"]
    return min(times, key=times.get)


def main():
    torch.manual_seed(0)
    attention = work.get("attention") or best()
    made = make_model(attention)
    run(*made)
    if work.get("trial"):
        tell(run(*made))
        return
    run(*made)
    tell("ready")
    for line in sys.stdin:
        if line.strip() == "end":
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
            tell({"peakMemoryBytes": peak, "note": f"{attention} attention, {versions}"})
            return
        tell(run(*made))


main()
