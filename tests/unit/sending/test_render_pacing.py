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
    started = pacing.started()
    used.seconds += 2 * COSTLY_SECONDS
    pacing.ended(pace, started)
    assert pace.is_costly
    started = pacing.started()
    used.seconds += 0.1 * COSTLY_SECONDS
    pacing.ended(pace, started)
    assert not pace.is_costly


def test_a_message_is_not_costly_because_another_program_had_the_processor() -> None:
    now = Clock()
    pacing, pace = RenderPacing(now, Clock()), CampaignPace()
    started = pacing.started()
    now.seconds += 1.0
    pacing.ended(pace, started)
    assert not pace.is_costly
