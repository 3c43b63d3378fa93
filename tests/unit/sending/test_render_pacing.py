"""Which messages count as costly."""

from __future__ import annotations

from marketing_service.sending.render_pacing import COSTLY_SECONDS, CampaignPace, RenderPacing


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_a_message_is_costly_by_its_processor_time() -> None:
    used = Clock()
    pacing, pace = RenderPacing(Clock(), used), CampaignPace()
    with pacing.measured(pace):
        used.seconds += 2 * COSTLY_SECONDS
    assert pace.is_costly
    with pacing.measured(pace):
        used.seconds += 0.1 * COSTLY_SECONDS
    assert not pace.is_costly


def test_a_message_is_not_costly_because_another_program_had_the_processor() -> None:
    now = Clock()
    pacing, pace = RenderPacing(now, Clock()), CampaignPace()
    with pacing.measured(pace):
        now.seconds += 1.0
    assert not pace.is_costly
