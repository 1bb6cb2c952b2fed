"""The genres of a poster, as a function behind HTTP: JSON in, JSON out.

functions-framework runs it as it is, here and in the clouds that know it:

    pip install clusterkit functions-framework
    MODEL=clf.keras functions-framework --target predict --source main.py

    curl -H 'Content-Type: application/json' \
        -d "{\"image\": \"$(base64 -w0 poster.jpg)\"}" http://localhost:8080

MODEL is a file of `clusterkit train classifier`.  It is loaded once, with the first request.
"""

import base64
import binascii
import os
import tempfile
from functools import cache
from pathlib import Path

import functions_framework

import clusterkit as ck

# Pictures are sent as base64, which makes them a third larger.
MAX_BYTES = 20 * 2**20


@cache
def load():
    """Load the classifier for the first request: TensorFlow does not survive a fork of its process,
    which functions-framework makes after it has read this file."""
    return ck.Classifier.load(os.environ.get("MODEL", "clf.keras"))


@functions_framework.http
def predict(request):
    """Return the classes of the picture, and the probability of each class."""
    if request.method != "POST":
        return {"error": "send a POST"}, 405, {"Allow": "POST"}
    if (request.content_length or 0) > MAX_BYTES:
        return {"error": f"send at most {MAX_BYTES} bytes"}, 413
    document = request.get_json(silent=True)
    code = document.get("image") if isinstance(document, dict) else None
    if not isinstance(code, str):
        return {"error": 'send {"image": "..."}, with the bytes of the picture in base64'}, 400
    try:
        data = base64.b64decode(code, validate=True)
    except binascii.Error:
        return {"error": "the picture is not in base64"}, 400
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "picture")
        file.write_bytes(data)
        found = ck.classify([file], load())
    for _, reason in found.failures:
        return {"error": f"the picture cannot be read: {reason}"}, 422
    (prediction,) = found.predictions
    return {"classes": list(prediction.classes), "probabilities": prediction.probabilities}
