"""Model cards: intended use, data, results and limits of a model in Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.typing import ArrayLike

from jaxdl._text import align_table


class ClassResult(NamedTuple):
    """Results of a classifier on one class.

    Attributes:
        name: of the class.
        num_examples: examples of the class.
        recall: share of them that were recognized; None without examples.
        precision: share of the predictions of this class that are right; None without predictions.
        confused: the class most often predicted instead, and how often; None if there is none.
    """

    name: str
    num_examples: int
    recall: float | None
    precision: float | None
    confused: tuple[str, int] | None


def results_by_class(confusion_matrix: ArrayLike, class_names: Sequence[str]) -> list[ClassResult]:
    """Recall, precision and the most common mistake of each class.

    Args:
        confusion_matrix: (C, C) counts, rows true, columns predicted.
        class_names: C names.

    >>> results_by_class([[8, 2], [0, 10]], ["cat", "dog"])[0]
    ClassResult(name='cat', num_examples=10, recall=0.8, precision=1.0, confused=('dog', 2))
    """
    matrix = np.asarray(confusion_matrix)
    if matrix.shape != (len(class_names), len(class_names)):
        raise ValueError(
            f"the confusion matrix must be {len(class_names)}x{len(class_names)}, one row and "
            f"column per class, got shape {matrix.shape}."
        )
    results = []
    for index, name in enumerate(class_names):
        right, count, predicted = matrix[index, index], matrix[index].sum(), matrix[:, index].sum()
        mistakes = matrix[index].copy()
        mistakes[index] = 0
        worst = int(mistakes.argmax())
        results.append(
            ClassResult(
                name,
                int(count),
                float(right / count) if count else None,
                float(right / predicted) if predicted else None,
                (class_names[worst], int(mistakes[worst])) if mistakes[worst] else None,
            )
        )
    return results


def write_card(
    config: Mapping[str, Any], *, title: str, intended_use: str = "", limits: str = ""
) -> str:
    """The model card of a bundle in Markdown.

    Args:
        config: ``config.json`` of the bundle.
        title: first line.
        intended_use: purpose of the model; by default a sentence from the configuration.
        limits: a sentence beside those from the configuration.
    """
    results = [ClassResult(*each) for each in config.get("by_class", [])]
    versions = ", ".join(f"{name} {number}" for name, number in config["versions"].items())
    sections = {
        "Intended use": _use(config, intended_use),
        "Model": [_model(config)],
        "Data": [f"- {k.replace('_', ' ')}: {_text(v)}" for k, v in config.get("data", {}).items()],
        "Preprocessing": [_preprocessing(config)],
        "Results": _results(config.get("metrics", {}), results),
        "Limits": [f"- {each}" for each in _limits(config, results, limits)],
        "Versions": [versions],
    }
    lines = [f"# {title}", ""]
    for heading, content in sections.items():
        lines += [f"## {heading}", "", *(content or ["Not recorded."]), ""]
    return "\n".join(lines)


def _use(config: Mapping[str, Any], given: str) -> list[str]:
    names, preprocessing = config.get("class_names", ()), config["preprocessing"]
    inputs, data = _inputs(preprocessing), str(config.get("data", {}).get("name", ""))
    task = f"one of {len(names)} classes to {inputs}" if names else f"outputs to {inputs}"
    outputs = f"(N, {len(names)}) probabilities" if names else "outputs"
    return [
        given or f"Assigns {task} that resemble {f'those of {data}' if data else 'its data'}.",
        "",
        "```python",
        "import jaxdl",
        "",
        'bundle = jaxdl.load_bundle("PATH")',
        f"bundle.predict(inputs)  # {_shape(preprocessing)} → {outputs}",
        "```",
    ]


def _model(config: Mapping[str, Any]) -> str:
    model, weights = config["model"], config["weights"]
    fields = ", ".join(f"{k}={v!r}" for k, v in model.get("fields", {}).items())
    name = f"jaxdl.models.{model['name']}" if "name" in model else model["class"].replace(":", ".")
    text = f"`{name}({fields})`, {weights['num_parameters']:,} parameters, "
    text += f"{weights['num_bytes']:,} bytes of weights."
    if config.get("program"):
        text += " Runs from its StableHLO program, without its code."
    if config.get("step") is not None:
        text += f" Weights after {config['step']:,} updates."
    return text


def _results(metrics: Mapping[str, Any], results: Sequence[ClassResult]) -> list[str]:
    lines = [f"- {name}: {_text(value)}" for name, value in metrics.items() if _is_result(name)]
    if lines and results:
        lines.append("")
    return lines + (_table(results) if results else [])


def _is_result(name: str) -> bool:
    return name.startswith("test/") or name in ("accuracy", "loss", "epoch")


def _table(results: Sequence[ClassResult]) -> list[str]:
    rows: list[list[object]] = []
    for name, count, recall, precision, confused in results:
        shares = [f"{share:.1%}" if share is not None else "-" for share in (recall, precision)]
        other = f"{confused[0]} ({confused[1]:,})" if confused else "-"
        rows.append([name, count, *shares, other])
    total = sum(each.num_examples for each in results)
    right = sum(each.num_examples * (each.recall or 0.0) for each in results)
    if total:
        rows.append(["**all**", total, f"{right / total:.1%}", "", ""])
    header = ["class", "examples", "recall", "precision", "most often taken for"]
    return align_table(header, rows, align="<>>><", markdown=True).splitlines()


def _limits(config: Mapping[str, Any], results: Sequence[ClassResult], given: str) -> list[str]:
    lines = [given] if given else []
    if config.get("class_names"):
        lines.append(
            "Every input gets one of the classes, even if it shows none of them; the probabilities "
            "are the softmax and were not calibrated."
        )
    measured = [each for each in results if each.recall is not None]
    if measured:
        worst = min(measured, key=lambda each: each.recall or 0.0)
        taken = f", most often taken for {worst.confused[0]}" if worst.confused else ""
        lines.append(f"Weakest class: {worst.name}, recall {worst.recall:.1%}{taken}.")
    preprocessing = config["preprocessing"]
    if preprocessing.get("resize") == "stretch" and len(preprocessing["shape"]) == 3:
        lines.append("Images of another size are stretched, which distorts other aspect ratios.")
    lines.append("The results are those on the test split of the training data, not on other data.")
    return lines


def _inputs(preprocessing: Mapping[str, Any]) -> str:
    sizes, dtype = preprocessing["shape"], preprocessing.get("dtype", "uint8")
    if preprocessing.get("vocabulary"):
        return "texts"
    if dtype == "uint8" and len(sizes) == 3:
        color = {1: "gray ", 3: "color "}.get(sizes[2], "")
        return f"{color}images of {sizes[1]}x{sizes[0]} pixels"
    kind = "token indices" if dtype == "int32" else "numbers"
    return f"inputs of {' x '.join(map(str, sizes))} {kind}"


def _shape(preprocessing: Mapping[str, Any]) -> str:
    if preprocessing.get("vocabulary"):
        return "a list of N texts"
    sizes = ", ".join(map(str, preprocessing["shape"]))
    return f"(N, {sizes}) {preprocessing.get('dtype', 'uint8')}"


def _preprocessing(config: Mapping[str, Any]) -> str:
    preprocessing = config["preprocessing"]
    dtype = preprocessing.get("dtype", "uint8")
    if config.get("program"):
        return f"Part of the program, which takes raw {dtype} inputs."
    if preprocessing.get("vocabulary"):
        pairs = " and pairs of neighboring words" if preprocessing["bigrams"] else ""
        return (
            f"Texts are split into lower-case words and punctuation{pairs}; the first "
            f"{preprocessing['shape'][0]:,} tokens of a text count, and those outside the "
            f"vocabulary of {len(preprocessing['vocabulary']):,} are one unknown word."
        )
    if dtype == "int32":
        return "None: the inputs are token indices."
    scale = f" / {preprocessing['scale']:g}" if dtype == "uint8" else ""
    mean, std = (_text(preprocessing[name]) for name in ("mean", "std"))
    words = f"`(x{scale} - mean) / std`, mean {mean}, std {std}"
    if len(preprocessing["shape"]) != 3:
        return f"{words}."
    resize = {
        "stretch": "image files of another size are stretched (bilinear, antialiased)",
        "crop": "image files of another size are scaled to cover the input and cropped at the "
        "center",
        "none": "image files of another size are refused",
    }[preprocessing["resize"]]
    return f"{words}; {resize}."


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(_text(each) for each in value)
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
