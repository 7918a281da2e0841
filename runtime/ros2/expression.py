"""Our events in the words of ROS4HRI; needs neither ROS nor DDS."""

from __future__ import annotations

from edge_ser.events import Event

__all__ = ["EXPRESSIONS", "expression_of"]

# hri_msgs/msg/Expression has no calm and no dominance; what it does not know stays empty.
EXPRESSIONS: dict[str, str] = {
    "anger": "angry",
    "boredom": "bored",
    "disgust": "disgusted",
    "fear": "scared",
    "happiness": "happy",
    "neutral": "neutral",
    "sadness": "sad",
    "surprise": "surprised",
}
"""Label to ``hri_msgs/msg/Expression.expression``."""

# Where the labels lie on the circumplex (Russell, 1980): a convention, not a measurement.
_AFFECT: dict[str, tuple[float, float]] = {
    "anger": (-0.6, 0.8),
    "boredom": (-0.4, -0.6),
    "calm": (0.4, -0.5),
    "disgust": (-0.7, 0.3),
    "fear": (-0.7, 0.7),
    "happiness": (0.8, 0.5),
    "neutral": (0.0, 0.0),
    "sadness": (-0.7, -0.4),
    "surprise": (0.2, 0.8),
}


def expression_of(event: Event) -> tuple[str, float, float, float]:
    """``(expression, valence, arousal, confidence)`` of an emotion event.

    Valence and arousal are the mean of the labels' places on the circumplex, weighted with
    their probabilities. An event that abstains, or a label that ROS4HRI has no word for, gives
    an empty expression; abstaining gives confidence 0 too.
    """
    valence = sum(p * _AFFECT[label][0] for label, p in event.probabilities.items())
    arousal = sum(p * _AFFECT[label][1] for label, p in event.probabilities.items())
    if event.abstained or event.label is None:
        return "", valence, arousal, 0.0
    return EXPRESSIONS.get(event.label, ""), valence, arousal, event.confidence
