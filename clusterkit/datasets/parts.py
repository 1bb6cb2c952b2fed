"""Recognise parts of a data set by name."""

import re

TRAIN, VALIDATION, TEST = "train", "val", "test"
# Images to be predicted, without labels.
UNLABELLED = "unlabelled"
_MEANINGS = {
    TRAIN: ("train", "training", "trn"),
    VALIDATION: ("val", "valid", "validation", "validate", "dev", "development"),
    TEST: ("test", "testing", "tst", "eval", "evaluation", "publictest", "privatetest"),
    UNLABELLED: ("pred", "predict", "prediction", "predictions", "unlabelled", "unlabeled"),
}
_PART_OF_WORD = {word: part for part, words in _MEANINGS.items() for word in words}
# Words beside a part's name, as in training_set, seg_train, trainset and train_images.
_FILLERS = "set data dataset split seg folder dir images image imgs img photos pictures"
_FILLER = frozenset(_FILLERS.split())
_GLUED = re.compile(rf"^(.+?)({'|'.join(_FILLERS.split())})$")


def part_of(name: str) -> str | None:
    """Return the part that a folder name or table cell refers to.

    Parameters
    ----------
    name : str
        The name, ignoring case, years and words such as "set", "data" and "images".

    Returns
    -------
    {"train", "val", "test", "unlabelled"} or None
        None if the name is not that of a part.

    Examples
    --------
    >>> [part_of(name) for name in ("Training", "seg_test", "valid", "train2017", "trainer")]
    ['train', 'test', 'val', 'train', None]
    """
    # Words end at punctuation, at digits, and before a capital after a small letter.
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)
    if words and "".join(words) != re.sub(r"[\W\d_]", "", name):
        return None  # part of another word
    rest = [word.lower() for word in words if word.lower() not in _FILLER]
    if "".join(rest) in _PART_OF_WORD:
        return _PART_OF_WORD["".join(rest)]
    glued = _GLUED.match(rest[0]) if len(rest) == 1 else None
    return _PART_OF_WORD.get(glued[1]) if glued else None
