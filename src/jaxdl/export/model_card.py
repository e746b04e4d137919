"""Model cards: what a model is for, what it was trained on, how good it is, and where it is not."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxdl._text import align_table


class ClassResult(NamedTuple):
    """How a classifier does on one class.

    Attributes:
        name: of the class.
        number: examples of it.
        recall: share of them that were recognised; None where there are none.
        precision: share of those called so that are; None where nothing was.
        confused: the class that it is most often taken for, and how often; None where never.
    """

    name: str
    number: int
    recall: float | None
    precision: float | None
    confused: tuple[str, int] | None


def results_by_class(confusion_matrix: Any, class_names: Sequence[str]) -> list[ClassResult]:
    """Recall, precision and the commonest mistake of every class.

    Args:
        confusion_matrix: (C, C) counts, rows true, columns predicted.
        class_names: C names.

    >>> results_by_class([[8, 2], [0, 10]], ["cat", "dog"])[0]
    ClassResult(name='cat', number=10, recall=0.8, precision=1.0, confused=('dog', 2))
    """
    matrix = np.asarray(confusion_matrix)
    if matrix.shape != (len(class_names), len(class_names)):
        raise ValueError(
            f"the confusion matrix must be {len(class_names)}x{len(class_names)}, one row and "
            f"column a class, got shape {matrix.shape}."
        )
    results = []
    for index, name in enumerate(class_names):
        right, number, called = matrix[index, index], matrix[index].sum(), matrix[:, index].sum()
        mistakes = matrix[index].copy()
        mistakes[index] = 0
        worst = int(mistakes.argmax())
        results.append(
            ClassResult(
                name,
                int(number),
                float(right / number) if number else None,
                float(right / called) if called else None,
                (class_names[worst], int(mistakes[worst])) if mistakes[worst] else None,
            )
        )
    return results


def write_card(
    config: Mapping[str, Any], *, title: str, intended_use: str = "", limits: str = ""
) -> str:
    """The model card of a bundle in Markdown.

    Args:
        config: of the bundle, its ``config.json``.
        title: first line.
        intended_use: what the model is for; a sentence that follows from the config by default.
        limits: what it is not for, beside what follows from the config.
    """
    names, preprocessing = config["class_names"], config["preprocessing"]
    data = config.get("data", {})
    results = [ClassResult(*each) for each in config.get("by_class", [])]
    inputs = _inputs(preprocessing)
    task = f"one of {len(names)} classes to {inputs}" if names else f"outputs to {inputs}"
    set_name = str(data.get("name", ""))
    lines = [f"# {title}", "", "## Intended use", ""]
    lines.append(
        intended_use
        or f"Assigns {task} that resemble {f'those of {set_name}' if set_name else 'its data'}."
    )
    lines += ["", "```python", "import jaxdl", ""]
    lines += ['bundle = jaxdl.load_bundle("PATH")']
    comment = f"(N, {len(names)}) probabilities" if names else "outputs"
    lines += [f"bundle.predict(inputs)  # {_shape(preprocessing)} → {comment}", "```", ""]
    lines += ["## Model", ""]
    fields = ", ".join(f"{k}={v!r}" for k, v in config["model"]["fields"].items())
    lines.append(f"`jaxdl.models.{config['model']['name']}({fields})`, ")
    lines[-1] += f"{config['weights']['num_parameters']:,} parameters, "
    lines[-1] += f"{config['weights']['num_bytes']:,} bytes of weights."
    if config.get("step") is not None:
        lines[-1] += f" Weights after {config['step']:,} updates."
    lines += ["", "## Data", ""]
    lines += [f"- {k.replace('_', ' ')}: {_text(v)}" for k, v in data.items()]
    lines += [] if data else ["Not recorded."]
    lines += ["", "## Preprocessing", "", _preprocessing(preprocessing)]
    lines += ["", "## Results", ""]
    shown = {k: v for k, v in config.get("metrics", {}).items() if _is_result(k)}
    lines += [f"- {name}: {_text(value)}" for name, value in shown.items()]
    if results:
        lines += [""] if shown else []
        lines += _table(results)
    if not shown and not results:
        lines.append("Not recorded.")
    lines += ["", "## Limits", ""]
    lines += [f"- {each}" for each in _limits(config, results, limits)]
    versions = ", ".join(f"{name} {version}" for name, version in config["versions"].items())
    lines += ["", "## Versions", "", versions, ""]
    return "\n".join(lines)


def _limits(config: Mapping[str, Any], results: Sequence[ClassResult], given: str) -> list[str]:
    lines = [given] if given else []
    if config["class_names"]:
        lines.append(
            "Every input gets one of the classes, also one that shows none of them; the "
            "probabilities are those of the softmax and were not calibrated."
        )
    measured = [each for each in results if each.recall is not None]
    if measured:
        worst = min(measured, key=lambda each: each.recall or 0.0)
        taken = f", most often taken for {worst.confused[0]}" if worst.confused else ""
        lines.append(f"Weakest class: {worst.name}, recall {worst.recall:.1%}{taken}.")
    if config["preprocessing"].get("resize") == "stretch" and len(_sizes(config)) == 3:
        lines.append("Images of another size are stretched, which distorts other aspect ratios.")
    lines.append(
        "The results are those on the test split of its own data; nothing is known of others."
    )
    return lines


def _table(results: Sequence[ClassResult]) -> list[str]:
    rows: list[list[object]] = []
    for name, number, recall, precision, confused in results:
        shares = [f"{share:.1%}" if share is not None else "-" for share in (recall, precision)]
        other = f"{confused[0]} ({confused[1]:,})" if confused else "-"
        rows.append([name, number, *shares, other])
    total = sum(each.number for each in results)
    right = sum(each.number * (each.recall or 0.0) for each in results)
    if total:
        rows.append(["**all**", total, f"{right / total:.1%}", "", ""])
    header = ["class", "examples", "recall", "precision", "most often taken for"]
    return align_table(header, rows, align="<>>><", markdown=True).splitlines()


def _is_result(name: str) -> bool:
    return name.startswith("test/") or name in ("accuracy", "loss", "epoch")


def _sizes(config: Mapping[str, Any]) -> list[int]:
    return config["preprocessing"]["shape"]


def _inputs(preprocessing: Mapping[str, Any]) -> str:
    sizes = preprocessing["shape"]
    if preprocessing.get("vocabulary"):
        return "texts"
    if preprocessing["dtype"] == "uint8" and len(sizes) == 3:
        colour = {1: "grey ", 3: "colour "}.get(sizes[2], "")
        return f"{colour}images of {sizes[1]}x{sizes[0]} pixels"
    kind = "token indices" if preprocessing["dtype"] == "int32" else "numbers"
    return f"inputs of {' x '.join(map(str, sizes))} {kind}"


def _shape(preprocessing: Mapping[str, Any]) -> str:
    if preprocessing.get("vocabulary"):
        return "a list of N texts"
    return f"(N, {', '.join(map(str, preprocessing['shape']))}) {preprocessing['dtype']}"


def _preprocessing(preprocessing: Mapping[str, Any]) -> str:
    if preprocessing.get("vocabulary"):
        pairs = " and pairs of neighbours" if preprocessing["bigrams"] else ""
        return (
            f"Texts are split into lower-case words and signs{pairs}; the first "
            f"{preprocessing['shape'][0]:,} of a text count, and those outside the vocabulary of "
            f"{len(preprocessing['vocabulary']):,} are one unknown word."
        )
    if preprocessing["dtype"] == "int32":
        return "None: indices of tokens go in."
    scale = f" / {preprocessing['scale']:g}" if preprocessing["dtype"] == "uint8" else ""
    mean, std = (_text(preprocessing[name]) for name in ("mean", "std"))
    resize = {
        "stretch": "image files of another size are stretched (bilinear, antialiased)",
        "crop": "image files of another size are scaled until they fill it, and the middle is kept",
        "none": "image files of another size are refused",
    }[preprocessing["resize"]]
    words = f"`(x{scale} - mean) / std`, mean {mean}, std {std}"
    return f"{words}; {resize}." if len(preprocessing["shape"]) == 3 else f"{words}."


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_text(each) for each in value)
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
