"""What people read of an event: a sentence for every kind that the log can hold, never the code alone."""

from broker.audit.wording import EVENT_WORDS, tell_event
from broker.log.events import CATALOGUE


def test_every_kind_of_event_has_a_sentence_of_its_own() -> None:
    assert set(EVENT_WORDS) == set(CATALOGUE)


def test_codes_are_written_as_words_and_a_missing_state_is_said() -> None:
    assert tell_event("told", "RELEASE_REQUESTED") == "An agency was told: release requested."
    assert tell_event("told", None) == "An agency was told: not said."
