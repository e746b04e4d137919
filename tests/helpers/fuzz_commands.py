"""Calls every command with damaged files and hostile arguments; prints one JSON object.

    python fuzz_commands.py SEED NUM_TRIES SECONDS

A separate process, since a crash or a hang of one try must not end the tests. A failure is a
traceback or an unexpected error, another exit status than 0, 1 or 2, a status of 1 without a
message, more than 500 MB, or more than 20 s.
"""

import collections
import contextlib
import io
import json
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from helpers import own_network, small_runs
from helpers.fuzzing import (
    MAX_BYTES,
    MAX_SECONDS,
    MIN_TRIES,
    Memory,
    TooSlowError,
    damage_bytes,
    within_limits,
)
from jaxdl import interop
from jaxdl.__main__ import main

VALUES = [None, True, [], {}, "", "x" * 1000, -1, 0, 10**30, 1e308, float("nan"), [1, 2], {"a": 1}]
ARGUMENTS = [
    "", "-1", "0", "3", "1e400", "nan", "9" * 30, "9" * 5000, "(", "(=x", "=", "~nobody/x", "\0",
    "absent", ".", "/dev/null", "ü" * 200, "a\nb", "best", "last", "float16", "digits",
]  # fmt: skip
FLAGS = {
    "predict": ["--top_k", "--checkpoint", "--out"],
    "inspect": ["--checkpoint", "--depth", "--filter", "--key"],
    "export": [
        "--to", "--out", "--checkpoint", "--data_dir", "--limits", "--gradients", "--tolerance",
    ],
    "compare": ["--out"],
    "convert": [
        "--model", "--out", "--key", "--prefix", "--rename", "--leave_out", "--partial", "--dtype",
        "--input_shape", "--torch_module", "--tolerance", "--features",
    ],
    "data": [
        "--data_dir", "--split", "--augment", "--size", "--skip_broken", "--num_examples",
        "--max_examples", "--seed", "--out",
    ],
    "doctor": [],
}  # fmt: skip


def make_base(base):
    """Small sound inputs of every kind."""
    small_runs.make_run(base / "run")
    small_runs.make_bundle(base / "bundle")
    own_network.main(base / "own")
    run("export", base / "own", "--to", "bundle", "--out", base / "own_bundle")
    run("export", base / "run", "--to", "stablehlo", "--out", base / "model.stablehlo")
    run("export", base / "run", "--to", "torch", "--out", base / "weights.safetensors")
    images = small_runs.digits().test["image"][:4, :, :, 0]
    for folder in ("images", "classes/a", "classes/b"):
        (base / folder).mkdir(parents=True)
        for index, image in enumerate(images):
            Image.fromarray(image).save(base / folder / f"{index}.png")
    (base / "table.csv").write_text("x,y,label\n" + "1.5,2,cat\n3,4,dog\n" * 3)
    (base / "texts.tsv").write_text("sentence\tlabel\n" + "a fine film\t1\nso bad\t0\n" * 3)
    (base / "lines.txt").write_text("one line\nanother\n")
    np.savez(base / "arrays.npz", image=images, label=np.arange(4))
    np.save(base / "array.npy", images)
    interop.write_safetensors(base / "other.safetensors", {"w": np.ones((2, 3), np.float32)}, {})


def run(*arguments):
    """Exit status and messages of a command."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main([str(each) for each in arguments])
        except SystemExit as exit_:
            status = exit_.code if isinstance(exit_.code, int) else 1
    return status, out.getvalue(), err.getvalue()


def draw(rng, base, folder):
    """Copies an input into a folder, damages it, and returns a command line."""
    kind = rng.choice(["run", "own", "bundle", "own_bundle", "weights", "data", "arguments"])
    command = rng.choice(["predict", "inspect", "export", "compare"])
    if kind in ("run", "own", "bundle", "own_bundle"):
        shutil.copytree(base / kind, folder / kind)
        what = damage(rng, folder / kind)
        tail = {
            "predict": [base / "images", "--out", folder / "p.png"],
            "inspect": [],
            "export": ["--to", rng.choice(["bundle", "stablehlo", "safetensors", "torch"])],
            "compare": [base / "run", "--out", folder / "c.png"],
        }[command]
        if command == "export":
            tail += ["--out", folder / "out"]
        return [command, folder / kind, *tail], what
    if kind == "weights":
        name = rng.choice(["weights.safetensors", "other.safetensors", "model.stablehlo"])
        shutil.copy(base / name, folder)
        what = damage(rng, folder / name)
        if rng.random() < 0.5:
            return ["inspect", folder / name], what
        return ["convert", folder / name, "--model", "mlp", "--features", "16", "10"], what
    if kind == "data":
        name = rng.choice(["table.csv", "texts.tsv", "lines.txt", "classes", "images"])
        copy = shutil.copytree if (base / name).is_dir() else shutil.copy
        copy(base / name, folder / name)
        what = damage(rng, folder / name)
        if name == "images" and rng.random() < 0.7:
            return ["predict", base / "bundle", folder / name, "--out", folder / "p.png"], what
        return ["data", folder / name, "--out", folder / "out"], what
    command = rng.choice(list(FLAGS))
    first = {
        "predict": [base / "bundle", base / "images"],
        "inspect": [base / "own"],
        "export": [base / "bundle", "--to", "safetensors"],
        "compare": [base / "run", base / "own"],
        "convert": [base / "weights.safetensors", "--model", "mlp", "--features", "16", "10"],
        "data": [rng.choice(["digits", "table.csv", *ARGUMENTS])],
        "doctor": [],
    }[command]
    arguments = [each if rng.random() < 0.85 else rng.choice(ARGUMENTS) for each in first]
    if command in ("export", "predict", "compare", "data", "convert"):
        arguments += ["--out", folder / "out"]
    for _ in range(rng.randint(1, 2)):
        if FLAGS[command]:
            arguments += [rng.choice(FLAGS[command]), rng.choice(ARGUMENTS)]
    return [command, *arguments], "arguments"


def damage(rng, path):
    """Damages one file at or below a path; returns what was done."""
    files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    own = [each for each in files if each.suffix in (".json", ".jsonl", ".stablehlo")]
    file = rng.choice(own if own and rng.random() < 0.7 else files)
    content = file.read_bytes()
    if file.suffix in (".json", ".jsonl") and rng.random() < 0.8:
        file.write_text(damage_json(rng, content.decode()))
        return f"JSON of {file.name}"
    if rng.random() < 0.1:
        file.unlink()
        return f"delete {file.name}"
    what, content = damage_bytes(rng, content)
    file.write_bytes(content)
    return f"{what} of {file.name}"


def damage_json(rng, text):
    if rng.random() < 0.15:
        return rng.choice(["[]", "null", "3", '"x"', "{}", "[" * 900 + "]" * 900, "{" * 10**5])
    lines = text.splitlines() if text.count("\n{") else [text]
    index = rng.randrange(len(lines))
    value = json.loads(lines[index])
    place = value
    while isinstance(place, (dict, list)) and place:
        key = rng.choice(list(place)) if isinstance(place, dict) else rng.randrange(len(place))
        inside = place[key]
        if not isinstance(inside, (dict, list)) or not inside or rng.random() < 0.3:
            if rng.random() < 0.2:
                del place[key]
            else:
                place[key] = rng.choice(VALUES)
            break
        place = inside
    lines[index] = json.dumps(value)
    return "\n".join(lines) + "\n"


def attempt(arguments):
    """Returns the exit status, and why the try is a failure or ""."""
    try:
        with Memory() as memory, within_limits():
            status, out, err = run(*arguments)
    except TooSlowError:
        return None, f"more than {MAX_SECONDS:.0f} s"
    except Exception as error:
        return None, f"raised {type(error).__name__}: {error}"
    if "Traceback" in err or "(unexpected" in err:
        return status, err[-400:]
    if status not in (0, 1, 2):
        return status, f"exit status {status}"
    if status == 1 and not err and arguments[0] not in ("convert", "doctor"):
        return status, f"no message: {out[-200:]}"
    if memory.used > MAX_BYTES:
        return status, f"{memory.used / 2**20:.0f} MB"
    return status, ""


def fuzz(seed, num_tries, seconds):
    rng = random.Random(seed)
    outcomes, failures = collections.Counter(), []
    with tempfile.TemporaryDirectory() as kept:
        base = Path(kept) / "base"
        base.mkdir()
        make_base(base)
        os.chdir(kept)
        began = time.monotonic()
        for index in range(num_tries):
            if index >= MIN_TRIES and time.monotonic() - began > seconds:
                break
            folder = Path(kept) / f"try{index}"
            folder.mkdir()
            arguments, what = draw(rng, base, folder)
            shown = " ".join(repr(str(each))[1:-1][:60] for each in arguments)
            print(f"{index}: {what}: {shown}", file=sys.stderr, flush=True)
            status, failure = attempt(arguments)
            outcomes[str(status)] += 1
            if failure:
                failures.append({"try": index, "what": what, "line": shown, "failure": failure})
            shutil.rmtree(folder, ignore_errors=True)
    return {"tries": sum(outcomes.values()), "outcomes": outcomes, "failures": failures}


if __name__ == "__main__":
    os.environ.pop("JAXDL_TRACEBACK", None)
    print(json.dumps(fuzz(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))))
