"""The parts of a data set, known by what their names mean."""

import re

TRAIN, VALIDATION, TEST = "train", "val", "test"
# Images to be predicted: of no use where labels are wanted.
UNLABELLED = "unlabelled"
_MEANINGS = {
    TRAIN: ("train", "training", "trn"),
    VALIDATION: ("val", "valid", "validation", "validate", "dev", "development"),
    TEST: ("test", "testing", "tst", "eval", "evaluation", "publictest", "privatetest"),
    UNLABELLED: ("pred", "predict", "prediction", "predictions", "unlabelled", "unlabeled"),
}
_PART_OF_WORD = {word: part for part, words in _MEANINGS.items() for word in words}
# Said beside a part's name, as in training_set, seg_train, trainset and train_images.
_FILLERS = "set data dataset split seg folder dir images image imgs img photos pictures"
_FILLER = frozenset(_FILLERS.split())
_GLUED = re.compile(rf"^(.+?)({'|'.join(_FILLERS.split())})$")


def part_of(name: str) -> str | None:
    """Return the part that a folder's name, or a cell of a table, means.

    Parameters
    ----------
    name : str
        In any case; years and words such as "set", "data" and "images" may stand beside it.

    Returns
    -------
    {"train", "val", "test", "unlabelled"} or None
        None where the name means no part.

    Examples
    --------
    >>> [part_of(name) for name in ("Training", "seg_test", "valid", "train2017", "trainer")]
    ['train', 'test', 'val', 'train', None]
    """
    # Words end at signs, at figures, and where a capital follows a small letter.
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)
    if words and "".join(words) != re.sub(r"[\W\d_]", "", name):
        return None  # other letters, which belong to another word
    rest = [word.lower() for word in words if word.lower() not in _FILLER]
    if "".join(rest) in _PART_OF_WORD:
        return _PART_OF_WORD["".join(rest)]
    glued = _GLUED.match(rest[0]) if len(rest) == 1 else None
    return _PART_OF_WORD.get(glued[1]) if glued else None
