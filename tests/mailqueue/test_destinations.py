"""Windows: slow start, shrinking, fairness."""

from mailsandbox.mailqueue.destinations import MAX_KNOWN, Destinations, Window


def test_window_grows_by_one_for_each_success_up_to_the_limit():
    window = Window(8, 5.0)
    sizes = []
    for _ in range(5):
        sizes.append(window.allowed)
        window.reached()
    assert sizes == [5, 6, 7, 8, 8]


def test_window_halves_when_nobody_is_reached_and_is_one_when_dead():
    window = Window(20, 20.0)
    sizes = []
    for _ in range(4):
        window.unreached()
        sizes.append((window.allowed, window.dead))
    assert sizes == [(10, False), (5, False), (1, True), (1, True)]
    window.reached()
    assert not window.dead
    assert window.allowed == 2


def test_destination_is_ready_only_below_its_window():
    destinations = Destinations(initial=2, limit=4)
    one = destinations.add("a", "job")
    destinations.add("a", "job")
    assert one.ready
    one.running = 2
    assert not one.ready
    assert destinations.ready() == []


def test_those_with_the_fewest_running_come_first():
    destinations = Destinations(initial=5, limit=5)
    busy, free = destinations.add("busy", 1), destinations.add("free", 2)
    busy.running = 3
    assert destinations.ready() == [free, busy]


def test_memory_of_idle_destinations_is_bounded():
    destinations = Destinations(initial=1, limit=1)
    for number in range(MAX_KNOWN * 3):
        destination = destinations.add(str(number), number)
        assert destinations.next(destination) == number
        destinations.settle(destination)
    assert len(destinations._known) <= MAX_KNOWN


def test_waiting_jobs_are_taken_from_all():
    destinations = Destinations(initial=1, limit=1)
    destinations.add("a", 1)
    destinations.add("b", 2)
    assert sorted(destinations.waiting()) == [1, 2]
    assert destinations.waiting() == []
