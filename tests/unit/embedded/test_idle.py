from skrei_embedded.idle import Activity, IdleClock


def test_a_stack_is_idle_once_nothing_was_asked_and_no_job_was_open_for_long_enough() -> None:
    clock = IdleClock(60, now=0)
    assert not clock.is_over(Activity(3, 0), 10)  # first look: whatever came before may be new
    assert not clock.is_over(Activity(3, 0), 69)
    assert clock.is_over(Activity(3, 0), 70)


def test_a_request_an_open_job_and_an_api_that_does_not_answer_begin_the_time_anew() -> None:
    clock = IdleClock(60, now=0)
    for now, seen in ((50, Activity(1, 0)), (100, Activity(2, 0)), (150, Activity(2, 1)), (200, None)):
        assert not clock.is_over(seen, now)
    assert not clock.is_over(Activity(0, 0), 250)  # the API was started again
    assert not clock.is_over(Activity(0, 0), 309)
    assert clock.is_over(Activity(0, 0), 310)
