"""Hugging Face transformers and peft, doing the work of scripts/bench/work.ts; contender.ts speaks to it."""

import gc
import json
import os
import random
import resource
import subprocess
import sys
import time

# Answers alone go to standard output; what libraries print goes where errors go.
ANSWERS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
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
DEVICE = torch.device(work["device"])
CUDA = DEVICE.type == "cuda"
WIDTHS = {work["padTo"] or max(lengths) for lengths in work["batches"]}
# In the order of what they cost to try; the first is torch.compile's own.
MODES = ["default", "reduce-overhead", "max-autotune-no-cudagraphs"] if CUDA else ["default"]
# In which modes are tried: none is begun that is not over by then if it takes as long as the longest before it.
TRIAL_SECONDS = 150
if CUDA:
    torch.cuda.set_device(DEVICE)
    # peft keeps its adapters in fp32: their products are several times as fast on tensor cores.
    torch.set_float32_matmul_precision("high")


def make_model(attention, mode="default"):
    model = RobertaForSequenceClassification.from_pretrained(
        work["folder"], dtype=getattr(torch, work["dtype"]), attn_implementation=attention
    )
    config = LoraConfig(
        task_type="SEQ_CLS", r=8, lora_alpha=16, lora_dropout=work["loraDropout"], target_modules=TARGETS
    )
    model = get_peft_model(model, config).to(DEVICE)
    model.train(TRAINS)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=3e-4, **({"fused": True} if CUDA else {}))
    if work["compile"]:
        # Else the first width is compiled for itself, and all is compiled again when the second shows that they differ.
        model = torch.compile(model, mode=mode, dynamic=True if CUDA and len(WIDTHS) > 1 else None)
    return model, parameters, optimizer


def make_batch(lengths, seed):
    """On the device before any time is taken, where a pipeline with pinned memory would have it by then."""
    generator = random.Random(seed)
    width = work["padTo"] or max(lengths)
    ids = torch.full((len(lengths), width), 1)
    mask = torch.zeros((len(lengths), width), dtype=torch.long)
    for row, n in enumerate(lengths):
        tokens = [0] + [generator.randrange(5, 50265) for _ in range(n - 2)] + [2]
        ids[row, :n] = torch.tensor(tokens[:n])
        mask[row, :n] = 1
    batch = {"input_ids": ids, "attention_mask": mask, "labels": torch.arange(len(lengths)) % 2}
    if CUDA and min(lengths) == width:
        # Without one the fastest kernels can be taken, and the device is not asked each time whether it masks anything.
        del batch["attention_mask"]
    return {name: tensor.to(DEVICE) for name, tensor in batch.items()}


BATCHES = [make_batch(lengths, i) for i, lengths in enumerate(work["batches"])]


def synchronize():
    if CUDA:
        torch.cuda.synchronize()


def run(model, parameters, optimizer):
    synchronize()
    start, losses = time.perf_counter(), []
    for _ in range(work["repeats"]):
        for batch in BATCHES:
            if work["compile"] and CUDA:
                # What CUDA graphs gave before may be overwritten from here on.
                torch.compiler.cudagraph_mark_step_begin()
            if TRAINS:
                out = model(**batch)
                out.loss.backward()
                torch.nn.utils.clip_grad_norm_(parameters, 1.0)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            else:
                with torch.inference_mode():
                    out = model(**batch)
            # A copy, which is read when all is done: to read each one would have the device wait.
            losses.append(out.loss.detach().clone())
    loss = float(torch.stack(losses).sum())
    synchronize()
    return {
        "seconds": (time.perf_counter() - start) / work["repeats"],
        "tokens": sum(map(sum, work["batches"])),
        "paddedTokens": sum(b["input_ids"].numel() for b in BATCHES),
        "loss": loss / len(losses),
    }


def tell(answer):
    print(json.dumps(answer), file=ANSWERS, flush=True)


def best_attention():
    """The faster of the two attentions, tried in processes of their own, or memory would tell of the trial."""
    times = {}
    for attention in ("sdpa", "eager"):
        trial = json.dumps({**work, "attention": attention, "trial": True})
        done = subprocess.run([sys.executable, __file__, trial], capture_output=True, text=True, check=True)
        times[attention] = json.loads(done.stdout.splitlines()[-1])["seconds"]
    return min(times, key=times.get)


def ways():
    """In which a model can be run on a GPU: attention and mode, the ones that are surely there first."""
    if work["compile"]:
        return [("sdpa", mode) for mode in MODES]
    flash = transformers.utils.is_flash_attn_2_available() and work["dtype"] != "float32"
    return [("sdpa", "default")] + ([("flash_attention_2", "default")] if flash else [])


def best_on_gpu():
    """
    What runs in the fastest way, and a note of those that were tried: in this process, for the memory of a GPU can be
    counted anew afterwards, and compiling again would take as long.
    """
    made, times, failed = {}, {}, {}
    start, longest = time.perf_counter(), 0
    for way in ways():
        began = time.perf_counter()
        if times and began - start + longest > TRIAL_SECONDS:
            break
        try:
            made[way] = make_model(*way)
            for _ in range(2):
                run(*made[way])
            times[way] = min(run(*made[way])["seconds"] for _ in range(3))
        except Exception as error:  # A way that does not work on this host is no contender.
            made.pop(way, None)
            failed[way] = error
        longest = max(longest, time.perf_counter() - began)
    if not times:
        raise next(iter(failed.values()))
    best = min(times, key=times.get)
    how = f"compiled, {best[1]}" if work["compile"] else "eager"
    tried = [f"{' '.join(way)}: {1000 * seconds:.2f} ms" for way, seconds in times.items()]
    tried += [f"{' '.join(way)}: {type(error).__name__}" for way, error in failed.items()]
    return made[best], f"{best[0]} attention, {how} ({'; '.join(tried)})"


def main():
    torch.manual_seed(0)
    if CUDA:
        made, note = best_on_gpu()
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    else:
        attention = work.get("attention") or best_attention()
        made, note = make_model(attention), f"{attention} attention"
    run(*made)
    if work.get("trial"):
        tell(run(*made))
        return
    run(*made)
    tell("ready")
    for line in sys.stdin:
        if line.strip() == "end":
            host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            peak = torch.cuda.max_memory_allocated() if CUDA else host
            versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
            tell({"peakMemoryBytes": peak, "note": f"{note}, {versions}"})
            return
        tell(run(*made))


main()
