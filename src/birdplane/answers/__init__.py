"""What the helper answers, by the name of the question: a function of a desk and the question's values.

Nothing here is imported by the screens. Each function returns what becomes JSON, and raises `BirdplaneError` for
what a person can mend; where pictures would have to be downloaded, `desk.splits` raises `PicturesMissing`, which
the helper turns into the answer `{"missing": {"place", "size"}}`.
"""

from __future__ import annotations

#: Where each question's function stands. Modules are imported when first asked: some need torch.
QUESTIONS: dict[str, str] = {
    "warm": "birdplane.answers.assembling:warm",
    "problems": "birdplane.answers.describing:problems",
    "signature": "birdplane.answers.describing:signature",
    "availability": "birdplane.answers.describing:availability",
    "rehearse": "birdplane.answers.assembling:rehearse",
    "dry_step": "birdplane.answers.assembling:dry_step",
    "fetch": "birdplane.answers.assembling:fetch",
    "devices": "birdplane.answers.assembling:devices",
    "pictures": "birdplane.answers.looking:pictures",
    "statistics": "birdplane.answers.looking:statistics",
    "evaluate": "birdplane.answers.judging:evaluate",
    "examples": "birdplane.answers.judging:examples",
    "predict": "birdplane.answers.judging:predict",
    "probe": "birdplane.answers.probing:probe",
}
