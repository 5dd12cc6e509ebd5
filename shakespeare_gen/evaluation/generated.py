"""Generated text: samples to read, and checks for copying, repetition, drift and documents."""

import numpy as np

from shakespeare_gen.evaluation import copying, loops, style, whole_documents
from shakespeare_gen.evaluation.subject import Subject
from shakespeare_gen.generation import Generator, Request
from shakespeare_gen.generation.sampling import Sampling
from shakespeare_gen.options.groups import GenerationOptions, ReportOptions

SAMPLE_TEMPERATURES = (0.5, 0.8, 1.0)
SHOWN_SAMPLE_TOKENS = 400
NUM_SAMPLES = 8
COVERING_SPAN_CHARS = 50
CONTEXT_CHARS = 120


def write(subject: Subject, options: ReportOptions, sampling: Sampling) -> dict:
    """Samples to read, and figures of copying, loops, style and documents."""
    if not options.sample_chars:
        return {"samples": [], "copying": None, "style": None, "loops": None, "documents": None}
    generator, seed = Generator(subject.model, subject.tokenizer), options.sample_seed
    shown = [
        {
            "temperature": temperature,
            "text": generator.generate(
                length=SHOWN_SAMPLE_TOKENS, temperature=temperature, seed=seed
            )[0].text,
        }
        for temperature in SAMPLE_TEMPERATURES
    ]
    length = max(options.sample_chars // NUM_SAMPLES, 1)
    asked = GenerationOptions(num_samples=NUM_SAMPLES, length=length, seed=seed)
    [results] = generator.generate_batch([Request("", asked, sampling)])
    texts = [result.text for result in results]
    human = subject.texts[subject.main].text
    human_texts = _in_parts(human, texts)
    return {
        "samples": shown,
        "copying": _copying(texts, human, subject) if subject.train else None,
        "style": _style(texts, human_texts, subject.train.text) if subject.train else None,
        "loops": {"generated": loops.measure(texts), "human": loops.measure(human_texts)},
        "documents": whole_documents.write(subject, options, sampling),
    }


def _in_parts(human: str, texts: list[str]) -> list[str]:
    """Human text in at most as many parts as there are samples, of the mean size of a sample."""
    size = max(sum(map(len, texts)) // len(texts), 1)  # a sample may end early, with a document
    return [human[i : i + size] for i in range(0, len(human), size)][: len(texts)]


def _copying(texts: list[str], human: str, subject: Subject) -> dict[str, dict]:
    """The figures of generated text and of human text of similar length."""
    assert subject.train is not None
    train, positions = subject.train.text, subject.train_positions
    human = human[: sum(map(len, texts))]
    return {
        "generated": _copied("\n".join(texts), train, positions),
        "human": _copied(human, train, positions),
    }


def _copied(text: str, train: str, positions: np.ndarray | None) -> dict:
    matches = copying.find(text, train)
    length, begin, source = matches.longest()
    return {
        "characters": len(text),
        "novel_ngrams": {str(n): matches.novel_share(n) for n in copying.NGRAM_SIZES},
        "longest_span_chars": length,
        "longest_span": text[begin : begin + length],
        "around": _around(text, begin, length),
        "around_in_training": _around(train, source, length),
        # Some characters of the corpus may have been left out of the training text.
        "training_position": source if positions is None else int(positions[source]),
        "share_in_spans_of_50": matches.covered_share(COVERING_SPAN_CHARS),
    }


def _around(text: str, begin: int, length: int) -> list[str]:
    """The text before and after a span."""
    end = begin + length
    return [text[max(begin - CONTEXT_CHARS, 0) : begin], text[end : end + CONTEXT_CHARS]]


def _style(texts: list[str], human_texts: list[str], train: str) -> dict[str, dict]:
    """The figures of whole samples, their first and last fifths, and human text."""
    measure = style.Style(train).measure
    fifth = max(sum(map(len, texts)) // len(texts) // 5, 1)
    return {
        "generated": style.mean_of([measure(t) for t in texts]),
        "human": style.mean_of([measure(t) for t in human_texts]),
        "generated, first fifth": style.mean_of([measure(t[:fifth]) for t in texts]),
        "generated, last fifth": style.mean_of([measure(t[-fifth:]) for t in texts]),
        "human, a fifth": style.mean_of([measure(t[:fifth]) for t in human_texts]),
    }
