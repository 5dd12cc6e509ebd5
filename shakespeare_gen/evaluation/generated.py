"""What a network writes: samples to read, and whether they copy, loop or drift."""

from shakespeare_gen.evaluation import copying, style
from shakespeare_gen.evaluation.subject import Subject
from shakespeare_gen.generation.generator import Generator

SAMPLE_TEMPERATURES = (0.5, 0.8, 1.0)
SHOWN_SAMPLE_CHARS = 400
NUM_SAMPLES = 8


def write(subject: Subject, options: dict, sampling: dict) -> dict:
    """Samples to read, and what was copied from the training text, or loops."""
    num_chars = options["sample_chars"]
    if not num_chars:
        return {"samples": [], "copying": None, "style": None}
    generator = Generator([subject.network], subject.vocabulary)
    seed = options["sample_seed"]
    shown = [
        {
            "temperature": temperature,
            "text": generator.generate(
                "", length=SHOWN_SAMPLE_CHARS, temperature=temperature, seed=seed
            )[0].text,
        }
        for temperature in SAMPLE_TEMPERATURES
    ]
    length = max(num_chars // NUM_SAMPLES, 1)
    texts = [
        result.text
        for result in generator.generate(
            "", num_samples=NUM_SAMPLES, length=length, seed=seed, **sampling
        )
    ]
    human = subject.texts[subject.main]
    train = subject.train
    return {
        "samples": shown,
        "copying": None if train is None else _copying(texts, human, subject),
        "style": None if train is None else _style(texts, human, train),
    }


def _copying(texts: list[str], human: str, subject: Subject) -> dict[str, dict]:
    """Of generated and of human text, about as long."""
    human = human[: sum(map(len, texts))]
    return {
        "generated": _copied("\n".join(texts), subject),
        "human": _copied(human, subject),
    }


def _copied(text: str, subject: Subject) -> dict:
    assert subject.train is not None
    matches = copying.find(text, subject.train)
    length, place, position = matches.longest()
    if subject.train_places is not None:
        position = int(subject.train_places[position])
    return {
        "characters": len(text),
        "novel_ngrams": {str(n): matches.novel_share(n) for n in copying.NGRAM_SIZES},
        "longest_span_chars": length,
        "longest_span": text[place : place + length],
        "training_position": position,
        "share_in_spans_of_50": matches.covered_share(50),
    }


def _style(texts: list[str], human: str, train: str) -> dict[str, dict]:
    """Of whole samples, of their first and last fifth, and of human text cut the same way."""
    measure = style.Style(train).measure
    size = max(sum(map(len, texts)) // len(texts), 1)  # a sample may end where a document does
    human_texts = [human[i : i + size] for i in range(0, len(human), size)][: len(texts)]
    fifth = max(size // 5, 1)
    return {
        "generated": style.mean_of([measure(t) for t in texts]),
        "human": style.mean_of([measure(t) for t in human_texts]),
        "generated, first fifth": style.mean_of([measure(t[:fifth]) for t in texts]),
        "generated, last fifth": style.mean_of([measure(t[-fifth:]) for t in texts]),
        "human, a fifth": style.mean_of([measure(t[:fifth]) for t in human_texts]),
    }
